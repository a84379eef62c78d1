"""The curves of a test on the dashboard: as pictures, and as numbers that lie over those of other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from resgat_pl.evaluation.curve_files import FIGURES
from resgat_pl.evaluation.metrics.curves import LevelCurves, on_grid
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.training.loggers.wandb import ResilientWandbLogger

PREFIX: Final = "test/curves"
"""Beginning of the names of the numbers; ``test/curves/x`` is the place on the x axis of all of them."""


def log_curves(logger: ResilientWandbLogger, curves: Sequence[LevelCurves], folder: Path, pictures: bool) -> None:
    """Log the curves of a test to W&B.

    Numbers: the counts at the threshold (``test/video_fpr_at_val`` and the like), and 101 points of each curve, as
    charts over ``test/curves/x`` in which W&B lays those of several runs over each other. Pictures: the figures, as
    ``test/roc`` and so on.

    Args:
        logger: Where to; nothing is logged on other ranks than 0.
        curves: Of the levels; none where a class is missing.
        folder: Where the figures are.
        pictures: Whether the figures are sent; they show numbers and no faces.
    """
    if not curves:
        return
    logger.log_metrics({key: value for level in curves for key, value in _counts(level).items()})
    grids = {f"{PREFIX}/{name}": values for name, values in _grids(curves).items()}

    def define(run: Any) -> None:
        for name in grids:
            run.define_metric(name, step_metric=f"{PREFIX}/x", step_sync=False, summary="none")

    logger.with_run(define)
    for row in zip(*grids.values(), strict=True):
        logger.log_metrics(dict(zip(grids, map(float, row), strict=True)))
    if pictures:
        logger.with_run(lambda run: run.log(_pictures(folder)))


def _pictures(folder: Path) -> dict[str, Any]:
    import wandb

    return {f"test/{name}": wandb.Image(str(folder / f"{name}.png")) for name in FIGURES}


def _counts(level: LevelCurves) -> dict[str, float]:
    found, at = level.confusion, "at_val" if level.chosen else "at_default"
    values = {"threshold": found.threshold, "tp": found.tp, "fp": found.fp, "fn": found.fn, "tn": found.tn}
    rates = {"fpr": found.fpr, "fnr": found.fnr}
    return {f"test/{level.level}_{name}_{at}": float(value) for name, value in {**values, **rates}.items()}


def _grids(curves: Sequence[LevelCurves]) -> dict[str, Any]:
    grids: dict[str, Any] = {}
    for level in curves:
        found = on_grid(level.sweeps[POOLED])
        grids["x"] = found.pop("x")
        grids |= {f"{level.level}_{name}": values for name, values in found.items()}
    return grids
