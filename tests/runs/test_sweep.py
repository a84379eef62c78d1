"""``experiments/sweep.yaml``: the command that ``wandb agent`` makes of it trains, each trial in its own folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from resgat_pl.cli.main import main

from ..helpers.command import metrics, wandb_history
from ..training.loggers.test_wandb import end

ROOT = Path(__file__).parents[2]
SWEEP: dict[str, Any] = yaml.safe_load((ROOT / "experiments" / "sweep.yaml").read_text())


def chosen(seed: int) -> dict[str, Any]:
    """A trial's parameters, within the ranges of the sweep."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    found: dict[str, Any] = {}
    for name, given in SWEEP["parameters"].items():
        found[name] = draw.choice(given["values"]) if "values" in given else draw.uniform(given["min"], given["max"])
    return found


def command_of(parameters: dict[str, Any]) -> list[str]:
    """The command that an agent starts: wandb's own expansion, and the same replacement as in its agent."""
    parts = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
    made: list[str] = []
    for word in create_sweep_command(list(SWEEP["command"])):
        is_part = word.startswith("${") and word.endswith("}")
        made += {"env": ["/usr/bin/env"], **parts}[word[2:-1]] if is_part else [str(word)]
    return made


def test_the_sweep_is_one_of_wandb() -> None:
    assert SWEEP["metric"] == {"name": "val/video_auroc", "goal": "maximize"}
    assert {"program", "method", "command", "parameters"} <= set(SWEEP)
    for given in SWEEP["parameters"].values():
        assert ("values" in given) != ("distribution" in given)
    assert (
        SWEEP["early_terminate"]["min_iter"]
        < yaml.safe_load((ROOT / "configs/smoke.yaml").read_text())["trainer"]["max_epochs"]
    )


def test_the_command_is_that_of_a_training() -> None:
    made = command_of(chosen(0))
    assert made[:3] == ["/usr/bin/env", "resgat", "fit"]
    assert [word for word in made if word.startswith("${")] == []
    assert {word.partition("=")[0] for word in made} >= {f"--{name}" for name in SWEEP["parameters"]}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning")  # the sweep does not see runs that are offline; few batches
def test_trials_train_in_their_own_folders(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    few = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.image_size=64", "--data.batch_size=4")
    for number in range(2):
        parameters = chosen(number)
        monkeypatch.setenv("WANDB_RUN_ID", f"trial{number}")
        end()
        words = [str(ffpp_crops) if word == "datasets/tiny_crops" else word for word in command_of(parameters)[2:]]
        assert main([*words, *few, f"--trainer.default_root_dir={tmp_path}"]) == 0
        end()
        folder = tmp_path / f"trial{number}"
        assert (folder / "checkpoints" / "best.ckpt").is_file()
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["net"]["heads"] == parameters["net.heads"]
        assert config["model"]["optimizer"]["init_args"]["lr"] == pytest.approx(
            parameters["model.optimizer.init_args.lr"]
        )
        (offline,) = (tmp_path / "wandb").glob(f"offline-run-*-trial{number}")
        (value,) = [step["val/video_auroc"] for step in wandb_history(offline) if "val/video_auroc" in step]
        assert value == pytest.approx(metrics(folder)["val/video_auroc"])
