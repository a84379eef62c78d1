"""Rubbish for configurations, tables and figure plans: only an error that says what is wrong may come out, no hang."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn

from resgat_pl.cli.main import main
from resgat_pl.cli.train import ResGATCLI
from resgat_pl.core.errors import ResGATError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.nn.encoders.base import GridEncoder
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.reproduce.experiment import Experiment, read_settings
from resgat_pl.reproduce.figures import Plan
from resgat_pl.training.callbacks.heatmaps import Heatmaps
from resgat_pl.training.checkpoints.recovery import Recovery
from resgat_pl.training.module import ResGATModule

from ..helpers.command import CONF, TINY
from .conftest import Ledger
from .fuzzing import JSON, Fuzz

pytestmark = pytest.mark.timeout(3000)
REPOSITORY = CONF.parent.parent


def paths(tree: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if prefix:
        yield prefix
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from paths(value, (*prefix, key))


@st.composite
def mutated(draw: Any, files: list[Path]) -> str:
    """The text of a YAML file with some of its values, keys or characters changed."""
    file = draw(st.sampled_from(files))
    if draw(st.integers(0, 5)) == 0:
        text = file.read_text()
        place = draw(st.integers(0, len(text)))
        return (
            text[:place]
            + draw(st.text(max_size=3) | st.sampled_from(["{", "- ", ": ", "\t", "&a", "*a", "!!x", "${"]))
            + text[place:]
        )
    tree = copy.deepcopy(yaml.safe_load(file.read_text()))
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(tree))
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        owner = tree
        for key in parents:
            owner = owner[key]
        action = draw(st.sampled_from(["value", "value", "delete", "key"]))
        if action == "value":
            owner[last] = draw(
                JSON | st.sampled_from(["${x}", "${oc.env:NOT_THERE}", "${", -1, 0, 1e400, "resgat_pl", "os.system"])
            )
        elif action == "delete":
            del owner[last]
        elif isinstance(owner, dict):
            owner[draw(st.text(max_size=5) | st.just(f"{last}x"))] = owner.pop(last)
    try:
        return yaml.safe_dump(tree)
    except yaml.YAMLError:
        return repr(tree)


class _TinyEncoder(GridEncoder):
    """In the place of all encoders, whose smallest takes a second to build: one convolution of the same stride."""

    def __init__(
        self,
        name: str,
        weights: str | Path | None = None,
        stage: int = 4,
        image_size: int = 224,
        receptive: int | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.out_channels = 2 ** (stage + 1), 8
        pool = nn.AvgPool2d(self.stride, ceil_mode=True)
        self.layers = nn.Sequential(pool, nn.Conv2d(3, self.out_channels, 1), nn.BatchNorm2d(self.out_channels))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The shipped configurations and the tests', with which everything is built but the encoder."""
    monkeypatch.setenv("FFPP_ROOT", str(tmp_path))
    monkeypatch.setenv("DFDC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("resgat_pl.nn.encoder_net.build_encoder", _TinyEncoder)
    return sorted((REPOSITORY / "configs").glob("*.yaml")) + sorted(CONF.glob("*.yaml"))


def fitted(text: str, crops: Path, *more: object) -> int:
    """Give the configuration to ``resgat fit``; what is refused is raised."""
    file = Path("run.yaml")
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    errors = io.StringIO()
    fixed = ("--data.root", "null", "--data.crops", crops, "--trainer.accelerator", "cpu", "--trainer.logger", "false")
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = main(["fit", "--config", str(file), *map(str, (*fixed, *more))])
    if status:
        raise ResGATError(errors.getvalue())
    return status


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_configurations(fuzz: Fuzz, files: list[Path], ffpp_crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed, checked and instantiated as for training."""
    monkeypatch.setattr(ResGATCLI, "_run_subcommand", lambda self, subcommand: None)
    built = []
    fuzz("a changed configuration", mutated(files), lambda text: built.append(fitted(text, ffpp_crops)), 12, 500)
    assert built


BOUNDS = {
    "trainer": {"max_epochs": 2, "max_steps": 4, "limit_train_batches": 2, "limit_val_batches": 2, "num_nodes": 1},
    "data": {"image_size": 70, "num_workers": 0},
    "net": {"heads": 2, "hidden": 4},
    "heatmaps": {"faces": 2, "log_images": False},
}
"""How much two epochs may train."""


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
def test_configurations_in_training(fuzz: Fuzz, files: list[Path], ffpp_crops: Path) -> None:
    """Some values are looked at in the first epoch only: two short ones are trained."""
    bounds = [item for group, values in BOUNDS.items() for name, value in values.items()
              for item in (f"--{group}.{name}", str(value).lower())]  # fmt: skip
    quiet = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false")
    alone = ("--trainer.devices", 1, "--trainer.strategy", "auto", *quiet)
    trained = []
    fuzz("a changed configuration, in training", mutated(files),
         lambda text: trained.append(fitted(text, ffpp_crops, *bounds, *alone)), 3, 150)  # fmt: skip
    assert trained


PARTS: dict[str, Callable[..., object]] = {
    "trainer": Trainer,
    "checkpoint": ModelCheckpoint,
    "early_stopping": EarlyStopping,
    "recovery": Recovery,
    "heatmaps": Heatmaps,
    "model": ResGATModule,
    "data": FaceDataModule,
    "net": ResGAT,
}
NUMBERS = [
    (group, name)
    for group, part in PARTS.items()
    for name, parameter in inspect.signature(part).parameters.items()
    if re.search(r"\b(int|float)\b", str(parameter.annotation))
]


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
def test_each_number_in_training(ledger: Ledger, files: list[Path], ffpp_crops: Path) -> None:
    """Every number of a configuration, as 0, as -1 and as NaN: refused in one message, or trained with."""
    assert len(NUMBERS) > 30
    refused = 0
    for group, name in NUMBERS:
        for value in (0, -1, float("nan")):
            tree = yaml.safe_load(TINY.read_text())
            for other, values in BOUNDS.items():
                tree[other] = {**tree.get(other, {}), **values}
            tree[group] = {**tree.get(group, {}), name: value}
            try:
                fitted(yaml.safe_dump(tree), ffpp_crops, "--trainer.default_root_dir", ".")
            except ResGATError as error:
                refused += 1
                assert len(str(error)) > 10
            except Exception as error:
                pytest.fail(f"{group}.{name}: {value}: {type(error).__name__}: {error}")
    tried = 3 * len(NUMBERS)
    assert tried > refused > tried / 3
    ledger("number out of range in a configuration", tries=tried, lost=0, recovered=tried)


@pytest.mark.long
def test_tables_and_figures(fuzz: Fuzz, tmp_path: Path) -> None:
    file = tmp_path / "table.yaml"

    def check(text: str) -> None:
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        with contextlib.suppress(ResGATError):
            read_settings(file, Plan, "experiments/figures.yaml")
        Experiment.read(file)

    files = [REPOSITORY / "experiments" / name for name in ("table1.yaml", "figures.yaml")]
    fuzz("a changed table or figure plan", mutated(files), check, 40, 700)
