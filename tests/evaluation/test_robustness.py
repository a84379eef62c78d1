"""What damage costs a detector."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, LeakageError
from resgat_pl.core.types import Level
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation import robustness as module
from resgat_pl.evaluation.corruptions import STRENGTHS, Corruption
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import interval
from resgat_pl.evaluation.metrics.scores import Predictions, Scores, evaluate
from resgat_pl.evaluation.predict import score
from resgat_pl.evaluation.robustness import robustness

from ..helpers.tiny_runs import untrained, variant

KINDS = ("jpeg", "noise")


class Finished(NamedTuple):
    checkpoint: Path
    crops: Path
    out: Path
    text: str

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "robustness.json").read_text()))


@pytest.fixture(scope="module")
def done(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    base = tmp_path_factory.mktemp("robustness")
    crops = variant(ffpp_crops, base / "crops", dataset="celebdf")
    checkpoint = untrained(base / "a.ckpt", crops)
    out = base / "new" / "out"
    return Finished(checkpoint, crops, out, robustness(checkpoint, kinds="noise, jpeg", out=out))


def pooled(checkpoint: Path, crops: Path, corruption: Corruption | None) -> dict[str, Scores]:
    detector = Detector.load(checkpoint)
    found = evaluate(score(detector, detector.manifest(crops), corruption))
    return {row.level: row for row in found if row.method == "all"}


def test_points_are_the_scores_of_the_damaged_test_set(done: Finished) -> None:
    points = done.document["points"]
    assert [(p["kind"], p["strength"]) for p in points] == [("", 0), *((k, s) for k in KINDS for s in range(1, 6))]
    assert [p["label"] for p in points[1:]] == [label for kind in KINDS for label in STRENGTHS[kind]]
    clean = pooled(done.checkpoint, done.crops, None)
    for place, damage in ((0, None), (5, Corruption("jpeg", 5)), (10, Corruption("noise", 5))):
        found = pooled(done.checkpoint, done.crops, damage)
        for level in ("frame", "video"):
            assert points[place][level] == pytest.approx(found[level].values["auroc"].plain())
        loss = interval(clean["video"].resamples["auroc"] - found["video"].resamples["auroc"], 2)
        assert points[place]["loss"] == pytest.approx(loss.plain())
    assert points[0]["loss"] == [0, None, None]
    for point in points:
        assert point["loss"][0] == pytest.approx(points[0]["video"][0] - point["video"][0])
    assert any(point["loss"][0] for point in points)


def test_the_table_and_the_csv_file_hold_the_points(done: Finished) -> None:
    points = done.document["points"]
    assert (done.out / "robustness.md").read_text() == done.text + "\n"
    table = [line.strip("|").split("|") for line in done.text.splitlines() if line.startswith("|")]
    assert {len(line) for line in table} == {6}
    rows = [[cell.strip() for cell in line] for line in table[2:]]
    assert rows[0][:2] == ["none", "as it is"]
    assert rows[0][5] == ""
    assert [row[:2] for row in rows[1:]] == [[point["kind"], point["label"]] for point in points[1:]]
    clips = rows[3][2]  # too few for intervals
    assert [rows[3][place] for place in (4, 5)] == [
        f"{100 * points[3][name][0]:.2f} (n = {clips})" for name in ("video", "loss")
    ]
    assert "LEAKY" not in done.text
    with (done.out / "robustness.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(points) == 11
    for line, point in zip(lines, points, strict=True):
        assert [line["kind"], int(line["strength"]), line["label"]] == [*point.values()][:3]
        for column, name in (("frame_auroc", "frame"), ("video_auroc", "video"), ("video_loss", "loss")):
            found = [float(cell) if (cell := line[f"{column}_{part}"]) else None for part in ("value", "low", "high")]
            assert found == pytest.approx(point[name], abs=1e-6)
            assert line[f"{column}_groups"] == clips


def test_the_document_says_what_was_tested(done: Finished) -> None:
    document = done.document
    assert document["checkpoint"] == str(done.checkpoint)
    assert document["crops"] == str(done.crops)  # those it was trained on: none were named
    assert document["splits"] == Manifest.read(done.crops).split_fingerprint()
    assert document["leaky"] == []
    assert document["provenance"]["packages"]["torch"]


def test_the_plot_is_drawn(done: Finished) -> None:
    picture = cv2.imread(str(done.out / "robustness.png"))
    assert picture is not None
    assert picture.shape[1] > picture.shape[0] > 200
    assert picture.std() > 10
    halves = np.array_split(picture, 2, axis=1)  # one panel a kind, each with a curve in colour
    assert all((half.max(axis=2).astype(int) - half.min(axis=2) > 60).sum() > 100 for half in halves)
    pdf = (done.out / "robustness.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 5000


@pytest.fixture
def damages(monkeypatch: pytest.MonkeyPatch) -> list[Corruption | None]:
    """What is tested, with scores that are made up."""
    seen: list[Corruption | None] = []

    def pretend(_: object, __: object, corruption: Corruption | None, *___: object) -> dict[Level, Predictions]:
        seen.append(corruption)
        label = np.arange(8) % 2
        rng = np.random.default_rng(len(seen))
        methods = np.array(["original", "Deepfakes"] * 4, object)
        made = Predictions(rng.random(8), label, methods, np.arange(8), np.arange(8))
        return {"frame": made, "video": made}

    monkeypatch.setattr(module, "score", pretend)
    return seen


def test_by_default_every_kind_is_tested(
    damages: list[Corruption | None], done: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["robustness", str(done.checkpoint), "--out", str(tmp_path)]) == 0
    assert damages == [None, *(Corruption(kind, strength) for kind in STRENGTHS for strength in range(1, 6))]
    assert capsys.readouterr().out.count("\n| ") == 1 + 5 * len(STRENGTHS)


@pytest.mark.parametrize("kinds", ["jpeg,fog", "fog", "JPEG"])
def test_a_kind_that_is_unknown(kinds: str, done: Finished, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--kinds: (fog|JPEG) is unknown.*jpeg, blur, noise, resize, h264"):
        robustness(done.checkpoint, kinds=kinds, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_seen_videos(damages: list[Corruption | None], done: Finished, tmp_path: Path) -> None:
    everything = ["test"] * len(Manifest.read(done.crops))
    crops = variant(done.crops, tmp_path / "crops", everything, compression="c0")
    with pytest.raises(LeakageError, match="in its training split"):
        robustness(done.checkpoint, crops, kinds="jpeg", out=tmp_path / "out")
    assert not damages
    with pytest.warns(UserWarning, match="stamped as leaky"):
        text = robustness(done.checkpoint, crops, kinds="jpeg", out=tmp_path / "out", allow_leakage=True)
    assert "LEAKY" in text
    assert "(validation, video)" in text
    assert json.loads((tmp_path / "out" / "robustness.json").read_text())["leaky"] == ["validation", "video"]
