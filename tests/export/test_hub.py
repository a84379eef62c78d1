"""``resgat export --format hub``, and every command on what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.command import export
from resgat_pl.nn.hub_folder import CARD_NAME, CONFIG_NAME, FILES

from ..helpers.hub import put, without_network
from ..helpers.judged_media import drawn, save
from ..helpers.tiny_runs import tiny, untrained

LOW = {"frame": 0.05, "video": 0.05}  # an untrained network must call fakes fake to be explained


@pytest.fixture(scope="module")
def checkpoint(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("run") / "checkpoints" / "best.ckpt", ffpp_crops, thresholds=LOW)


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    out = checkpoint.parents[1] / "shared"
    assert "All weights are stored, since the whole encoder was trained." in export(checkpoint, out, "hub")
    return out


def test_a_folder_is_the_checkpoint(folder: Path, checkpoint: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    ours, theirs = Detector.load(folder), Detector.load(checkpoint)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours.net(images).logit, theirs.net(images).logit)
    assert (ours.thresholds, ours.temperatures) == (theirs.thresholds, theirs.temperatures)
    assert ours.provenance is not None
    assert theirs.provenance is not None
    assert ours.data["splits"] == theirs.data["splits"]
    assert torch.equal(ours.provenance["train_links"], theirs.provenance["train_links"])
    assert str(checkpoint.parents[1]) not in (folder / CONFIG_NAME).read_text()


@pytest.mark.parametrize(
    ("out", "options", "match"),
    [
        ("a.onnx", {}, "hub writes a folder. Or say --format onnx"),
        ("a", {"int8": True}, "--format onnx only"),
        ("a", {"format": "torch"}, r"must end in \.pt2"),
        ("a.pt2", {"format": "torch", "results": "x"}, "--format hub only"),
        ("full", {}, r"holds other files \(mine\.txt\)"),
    ],
)
def test_options_that_contradict(tmp_path: Path, out: str, options: dict[str, object], match: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match=match):
        export(tmp_path / "not_even_read.ckpt", tmp_path / out, **{"format": "hub", **options})  # type: ignore[arg-type]


@pytest.mark.long
def test_a_test_of_the_folder_is_on_its_card(folder: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", folder)
    assert done.status == 0, done.errors
    results = next(tmp_path.rglob("results.json"))
    assert json.loads(results.read_text())["checkpoint"]["path"] == str(folder)
    text = export(folder, tmp_path / "again", "hub", results=str(results))
    assert "1 test (ffpp" in text
    card = (tmp_path / "again" / CARD_NAME).read_text()
    assert "| video   | all" in card
    assert "no test of this checkpoint is known" not in card
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.long
def test_every_command_takes_a_folder_and_a_name_on_the_hub(
    folder: Path, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = without_network(monkeypatch, tmp_path / "hub")
    put(cache, "ann/tiny", {name: (folder / name).read_bytes() for name in FILES})
    save(tmp_path / "face.png", drawn(frames=1)[0])
    for number, place in enumerate((folder, "hf://ann/tiny@main")):
        out = tmp_path / str(number)
        for command in ("validate", "test", "predict"):
            done = tiny(command, out / command, ffpp_crops, "--ckpt_path", place)
            assert done.status == 0, (command, done.errors)
        for words in (
            ["explain", tmp_path / "face.png", "--methods", "Contribution", "--out", out / "explain"],
            ["cross", "--crops", f"ffpp={ffpp_crops}", "--out", out / "cross"],
            ["robustness", "--kinds", "jpeg", "--crops", ffpp_crops, "--out", out / "robustness"],
            ["export", "--format", "safetensors", "--out", out / "a.safetensors"],
            ["export", "--format", "hub", "--out", out / "again"],
            [
                *("benchmark-explainers", "--crops", ffpp_crops, "--out", out / "board"),
                *("--methods", '["Contribution"]'),
                *("--faces", 2, "--slow_faces", 1, "--sanity_faces", 1),
            ],
        ):
            given = f"tiny={place}" if words[0] == "cross" and number else str(place)
            assert main([*map(str, words), "--ckpt_path", given]) == 0, capsys.readouterr().err
        assert (out / "again" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        if number:
            (report,) = (out / "explain").rglob("report.json")
            assert json.loads(report.read_text())["checkpoint"]["name"] == "ann/tiny@0123456789ab"


def test_a_plain_name_and_training_on_are_refused(
    folder: Path, ffpp_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "a.png", "--ckpt_path", "ann/tiny", "--out", "out"]) == 2
    without_network(monkeypatch, tmp_path / "hub")
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", "hf://ann/tiny")
    assert done.status == 2
    assert "hf://ann/tiny" in done.errors
    assert "Without network, download config.json" in done.errors
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", "ann/tiny")
    assert "A model of the hub is given as hf://ann/tiny." in done.errors
    done = tiny("fit", tmp_path / "on", ffpp_crops, "--ckpt_path", folder)
    assert done.status == 2
    assert "no state of the optimiser" in done.errors
