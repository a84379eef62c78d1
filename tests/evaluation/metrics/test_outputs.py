from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from resgat_pl.evaluation.metrics.outputs import kind_scores, macro_f1, region_scores, unknown_limit


def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_are_there() -> None:
    rng = np.random.default_rng(0)
    right, found = rng.integers(0, 3, 60), rng.integers(0, 5, 60)
    expected = f1_score(right, found, average="macro", labels=[0, 1, 2])
    assert macro_f1(found, right, 5) == pytest.approx(expected)
    assert math.isnan(macro_f1(np.zeros(0, np.int64), np.zeros(0, np.int64), 2))


def test_five_percent_of_the_known_kinds_fall_below_the_limit() -> None:
    energy = np.random.default_rng(0).normal(size=2000)
    limit = unknown_limit(energy)
    assert limit is not None and (energy < limit).mean() == pytest.approx(0.05, abs=0.002)
    assert unknown_limit(np.zeros(0)) is None


def test_kinds_seen_and_unseen() -> None:
    """Known kinds have one large logit, unseen ones have none."""
    kind = np.repeat([0, 1, 2, -1], 20)
    logits = np.zeros((80, 3))
    logits[kind == 0, 1:] = -5
    logits[kind == 1, 1] = 6
    logits[kind == 2, 2] = 6
    logits[kind == -1, 1:] = 0.5
    group = np.arange(80) % 20
    found = kind_scores(logits, kind, kind != 0, group, limit=3.0)
    assert {name: value.value for name, value in found.items()} == {
        "kind_f1": 1,
        "kind_accuracy": 1,
        "unknown_auroc": 1,
        "unknown_auroc_max_logit": 1,
        "unknown_recall": 1,
        "known_rejected": 0,
    }
    assert found["kind_f1"].groups == 20
    logits[kind == 1, 1], logits[kind == 1, 2] = 0, 0.2  # taken for the other kind, and unsure
    worse = kind_scores(logits, kind, kind != 0, group, None)
    assert worse["kind_accuracy"].value == 0.5 and worse["unknown_auroc"].value < 1
    assert "unknown_recall" not in worse
    assert not kind_scores(logits, np.abs(kind), kind != 0, group, None).keys() & {"unknown_auroc"}


def test_region_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    logits, manipulated = rng.normal(size=(60, 3)) * 30, rng.random((60, 3)) < 0.3
    manipulated[:, 2] = False  # nowhere: no score
    found = region_scores(logits, manipulated, ["left eye", "nose", "chin"], np.arange(60) % 12)
    each = [average_precision_score(manipulated[:, place], logits[:, place]) for place in (0, 1)]
    assert found["region_ap/left_eye"].value == pytest.approx(each[0])
    assert found["region_ap/nose"].value == pytest.approx(each[1])
    assert found["region_map"].value == pytest.approx(np.mean(each))
    assert found["region_map"].known and "region_ap/chin" not in found
    assert region_scores(logits, np.zeros((60, 3), bool), ["a", "b", "c"], np.arange(60)) == {}
