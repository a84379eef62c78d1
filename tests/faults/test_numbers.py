"""Numbers that go wrong: NaN and infinity in losses, weights and outputs; validation and tests with one class."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.scores import describe, evaluate, read_predictions
from resgat_pl.nn.checkpoint_file import read_file

from ..helpers.command import CONF, TINY
from ..helpers.tiny_runs import TABLE, tiny, untrained, variant

pytestmark = [pytest.mark.long, pytest.mark.timeout(2000)]
Tries = Callable[[int, int], int]


class Poison(Callback):
    """Makes the loss of one batch not finite, through a number that no picture can hold."""

    def __init__(self, step: int, value: str, rank: int = 0) -> None:
        super().__init__()
        self.step, self.value, self.rank = step, float(value), rank
        self.seen = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.seen == self.step and trainer.global_rank == self.rank:
            batch["image"][0, 0, 0, 0] = self.value
        self.seen += 1


class PoisonWeight(Callback):
    """Makes one weight NaN once a step's loss has been computed, as a broken optimiser would."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            next(pl_module.net.head.parameters()).data.view(-1)[0] = math.nan


def finite(checkpoint: Path) -> bool:
    state = read_file(checkpoint)["state_dict"]
    return all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point())


def poisoned(name: str, **arguments: object) -> tuple[str]:
    return ("--trainer.callbacks+=" + json.dumps({"class_path": f"{__name__}.{name}", "init_args": arguments}),)


def crops_in(errors: str, crops: Path) -> set[str]:
    known = {str(crops.resolve() / path) for path in Manifest.read(crops).column("crop_path")}
    return {path for path in known if path in errors}


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_batch_that_is_not_finite(value: str, ffpp_crops: Path, tmp_path: Path, ledger: Any, tries: Tries) -> None:
    """84 crops train in 10 steps an epoch: the second epoch goes wrong, or the first."""
    steps = [13, 0, 3, 9, 10, 19][: tries(1, 6)]
    for step in steps:
        root = tmp_path / str(step)
        done = tiny("fit", root, ffpp_crops, "--trainer.max_epochs", 2, "--trainer.limit_train_batches", 10,
                    *poisoned("Poison", step=step, value=value))  # fmt: skip
        assert done.status == 2
        epoch, batch = divmod(step, 10)
        assert f"epoch {epoch}, batch {batch}, step {step + 1}" in done.errors
        assert len(crops_in(done.errors, ffpp_crops)) == 8
        if epoch:
            last = root / "checkpoints" / "last.ckpt"
            assert f"The last good checkpoint is {root / 'checkpoints'}" in done.errors
            assert finite(last)
            assert read_file(last)["epoch"] == 0
        else:
            assert "No checkpoint had been written yet" in done.errors
            assert not list(root.rglob("*.ckpt"))
    ledger("training batch with a NaN or infinite loss", tries=len(steps), lost=0, recovered=len(steps))


def test_weights_that_are_not_finite(ffpp_crops: Path, tmp_path: Path, ledger: Any, tries: Tries) -> None:
    """After the last step of an epoch no loss tells: it shows before the weights are scored or saved."""
    steps = [20, 10, 15, 11, 19][: tries(1, 5)]
    for step in steps:
        root = tmp_path / str(step)
        done = tiny("fit", root, ffpp_crops, "--trainer.max_epochs", 2, "--trainer.limit_train_batches", 10,
                    *poisoned("PoisonWeight", step=step))  # fmt: skip
        assert done.status == 2
        assert "is not finite" in done.errors
        assert crops_in(done.errors, ffpp_crops)
        checkpoints = list(root.rglob("*.ckpt"))
        assert bool(checkpoints) == (step > 10)
        assert all(finite(path) and read_file(path)["epoch"] == 0 for path in checkpoints)
    ledger("weights become NaN or infinite", tries=len(steps), lost=0, recovered=len(steps))


