"""Files of the curves: the points that follow from the predictions, and nothing where a class is missing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.core.types import Level
from resgat_pl.evaluation.curve_files import FIGURES, curves_of, write_curves
from resgat_pl.evaluation.curve_plots import VECTOR
from resgat_pl.evaluation.metrics.scores import Predictions, evaluate, read_predictions

from ..helpers.tiny_runs import pretend_test

TEMPERATURES: dict[Level, float | None] = {"frame": None, "video": 1.4}
THRESHOLDS: dict[Level, float] = {"frame": 0.45, "video": 0.55}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Level, Predictions], str]:
    folder = pretend_test(tmp_path_factory.mktemp("tested"), skill=1.5)
    found = read_predictions(folder / "predictions")
    scores = evaluate(found, THRESHOLDS, 20, temperatures=TEMPERATURES)
    said = write_curves(folder / "curves", curves_of(found, THRESHOLDS, TEMPERATURES), scores)
    return folder / "curves", found, said


def test_all_files_are_there_and_named(tested: tuple[Path, dict[Level, Predictions], str]) -> None:
    folder, _, said = tested
    names = {f"{name}.png" for name in FIGURES} | {VECTOR, "points.csv", "confusion.csv", "reliability.csv"}
    assert {path.name for path in folder.iterdir()} == names
    assert str(folder) in said


def test_the_points_follow_from_the_predictions(tested: tuple[Path, dict[Level, Predictions], str]) -> None:
    folder, found, _ = tested
    points = rows(folder / "points.csv")
    assert {(row["level"], row["method"]) for row in points} == {
        (level, method) for level in ("frame", "video") for method in ("all", "Deepfakes", "FaceSwap")
    }
    for row in points:
        whole = found["frame" if row["level"] == "frame" else "video"]
        mine = (whole.label == 0) | (row["method"] == "all") | (whole.method == row["method"])
        called, fake = whole.probability[mine] > float(row["threshold"]), whole.label[mine] == 1
        counts = [int(row[name]) for name in ("tp", "fp", "fn", "tn")]
        assert counts == [
            (called & fake).sum(), (called & ~fake).sum(), (~called & fake).sum(), (~called & ~fake).sum()
        ]  # fmt: skip
        assert float(row["tpr"]) == pytest.approx(counts[0] / fake.sum(), abs=1e-6)
        assert float(row["fpr"]) == pytest.approx(counts[1] / (~fake).sum(), abs=1e-6)
        both = (float(row["tpr"]) + 1 - float(row["fpr"])) / 2
        assert float(row["balanced_accuracy"]) == pytest.approx(both, abs=1e-6)


def test_confusion_and_bins(tested: tuple[Path, dict[Level, Predictions], str]) -> None:
    folder, found, _ = tested
    confusion = {row["level"]: row for row in rows(folder / "confusion.csv")}
    assert {level: (row["threshold"], row["source"]) for level, row in confusion.items()} == {
        "frame": ("0.45", "validation"),
        "video": ("0.55", "validation"),
    }
    bins = rows(folder / "reliability.csv")
    kinds = [(row["level"], row["probability"]) for row in bins]
    assert set(kinds) == {("frame", "score"), ("video", "score"), ("video", "calibrated")}  # no temperature of frames
    for level, whole in found.items():
        mine = [row for row in bins if (row["level"], row["probability"]) == (level, "score")]
        assert sum(int(row["count"]) for row in mine) == len(whole.label)
        assert [float(row["low"]) for row in mine[1:]] == [float(row["high"]) for row in mine[:-1]]
        fakes = sum(int(row["count"]) * float(row["observed"]) for row in mine if row["observed"])
        assert fakes == pytest.approx(whole.label.sum(), abs=1e-3)


def test_one_class_is_reported_and_removes_what_an_earlier_test_left(tmp_path: Path) -> None:
    folder = tmp_path / "curves"
    folder.mkdir()
    for name in ("roc.png", VECTOR, "points.csv", "notes.txt"):
        (folder / name).write_text("of an earlier test")
    label = np.zeros(12, np.int64)
    method = np.full(12, "original", object)
    fine = Predictions(np.linspace(0.1, 0.9, 12), label, method, np.arange(12), np.arange(12))
    found: dict[Level, Predictions] = {"frame": fine, "video": fine}
    assert curves_of(found) == []
    assert "need both classes" in write_curves(folder, curves_of(found), evaluate(found, resamples=5))
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
