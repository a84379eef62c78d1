"""What runs of commit 574aeb2 have left, read by today's program; ``fixtures/make.py`` says how it was made.

Logits must be equal up to the rounding of float32 sums, whose order differs between machines and versions of torch:
hence 1e-5 for probabilities and what is made of them. Rank metrics are equal as long as no two scores change places.
Intervals are not compared: clips are resampled otherwise today.
"""

from __future__ import annotations

import csv
import json
import lzma
import shutil
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from resgat_pl import ResGAT
from resgat_pl.cli.main import main
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.scores import evaluate, read_predictions
from resgat_pl.explain.report.document import read_report
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.reproduce.tables import Run

OLD = Path(__file__).parent / "fixtures" / "574aeb2"
CLOSE = 1e-5
RUN = Path("runs/loggers/version_0")
TESTED = Path("runs/loggers/version_1")
BEST, LAST = RUN / "checkpoints" / "best.ckpt", RUN / "checkpoints" / "last.ckpt"
WHOLE = ("--detector", "resgat_pl.data.faces.WholeFrame")
pytestmark = pytest.mark.filterwarnings("default")  # Lightning advises on settings that a tiny run has on purpose


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old files with the packed ones unpacked."""
    folder = tmp_path_factory.mktemp("old") / "574aeb2"
    shutil.copytree(OLD, folder)
    for path in folder.rglob("*.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    return folder


@pytest.fixture(autouse=True)
def _there(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old configurations name their files by relative paths."""
    monkeypatch.chdir(files)


