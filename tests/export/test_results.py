"""Results are read for the checkpoint that they are of, and error rates are those of the predictions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError, ManifestError
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.scores import POOLED, evaluate, read_predictions
from resgat_pl.evaluation.train_test_overlap import REMEMBERED
from resgat_pl.export.results import Row, describe_protocol, find_results

from ..helpers.tiny_runs import pretend_test, untrained

THRESHOLDS = {"frame": 0.3, "video": 0.6}


@pytest.fixture(scope="module")
def detector(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    base = tmp_path_factory.mktemp("run")
    found = Detector.load(untrained(base / "checkpoints" / "best.ckpt", ffpp_crops, thresholds=THRESHOLDS))
    finish(found, pretend_test(base / "test", skill=2.0, thresholds=THRESHOLDS))
    return found


def finish(detector: Detector, folder: Path, **more: Any) -> Path:
    """Fill a pretended test with its scores, and let it be of this checkpoint."""
    document = json.loads((folder / "results.json").read_text())
    scores = evaluate(read_predictions(folder / "predictions"), detector.thresholds)
    plain = {name: value for name, value in (detector.provenance or {}).items() if name not in REMEMBERED}
    document |= {
        "scores": [row.plain() for row in scores], "temperatures": dict(detector.temperatures),
        "checkpoint": {"path": "best.ckpt", "provenance": plain}, **more,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(document))
    return folder / "results.json"


def test_the_run_of_a_checkpoint_has_its_results(detector: Detector) -> None:
    (test,) = find_results(detector, None).tests
    assert test.data == "ffpp (c23)"
    assert (test.compressions, test.methods) == ({"c23"}, {"Deepfakes", "FaceSwap"})
    assert {(row.level, row.method) for row in test.rows} >= {("video", POOLED), ("frame", "FaceSwap")}
    assert test.coverage.startswith("20 of 23 videos scored")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skill", [0.0, 2.0, 50.0, -50.0])
def test_errors_are_those_of_the_predictions(tmp_path: Path, seed: int, skill: float) -> None:
    folder = pretend_test(tmp_path, seed, skill)
    predictions = read_predictions(folder / "predictions")
    rows = [Row.read(json.loads(json.dumps(row.plain()))) for row in evaluate(predictions, THRESHOLDS)]
    assert len(rows) == 6
    for row in rows:
        part = predictions[row.level]  # type: ignore[index]
        chosen = (part.label == 0) | np.isin(
            part.method, [row.method] if row.method != POOLED else ["Deepfakes", "FaceSwap"]
        )
        for suffix, threshold in (("", 0.5), ("_at_val", THRESHOLDS[row.level])):
            called = (part.probability > threshold)[chosen]
            label = part.label[chosen]
            found = row.errors(suffix)
            assert found is not None
            assert found.false_alarms == int((called & (label == 0)).sum())
            assert found.missed == int((~called & (label == 1)).sum())
            assert found.fpr.value == pytest.approx(found.false_alarms / row.real)
            assert found.fnr.value == pytest.approx(found.missed / row.fake)


def test_intervals_of_errors_are_wilsons_over_clips() -> None:
    values = {"accuracy": [0.9, None, None], "f1_fake": [0.9, None, None]}  # 10 of 100 are wrong, 5 of either class
    row = Row.read(
        {"level": "video", "method": POOLED, "real": 50, "fake": 50, "clips": 50, "values": values,
         "groups": {"accuracy": 50, "f1_fake": 25}}
    )  # fmt: skip
    found = row.errors("")
    assert found is not None
    assert (found.false_alarms, found.missed) == (5, 5)
    assert found.fpr.low == pytest.approx(
        0.0434750, abs=1e-4
    )  # statsmodels' proportion_confint(5, 50, method="wilson")
    assert found.fpr.high == pytest.approx(0.2136, abs=1e-4)
    few = Row.read({**vars(row), "values": values, "groups": {"accuracy": 9}}).errors("")
    assert few is not None
    assert math.isnan(few.fpr.low)


@pytest.mark.parametrize("lacking", ["accuracy", "f1_fake"])
def test_errors_are_unknown_without_scores_or_a_class(lacking: str) -> None:
    values = {name: [0.9, None, None] for name in ("accuracy", "f1_fake") if name != lacking}
    stored = {"level": "video", "method": POOLED, "real": 5, "fake": 5, "clips": 5, "values": values}
    assert Row.read(stored).errors("") is None
    both = {name: [1.0, None, None] for name in ("accuracy", "f1_fake")}
    assert Row.read({**stored, "real": 0, "values": both}).errors("") is None
    assert Row.read({**stored, "values": {**both, "accuracy": [0.5, None, None]}}).errors("") is None  # contradict


def test_results_of_another_checkpoint_are_left_out(detector: Detector, tmp_path: Path) -> None:
    run = detector.path.parent.parent
    other = finish(detector, pretend_test(run / "older", thresholds={"frame": 0.1, "video": 0.2}))
    retrained = finish(
        detector, pretend_test(run / "retrained", thresholds=THRESHOLDS), checkpoint={"provenance": {"seed": 9}}
    )
    last = finish(detector, pretend_test(run / "last", thresholds=THRESHOLDS), checkpoint_sha256="0" * 64)
    assert len(find_results(detector, None).tests) == 1
    for path in (other, retrained, last):
        with pytest.raises(ConfigError, match=rf"{path.parent.name}/results\.json is not of .*best\.ckpt"):
            find_results(detector, str(path.parent))
        path.unlink()
    with pytest.raises(ConfigError, match=r"there is no file .*none\.json"):
        find_results(detector, str(tmp_path / "none.json"))


def test_files_that_hold_no_results_are_named(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    sums = {"checkpoint_sha256": detector.checkpoint.fingerprint}
    for text in ("", "[]", "[" * 100_000, json.dumps({"schema": 2})):
        path.write_text(text)
        with pytest.raises(ManifestError, match=r"results\.json"):
            find_results(detector, str(path))
    for document in ({"scores": 3}, {"points": [{}]}, {"points": 3}, {"scores": [{"level": "video"}]}):
        path.write_text(json.dumps({**document, **sums}))
        with pytest.raises(ManifestError, match=r"results\.json holds no results"):
            find_results(detector, str(path))


def test_a_matrix_gives_the_cells_of_the_checkpoint(detector: Detector, tmp_path: Path) -> None:
    scores = [row.plain() for row in evaluate(read_predictions(detector.path.parent.parent / "test" / "predictions"))]
    cell = {
        "scores": scores,
        "videos": {"scored": 20, "of": None},
        "leaky": ["identity"],
        "people_unknown": ["people?"],
    }
    document = {
        "schema": 1, "checkpoint_sha256": {"mine": detector.checkpoint.fingerprint, "other": "0"},
        "cells": [
            {"train": "mine", "test": "celebdf", **cell}, {"train": "other", "test": "dfdc", **cell},
            {"train": "mine", "test": "ffpp", "refused": "test videos were in its training split: /home/ann/crops"},
        ],
    }  # fmt: skip
    (tmp_path / "cross.json").write_text(json.dumps(document))
    found = find_results(detector, str(tmp_path / "cross.json"))
    assert [(test.data, test.leaky, test.people) for test in found.tests] == [("celebdf", ["identity"], ["people?"])]
    assert found.refused == ["ffpp: test videos were in its training split: crops"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (None, "unknown"),
        ({}, "unknown"),
        ({"name": "strict", "seed": 1, "declares": []}, "strict (seed 1); it declares no leak"),
        ({"name": "random", "declares": ["identity", "source"]}, "random; it declares leaks: identity, source"),
    ],
)
def test_protocols_in_words(spec: Any, text: str) -> None:
    assert describe_protocol(spec) == text
