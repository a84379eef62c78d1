"""Files of the curves of a test: the points as CSV, and the figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from resgat_pl.core.output_tables import csv_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import Level
from resgat_pl.evaluation.curve_plots import VECTOR, draw_curves
from resgat_pl.evaluation.metrics.curves import LevelCurves, level_curves
from resgat_pl.evaluation.metrics.scores import Predictions, Scores

FOLDER: Final = "curves"
"""Folder of the files beside ``results.json``."""
FIGURES: Final = ("roc", "precision_recall", "thresholds", "confusion", "reliability")
"""Figures in ``FOLDER``, each ``.png``; all are in ``curves.pdf``, too."""
_POINTS: Final = (
    *("level", "method", "threshold", "tp", "fp", "fn", "tn"),
    *("tpr", "fpr", "precision", "balanced_accuracy"),
)
_CONFUSION: Final = ("level", "threshold", "source", "tp", "fp", "fn", "tn")
_BINS: Final = ("level", "probability", "low", "high", "count", "predicted", "observed")


def curves_of(
    predictions: Mapping[Level, Predictions],
    thresholds: Mapping[Level, float] | None = None,
    temperatures: Mapping[Level, float | None] | None = None,
) -> list[LevelCurves]:
    """The curves of every level that has both classes.

    Args:
        predictions: By level.
        thresholds: By level, chosen on validation data; None where there was none.
        temperatures: By level, fitted on validation data; None where there was none.
    """
    found = (
        level_curves(level, whole, (thresholds or {}).get(level), (temperatures or {}).get(level))
        for level, whole in predictions.items()
    )
    return [each for each in found if each is not None]


def write_curves(folder: Path, curves: Sequence[LevelCurves], scores: Sequence[Scores]) -> str:
    """Write the points and the figures.

    ``points.csv`` has the confusion counts, TPR (recall), FPR, precision and balanced accuracy at up to 2,000
    thresholds per level and method, from the highest to the lowest; a probability above ``threshold`` counts as fake.
    ``confusion.csv`` has the counts at the threshold of validation; ``reliability.csv`` the predicted and observed
    shares of fakes in bins of equal width, of the score and of the calibrated probability.

    Args:
        folder: Where they are written; made if missing. Figures of an earlier test there are replaced.
        curves: See ``curves_of``; none where a class is missing.
        scores: Of the same test.

    Returns:
        A sentence on what was written, or why nothing was.
    """
    if not curves:
        for name in (*(f"{name}.png" for name in FIGURES), VECTOR, "points.csv", "confusion.csv", "reliability.csv"):
            (folder / name).unlink(missing_ok=True)
        return "No curves are drawn: ROC, precision-recall and the rest need both classes, and the test split has one."
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "points.csv": csv_table(_POINTS, _points(curves)),
        "confusion.csv": csv_table(_CONFUSION, _confusion(curves)),
        "reliability.csv": csv_table(_BINS, _bins(curves)),
    }
    for name, text in tables.items():
        write_atomic(folder / name, text.encode())
    for name, content in draw_curves(curves, scores).items():
        write_atomic(folder / name, content)
    return f"Curves with their points: {folder}/{{{','.join(FIGURES)}}}.png"


def _points(curves: Sequence[LevelCurves]) -> Iterator[list[object]]:
    for level in curves:
        for method, whole in level.sweeps.items():
            line = whole.thinned()
            fakes, reals = int(line.tp[-1]), int(line.fp[-1])
            rates = zip(line.tpr, line.fpr, line.precision, line.balanced_accuracy, strict=True)
            counts = zip(line.threshold, line.tp.tolist(), line.fp.tolist(), strict=True)
            for (threshold, tp, fp), numbers in zip(counts, rates, strict=True):
                cells = [f"{number:.6f}" for number in numbers]
                # all digits: the counts change right above the threshold
                yield [level.level, method, repr(float(threshold)), tp, fp, fakes - tp, reals - fp, *cells]


def _confusion(curves: Sequence[LevelCurves]) -> Iterator[list[object]]:
    for level in curves:
        found = level.confusion
        source = "validation" if level.chosen else "default"
        yield [level.level, repr(found.threshold), source, found.tp, found.fp, found.fn, found.tn]


def _bins(curves: Sequence[LevelCurves]) -> Iterator[list[object]]:
    for level in curves:
        for name, found in (("score", level.before), ("calibrated", level.after)):
            if found is None:
                continue
            ends = [*found.low[1:], 1.0]
            for low, high, count, *shares in zip(*found[:1], ends, *found[1:4], strict=True):
                cells = ["" if math.isnan(share) else f"{share:.6f}" for share in shares]
                yield [level.level, name, f"{low:.6f}", f"{high:.6f}", int(count), *cells]