@pytest.mark.faults
def test_a_learning_rate_that_is_far_too_large(ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    """Whatever comes of it, no checkpoint holds a number that is not finite."""
    rates = ["1e3", "1e10", "1e20", "1e30", "1e38"]
    stopped = 0
    for rate in rates:
        root = tmp_path / rate
        done = tiny("fit", root, ffpp_crops, "--trainer.max_epochs", 3, "--trainer.limit_train_batches", 5,
                    "--model.optimizer.init_args.lr", rate)  # fmt: skip
        assert done.status in {0, 2}, done.errors
        assert ("learning rate is" in done.errors) == (float(rate) > 1e29)
        assert all(finite(path) for path in root.rglob("*.ckpt"))
        stopped += done.status == 2
    assert stopped
    ledger("learning rate too large, from 1e3 to 1e38", tries=len(rates), lost=0, recovered=len(rates))


def test_a_checkpoint_with_nan_weights_is_not_scored(ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    path = untrained(tmp_path / "broken.ckpt", ffpp_crops)
    content = torch.load(path, weights_only=True)
    content["state_dict"]["net.head.weight"].view(-1)[0] = math.nan
    torch.save(content, path)
    commands = ("test", "validate", "predict")
    for command in commands:
        done = tiny(command, tmp_path / command, ffpp_crops, "--ckpt_path", path)
        assert done.status == 2
        assert "broken.ckpt" in done.errors
        assert "head.weight" in done.errors
        assert not list((tmp_path / command).rglob("*.csv"))
    ledger("test of a checkpoint with NaN weights", tries=len(commands), lost=0, recovered=len(commands))


@pytest.fixture(params=["real", "fake"])
def one_class(request: pytest.FixtureRequest, ffpp_crops: Path, tmp_path: Path) -> Path:
    """Crops whose validation and test splits hold one class only."""
    manifest = Manifest.read(ffpp_crops)
    splits = manifest.column("split").copy()
    away = manifest.column("label") == (1 if request.param == "real" else 0)
    splits[np.isin(splits, ["val", "test"]) & away] = None
    return variant(ffpp_crops, tmp_path / "crops", splits.tolist())


def test_validation_and_test_with_one_class(one_class: Path, tmp_path: Path, ledger: Any) -> None:
    root = tmp_path / "run"
    few = ("--trainer.limit_train_batches", 2, "--trainer.max_epochs", 2)
    done = tiny("fit", root, one_class, *few, *TABLE)
    assert done.status == 0, done.errors
    assert sum("monitors val/loss" in line for line in done.warned) == 2
    checkpoints = root / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    logged = (root / "metrics.csv").read_text()
    assert "nan" not in logged
    losses = [float(row["val/loss"]) for row in csv.DictReader(logged.splitlines()) if row["val/loss"]]
    assert read_file(checkpoints / "best.ckpt")["epoch"] == int(np.argmin(losses))
    done = tiny("test", root, one_class, "--ckpt_path", checkpoints / "best.ckpt", *TABLE)
    assert done.status == 0, done.errors
    table = describe(evaluate(read_predictions(root / "test" / "predictions")))
    assert "| undefined " in table
    assert "nan" not in table
    found = json.loads((root / "test" / "results.json").read_text())
    assert found["scores"][0]["values"]["auroc"] == [None, None, None]
    assert found["scores"][0]["values"]["accuracy"][0] is not None
    ledger("validation and test split of one class", tries=2, lost=0, recovered=2)


def test_batches_of_one_class(ffpp_crops: Path, tmp_path: Path, ledger: Any, tries: Tries) -> None:
    """Batches of one crop have one class each; the guided loss has batches without a mask."""
    extra: list[tuple[object, ...]] = [
        ("--config", CONF / "guided.yaml"),
        (),
        ("--net.attention", "gatv1"),
    ]
    chosen = extra[: tries(1, 3)]
    for place, options in enumerate(chosen):
        done = tiny("fit", tmp_path / str(place), ffpp_crops, *options, "--data.crops", ffpp_crops, "--data.order",
                    "shuffled", "--data.batch_size", 1, "--trainer.limit_train_batches", 6, "--trainer.logger",
                    "false", "--trainer.default_root_dir", tmp_path / str(place))  # fmt: skip
        assert done.status == 0, done.errors
        assert finite(tmp_path / str(place) / "checkpoints" / "last.ckpt")
    ledger("training batches of one class", tries=6 * len(chosen), lost=0, recovered=6 * len(chosen))


@pytest.mark.faults
def test_nan_on_one_of_two_processes(ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    """Both stop, without a hang, and the crops named are those of the process that went wrong."""
    places = [(1, 3), (0, 7), (1, 0), (0, 5)]
    (tmp_path / "poison.py").write_text(Path(__file__).read_text().partition("class PoisonWeight")[0].replace(
        "from ..", "from tests.")
    )  # fmt: skip
    for rank, step in places:
        root = tmp_path / f"{rank}_{step}"
        value = json.dumps({"class_path": "poison.Poison", "init_args": {"step": step, "value": "nan", "rank": rank}})
        command = [sys.executable, "-m", "resgat_pl", "fit", "--config", str(TINY), "--data.crops", str(ffpp_crops),
                   "--trainer.default_root_dir", str(root), "--trainer.logger", "false", "--trainer.max_epochs", "2",
                   "--trainer.limit_train_batches", "4", "--trainer.strategy", "ddp", "--trainer.devices", "2",
                   f"--trainer.callbacks+={value}"]  # fmt: skip
        where = os.pathsep.join([str(tmp_path), str(CONF.parent.parent), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False,
                              env={**os.environ, "PYTHONPATH": where})  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert f"epoch {step // 4}, batch {step % 4}, step {step + 1} on rank {rank}" in done.stderr
        assert len(crops_in(done.stderr, ffpp_crops)) == 8
        assert all(finite(path) and read_file(path)["epoch"] == 0 for path in root.rglob("*.ckpt"))
        assert bool(list(root.rglob("*.ckpt"))) == (step >= 4)
    ledger("NaN on one of two processes", tries=len(places), lost=0, recovered=len(places))


def test_same_seed_same_weights(ffpp_crops: Path, shard_crops: Path, tmp_path: Path, ledger: Any, tries: Tries) -> None:
    """Bit for bit: weights, statistics and the optimiser's state."""
    augmented = ("--data.augmentation", "resgat_pl.data.transforms.DFDCAugmentation", "--trainer.limit_val_batches", 0)
    plans = [
        (attention, workers, crops)
        for workers in (0, 2)
        for attention in ("gatv2", "gatv1")
        for crops in (shard_crops, ffpp_crops)
    ][: tries(1, 8)]
    for place, (attention, workers, crops) in enumerate(plans):
        states = []
        for turn in ("a", "b"):
            root = tmp_path / f"{place}{turn}"
            done = tiny("fit", root, crops, *augmented, "--net.attention", attention, "--data.num_workers", workers,
                        "--trainer.max_epochs", 1, "--net.dropout", 0.1)  # fmt: skip
            assert done.status == 0, done.errors
            content = read_file(root / "checkpoints" / "last.ckpt")
            states.append(dict(tensors({name: content[name] for name in ("state_dict", "optimizer_states")})))
        first, second = states
        assert first.keys() == second.keys()
        assert len(first) > 100
        assert all(torch.equal(first[name], second[name]) for name in first)
    other = tiny("fit", tmp_path / "other", plans[0][2], *augmented, "--seed_everything", 1, "--trainer.max_epochs", 1,
                 "--net.dropout", 0.1)  # fmt: skip
    assert other.status == 0
    changed = read_file(tmp_path / "other" / "checkpoints" / "last.ckpt")["state_dict"]["net.head.weight"]
    assert not torch.equal(
        changed, read_file(tmp_path / "0a" / "checkpoints" / "last.ckpt")["state_dict"]["net.head.weight"]
    )
    ledger("same seed again: weights bit for bit", tries=len(plans), lost=0, recovered=len(plans))


def tensors(tree: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(tree, torch.Tensor):
        yield prefix, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for name, value in items:
        yield from tensors(value, f"{prefix}.{name}")