def resgat(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same_scores(now: list[dict[str, Any]], then: list[dict[str, Any]]) -> None:
    """Compare the scores of two ``results.json`` without their intervals."""
    assert [(row["level"], row["method"], row["real"], row["fake"]) for row in now] == [
        (row["level"], row["method"], row["real"], row["fake"]) for row in then
    ]
    for mine, old in zip(now, then, strict=True):
        for name, (value, *_) in old["values"].items():
            assert mine["values"][name][0] == pytest.approx(value, abs=CLOSE), (old["level"], old["method"], name)


@pytest.mark.parametrize("crops", ["crops", pytest.param("shards", marks=pytest.mark.long)])
def test_the_old_checkpoint_is_tested_with_the_old_result(crops: str) -> None:
    resgat("test", "--config", RUN / "config.yaml", "--ckpt_path", BEST, "--data.crops", crops)
    tested = RUN.parent / "test"
    now, then = (json.loads((folder / "results.json").read_text()) for folder in (tested, TESTED))
    same_scores(now["scores"], then["scores"])
    assert now["thresholds"] == pytest.approx(then["thresholds"], abs=CLOSE)
    mine, old = (
        {
            (row["method"], row["video"], row["frame_index"]): float(row["logit"])
            for row in rows(folder / "predictions" / "frames.csv")
        }
        for folder in (tested, TESTED)
    )
    assert len(old) == 12
    assert min(abs(a - b) for a, b in combinations(old.values(), 2)) > 100 * CLOSE  # else equality would say little
    assert mine == pytest.approx(old, abs=CLOSE)


@pytest.mark.long
def test_an_old_run_goes_on() -> None:
    epoch = read_file(LAST)["epoch"]
    before = LAST.read_bytes()
    resgat("fit", "--config", RUN / "config.yaml", "--trainer.max_epochs", 3, "--ckpt_path", "last")
    made = RUN.parent
    losses, old = (
        [(row["epoch"], row["step"], row["train/loss"]) for row in rows(folder / "metrics.csv") if row["train/loss"]]
        for folder in (made, RUN)
    )
    assert losses[: len(old)] == old  # the table is continued, with what it had
    assert {epoch for epoch, *_ in losses[len(old) :]} == {"2"}
    assert read_file(made / "checkpoints" / "last.ckpt")["epoch"] == epoch + 1
    assert {path.name for path in (made / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert LAST.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["guided", *(pytest.param(name, marks=pytest.mark.long) for name in ("identity", "leave_out", "loggers"))]
)
def test_old_configurations_are_read_and_saved_with_todays_names(name: str) -> None:
    run = Path("runs") / name
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # of the test before
    resgat("fit", "--config", run / "version_0" / "config.yaml", "--trainer.max_epochs", 1,
           "--trainer.limit_train_batches", 1)  # fmt: skip
    now, then = (yaml.safe_load((run / part / "config.yaml").read_text()) for part in (".", "version_0"))
    paths = [logger["class_path"] for logger in now["trainer"]["logger"]]
    assert [path.rpartition(".")[2] for path in paths] == ["AtomicCSVLogger", "ResilientWandbLogger"][: len(paths)]
    assert len(paths) == len(then["trainer"]["logger"])
    assert all(hasattr(import_module(module), kind) for module, _, kind in (path.rpartition(".") for path in paths))
    for part in ("split", "augmentation"):
        mine, old = now["data"][part], then["data"][part]
        assert (mine and mine["class_path"].rpartition(".")[2]) == (old and old["class_path"].rpartition(".")[2])
        assert (mine or {}).get("init_args", {}).items() >= (old or {}).get("init_args", {}).items()
    assert now["net"].items() >= then["net"].items()
    assert now["model"]["mask_loss_weight"] == then["model"]["mask_loss_weight"]


def test_the_exported_weights_are_those_of_the_checkpoint() -> None:
    old, now = ResGAT.load(Path("best.safetensors")), ResGAT.load(BEST)
    assert all(torch.equal(value, now.state_dict()[name]) for name, value in old.state_dict().items())


@pytest.mark.long
def test_the_old_spelling_of_export(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resgat("export", "--checkpoint", BEST, "--out", tmp_path / "b.onnx")
    assert "--checkpoint is now --ckpt_path." in capfd.readouterr().err
    assert (tmp_path / "b.onnx").stat().st_size > 1e6


def test_the_old_spelling_of_explain_gives_the_old_verdict(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resgat("explain", BEST, "photo.png", "--out", tmp_path / "explained", *WHOLE)
    assert "the checkpoint is now given as --ckpt_path" in capfd.readouterr().err
    (now,), (then,) = rows(tmp_path / "explained" / "scores.csv"), rows(Path("explained/scores.csv"))
    assert now["verdict"] == then["verdict"]
    assert float(now["probability"]) == pytest.approx(float(then["probability"]), abs=CLOSE)
    assert read_report(tmp_path / "explained" / "photo.png" / "report.json")


@pytest.mark.long
def test_an_old_report_is_read_with_its_values(tmp_path: Path) -> None:
    """What format 1 did not have is unknown, and nothing of it is computed."""
    path = Path("explained/photo.png/report.json")
    then, now = json.loads(path.read_text()), read_report(path)
    assert then["schema"] == now["schema"] == 1
    assert (now["verdict"], now["probability"]) == ("real", 0.4604813302293814)
    assert now["decision"] == then["decision"] | {"limit": None, "chosen": None, "leaning": None, "reasons": []}
    assert now["calibration"] == then["calibration"] | {"frames": None}
    unknown = {"trained_on": "Trained on: unknown.", "recordings": None, "validated_on": "Validated on: unknown."}
    assert now["checkpoint"] == then["checkpoint"] | unknown
    since = {"centres", "faces_found", "strength", "custody", "original", "claims"}
    assert all(now[name] is None for name in since)
    changed = {"decision", "calibration", "checkpoint", *since}
    assert {name: value for name, value in now.items() if name not in changed} == {
        name: value for name, value in then.items() if name not in changed
    }
    resgat("explain", "photo.png", "--ckpt_path", BEST, "--out", tmp_path / "again", *WHOLE)
    assert now.keys() == json.loads((tmp_path / "again" / "photo.png" / "report.json").read_text()).keys()


def test_the_old_spelling_of_cross(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resgat("cross", f"a={BEST}", "b=crops", "--out", tmp_path)
    assert "give these by name" in capfd.readouterr().err
    old = {row["method"]: row for row in json.loads((TESTED / "results.json").read_text())["scores"]
           if row["level"] == "video"}  # fmt: skip
    assert f"{100 * old['all']['values']['auroc'][0]:.2f}" in (tmp_path / "cross.md").read_text()


@pytest.mark.parametrize("crops", ["crops", "shards"])
def test_old_crops_are_read_and_checked(crops: str, tmp_path: Path) -> None:
    assert len(Manifest.read(crops).table) == 60
    resgat("check", crops, "--json", tmp_path / "report.json", "--read", "all")
    assert json.loads((tmp_path / "report.json").read_text())


def test_old_predictions_give_the_old_scores() -> None:
    then = json.loads((TESTED / "results.json").read_text())
    now = evaluate(read_predictions(TESTED / "predictions"), then["thresholds"])
    same_scores([row.plain() for row in now], then["scores"])


def test_an_old_result_is_a_run_of_a_table() -> None:
    run = Run.read(TESTED)
    assert run.checkpoint == BEST
    assert run.counts["train"] == {"real": 12, "fake": 24}
    assert run.scores["video"].values["auroc"].value == pytest.approx(0.75)


@pytest.mark.long
def test_the_old_spelling_of_robustness(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resgat("robustness", BEST, "--crops", "crops", "--kinds", "jpeg", "--out", tmp_path)
    assert f"give these by name: --ckpt_path {BEST}." in capfd.readouterr().err
    assert (tmp_path / "robustness.md").is_file()


@pytest.mark.long
def test_the_old_spelling_of_benchmark_explainers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--faces", 2, "--slow_faces", 1, "--sanity_faces", 1, "--methods", '["Contribution"]', "--out", tmp_path)
    resgat("benchmark-explainers", "--ckpt", BEST, "--manifest", "crops", *words)
    said = capfd.readouterr().err
    assert "--ckpt is now --ckpt_path." in said
    assert "--manifest is now --crops." in said
    assert (tmp_path / "leaderboard.md").is_file()


def test_the_old_spelling_of_a_part_of_an_extraction(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    resgat("synth", tmp_path / "source", "--videos", 8, "--frames", 1, "--size", 128, "--jobs", 1)
    resgat("extract", tmp_path / "source", tmp_path / "out", "--extraction.frames", 1, "--shard", "1/2")
    assert "--shard is now --part." in capfd.readouterr().err
    assert any((tmp_path / "out").rglob("*.parquet"))
