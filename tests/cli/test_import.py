"""``--import``: a file names a class of somebody's module, which is imported if the user says so, and else never."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.cli.main import main
from resgat_pl.cli.options import take_imports
from resgat_pl.cli.train import _continuing
from resgat_pl.core.errors import ConfigError
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION

from ..helpers.tiny_runs import tiny, untrained, variant

MODULE = """
from pathlib import Path
Path(__file__).with_suffix(".imported").touch()
from resgat_pl.data.splits import SplitProtocol

class Sides(SplitProtocol):
    name = "sides"
    def assign(self, videos):
        return {video.key: ("train", "val", "test")[number % 3] for number, video in enumerate(videos)}
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the module ``somebodys_module`` leaves when it is imported."""
    (tmp_path / "somebodys_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "somebodys_module", raising=False)
    return tmp_path / "somebodys_module.imported"


def error_of(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The one message of a command that fails."""
    assert main([str(word) for word in words]) == 2
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    (message,) = [line for line in printed.splitlines() if line.startswith("resgat: error: ")]
    return message


COMMANDS = ("explain", "cross", "robustness", "export", "benchmark-explainers")


def words_of(command: str, checkpoint: Path, crops: Path, out: Path) -> list[object]:
    """A command line that reads the checkpoint."""
    places: dict[str, list[object]] = {
        "explain": [next(crops.rglob("*.png")), "--out", out],
        "cross": ["--crops", crops, "--out", out],
        "robustness": ["--crops", crops, "--out", out],
        "export": ["--out", out / "a.onnx"],
        "benchmark-explainers": ["--crops", crops, "--out", out],
    }
    return [command, "--ckpt_path", checkpoint, *places[command]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_checkpoint_imports_nothing(
    command: str, trace: Path, ffpp_crops: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "a.ckpt"
    entry = {"version": CHECKPOINT_VERSION, "net": {"encoder": "somebodys_module.Encoder"}}
    torch.save({"resgat": entry, "state_dict": {}}, checkpoint)
    words = words_of(command, checkpoint, ffpp_crops, tmp_path / "out")
    message = error_of(capfd, *words)
    assert "somebodys_module.Encoder" in message
    assert "--import somebodys_module " in message
    assert not trace.exists()
    assert "somebodys_module" not in sys.modules
    assert "somebodys_module has no Encoder" in error_of(capfd, *words, "--import", "somebodys_module")
    assert trace.exists()


def test_a_manifest_imports_nothing(
    trace: Path, ffpp_crops: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Crops that changed their splits since: the protocol of the checkpoint, which came from the manifest, is asked."""
    crops = variant(ffpp_crops, tmp_path / "crops")
    manifest = Manifest.read(crops)
    protocol = {"name": "sides", "class_path": "somebodys_module.Sides", "declares": []}
    manifest = manifest.with_splits(np.array(manifest.column("split")), protocol)
    manifest.write()
    checkpoint = untrained(tmp_path / "a.ckpt", crops)
    parts = ["train", "val", "test"]
    other = [parts[number % 3] for number in manifest.video_codes]
    manifest.with_splits(np.array(other), protocol).write()
    words = words_of("robustness", checkpoint, crops, tmp_path / "out")
    message = error_of(capfd, *words, "--import", "json")
    assert "somebodys_module.Sides is not part of this package" in message
    assert not trace.exists()


def test_what_the_user_names_is_imported_first(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "a.png does not exist" in error_of(
        capfd, "explain", "a.png", "--import=somebodys_module", "--ckpt_path", "absent.ckpt"
    )
    assert trace.exists()
    assert "absent_module cannot be imported" in error_of(capfd, "fit", "--import", "absent_module")
    assert "names nothing" in error_of(capfd, "fit", "--import")
    assert "is a file" in error_of(capfd, "fit", "--import", "my_parts.py")


@pytest.mark.long
def test_training_with_a_class_of_ones_own(trace: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    """A class path of the user's configuration is imported, and stored for the test."""
    config = tmp_path / "own.yaml"
    config.write_text("data: {split: {class_path: somebodys_module.Sides}, allow_leakage: true}\n")
    metrics = "[torchmetrics.classification.BinaryMatthewsCorrCoef]"
    run = (tmp_path / "run", ffpp_crops, "--config", config, "--model.metrics", metrics, "--trainer.logger", "true")
    monitor = ("--checkpoint.monitor", "val/BinaryMatthewsCorrCoef", "--early_stopping.monitor", "val/loss")
    done = tiny("fit", *run, *monitor, "--early_stopping.mode", "min")
    assert done.status == 0, done.errors
    assert trace.exists()
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    done = tiny("test", *run, "--ckpt_path", best)
    assert done.status == 0, done.errors
    results = json.loads((tmp_path / "run" / "test" / "results.json").read_text())
    assert set(results["metrics"]) == {"BinaryMatthewsCorrCoef"}
    assert results["provenance"]["data"]["protocol"]["class_path"] == "somebodys_module.Sides"
    assert "did not" not in done.errors


@pytest.mark.parametrize("words", [["--import"], ["--import="], ["--import", ","], ["--import", "--config", "a.yaml"]])
def test_imports_that_name_nothing(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="names nothing"):
        take_imports(words)


def test_words_that_are_no_option() -> None:
    assert take_imports(["a", "--", "--import", "b"]) == (["a", "--", "--import", "b"], [])
    assert take_imports(["--imports", "b"]) == (["--imports", "b"], [])


def test_the_command_that_continues_imports_again() -> None:
    continued = _continuing(["fit", "--config", "a.yaml", "--ckpt_path", "b.ckpt"], None, ["one", "two"])
    assert continued == "resgat fit --config a.yaml --import one,two --ckpt_path last"


@pytest.mark.parametrize("command", ["extract", "fit"])
def test_help_names_the_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--import MODULE" in capsys.readouterr().out
