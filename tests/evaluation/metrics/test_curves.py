"""Points of the curves: those of scikit-learn, and areas and errors that agree with the metrics."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from resgat_pl.evaluation.metrics.binary import BINS, best_threshold, measure
from resgat_pl.evaluation.metrics.calibration import calibrated, log_odds
from resgat_pl.evaluation.metrics.curves import (
    DEFAULT_THRESHOLD,
    Confusion,
    level_curves,
    on_grid,
    reliability,
    sweep,
)
from resgat_pl.evaluation.metrics.scores import POOLED, Predictions

Made = tuple[NDArray[np.float64], NDArray[np.int64]]


def distinct(seed: int = 0, samples: int = 300) -> Made:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, samples)
    return 1 / (1 + np.exp(-rng.normal(label, 1.5))), label


def tied(seed: int = 1) -> Made:
    """With many ties, and certain calls at both ends."""
    probability, label = distinct(seed)
    return np.round(probability, 1), label


SAMPLES = pytest.mark.parametrize("made", [distinct(), tied(), (np.array([0.0, 1.0]), np.array([0, 1]))])


@SAMPLES
def test_roc_is_that_of_scikit_learn(made: Made) -> None:
    found = sweep(*made)
    fpr, tpr, _ = roc_curve(made[1], made[0], drop_intermediate=False)
    assert found.fpr == pytest.approx(fpr)
    assert found.tpr == pytest.approx(tpr)
    assert np.trapezoid(found.tpr, found.fpr) == pytest.approx(measure(*made)["auroc"])


@SAMPLES
def test_precision_and_recall_are_those_of_scikit_learn(made: Made) -> None:
    found = sweep(*made)
    precision, recall, _ = precision_recall_curve(made[1], made[0])
    assert found.precision == pytest.approx(precision[::-1])
    assert found.tpr == pytest.approx(recall[::-1])
    ap = (np.diff(found.tpr) * found.precision[1:]).sum()
    assert ap == pytest.approx(measure(*made)["ap"])


@SAMPLES
def test_counts_are_those_at_the_threshold(made: Made) -> None:
    """Above it counts as fake, everywhere: in the sweep, in the confusion matrix, and in the metrics."""
    probability, label = made
    found = sweep(probability, label)
    for threshold, tp, fp in zip(*found, strict=True):
        at = Confusion.of(probability, label, threshold)
        assert (at.tp, at.fp) == (tp, fp)
    for threshold in (0.0, 0.5, 0.7):
        called = (probability > threshold).astype(int)
        (tn, fp), (fn, tp) = confusion_matrix(label, called, labels=[0, 1])
        at = Confusion.of(probability, label, threshold)
        assert (at.tp, at.fp, at.fn, at.tn) == (tp, fp, fn, tn)
        expected = measure(probability, label, threshold)["balanced_accuracy"]
        assert 1 - (at.fpr + at.fnr) / 2 == pytest.approx(expected)
        place = found.at(np.array([threshold]))[0]
        assert (found.tp[place], found.fp[place]) == (tp, fp)


@SAMPLES
def test_the_best_threshold_is_the_top_of_the_curve(made: Made) -> None:
    found = sweep(*made)
    best = best_threshold(*made)
    assert best is not None
    place = found.at(np.array([best]))[0]
    assert found.balanced_accuracy[place] == found.balanced_accuracy.max()


@SAMPLES
def test_reliability_is_that_of_scikit_learn_and_its_error_the_metric(made: Made) -> None:
    found = reliability(*made)
    full = found.samples > 0
    if made[0].max() < 1 and len(np.unique(made[0])) == len(made[0]):  # no value on an edge, where the two differ
        observed, predicted = calibration_curve(made[1], made[0], n_bins=BINS)
        assert found.observed[full] == pytest.approx(observed)
        assert found.predicted[full] == pytest.approx(predicted)
    assert found.samples.sum() == len(made[1])
    assert np.isnan(found.predicted[~full]).all()
    assert found.ece == pytest.approx(measure(*made)["ece"])


def test_thinned_curves_keep_ends_and_area() -> None:
    made = distinct(samples=50_000)
    whole = sweep(*made)
    thin = whole.thinned(200)
    assert len(thin.threshold) <= 200 < len(whole.threshold)
    assert (thin.tp[0], thin.fp[0]) == (0, 0)
    assert (thin.tp[-1], thin.fp[-1]) == (whole.tp[-1], whole.fp[-1])
    assert np.trapezoid(thin.tpr, thin.fpr) == pytest.approx(np.trapezoid(whole.tpr, whole.fpr), abs=1e-4)
    assert set(zip(*thin, strict=True)) <= set(zip(*whole, strict=True))
    small = sweep(*tied())
    assert small.thinned(200) is small


@SAMPLES
def test_the_grid_reads_the_same_curves(made: Made) -> None:
    probability, label = made
    found = on_grid(sweep(*made), 21)
    fpr, tpr, _ = roc_curve(label, probability, drop_intermediate=False)
    for place, x in enumerate(found["x"]):
        assert found["roc"][place] == pytest.approx(tpr[fpr <= x + 1e-9].max())
        at = Confusion.of(probability, label, x)
        assert found["fpr"][place] == pytest.approx(at.fpr)
        assert found["fnr"][place] == pytest.approx(at.fnr)
        assert found["balanced_accuracy"][place] == pytest.approx(1 - (at.fpr + at.fnr) / 2)
    precision, recall, _ = precision_recall_curve(label, probability)
    # from the highest threshold on; the last of scikit-learn's, where nothing is called fake, left out
    called = list(zip(recall[-2::-1], precision[-2::-1], strict=True))
    for x, value in zip(found["x"], found["precision_recall"], strict=True):
        assert value == pytest.approx(next(p for r, p in called if r >= x - 1e-9))


def of_methods(label: NDArray[np.int64], probability: NDArray[np.float64]) -> Predictions:
    method = np.where(label == 0, "original", np.where(np.arange(len(label)) % 3 == 0, "swap", "cam")).astype(object)
    return Predictions(probability, label, method, np.arange(len(label)), np.arange(len(label)))


def test_a_level_has_all_methods_and_both_reliabilities() -> None:
    probability, label = distinct()
    found = level_curves("video", of_methods(label, probability), 0.3, 2.0)
    assert found is not None
    assert list(found.sweeps) == [POOLED, "cam", "swap"]
    real = int((label == 0).sum())
    assert {int(each.fp[-1]) for each in found.sweeps.values()} == {real}  # all genuine samples take part in each
    assert sum(int(found.sweeps[name].tp[-1]) for name in ("cam", "swap")) == found.sweeps[POOLED].tp[-1]
    assert (found.confusion.threshold, found.chosen) == (0.3, True)
    assert found.after is not None
    assert found.after.ece == pytest.approx(measure(calibrated(log_odds(probability), 2.0), label)["ece"])
    bare = level_curves("video", of_methods(label, probability), None, None)
    assert bare is not None
    assert (bare.confusion.threshold, bare.chosen, bare.after) == (DEFAULT_THRESHOLD, False, None)


@pytest.mark.parametrize("label", [[0, 0], [1, 1], []])
def test_one_class_has_no_curves(label: list[int]) -> None:
    codes = np.array(label, np.int64)
    assert level_curves("frame", of_methods(codes, np.full(len(codes), 0.4)), None, None) is None
