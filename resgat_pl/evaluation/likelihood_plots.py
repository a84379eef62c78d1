"""Tippett plots and reliability of likelihood ratios, as figures and as CSV."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resgat_pl.core.output_tables import csv_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.evaluation.likelihood_results import LevelRatios

FIGURES: Final = ("tippett", "likelihood_reliability")
"""Figures beside the curves, each ``.png``; ``likelihood.csv`` has their points."""
TABLE: Final = "likelihood.csv"
_COLUMNS: Final = ("level", "class", "log10_lr", "share_above", "pav_log10_lr")
_COLOURS: Final = {REAL: "#0072B2", FAKE: "#D55E00"}
_NAMES: Final = {REAL: "genuine", FAKE: "fake"}
_STYLE: Final[dict[str, Any]] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.88",
    "text.parse_math": False,
}


def write_ratio_plots(folder: Path, levels: Sequence[LevelRatios]) -> None:
    """Write the figures and their points; without levels, remove those of an earlier test.

    A Tippett plot shows for each ratio the share of samples of a class whose ratio is greater: fakes to the left of 1
    and genuine samples to the right of it are misleading. The reliability plot compares the ratios with those
    that isotonic regression (PAV) finds from the test's own labels: reliable ones lie on the diagonal.

    Args:
        folder: Made if missing.
        levels: See ``RatioTest``.
    """
    if not levels:
        for name in (*(f"{name}.png" for name in FIGURES), TABLE):
            (folder / name).unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE, csv_table(_COLUMNS, _points(levels)).encode())
    with style.context(["default", _STYLE]):
        for name, draw in zip(FIGURES, (_tippett, _reliability), strict=True):
            figure = Figure(figsize=(5 * len(levels), 4.6))
            panels = figure.subplots(1, len(levels), squeeze=False)[0]
            for panel, level in zip(panels, levels, strict=True):
                draw(panel, level)
                panel.set_title(f"per {level.level}")
                panel.legend(loc="upper left" if draw is _reliability else "best", fontsize=9)
            figure.subplots_adjust(left=0.13 / len(levels) + 0.02, right=0.98, bottom=0.14, top=0.91, wspace=0.25)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
            write_atomic(folder / f"{name}.png", file.getvalue())


def share_above(value: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Weighted share of samples with a greater value, ``(N,)``.

    Example:
        >>> share_above(np.array([1.0, 2.0, 2.0, 3.0]), np.ones(4)).tolist()
        [0.75, 0.25, 0.25, 0.0]
    """
    order = np.argsort(value, kind="stable")
    total = np.cumsum(weight[order])
    last = np.searchsorted(value[order], value, side="right") - 1
    return np.asarray(1 - total[last] / total[-1])


def _tippett(panel: Axes, level: LevelRatios) -> None:
    for label, colour in _COLOURS.items():
        mine = level.label == label
        value, weight = level.value[mine], level.weight[mine]
        order = np.argsort(value, kind="stable")
        x, y = value[order], share_above(value, weight)[order]
        panel.step(np.r_[x[0], x], np.r_[1.0, y], where="post", color=colour, label=_NAMES[label])
    panel.axvline(0, color="0.5", linewidth=1, linestyle=":")
    panel.set(xlabel="log10 likelihood ratio", ylabel="share with a greater ratio", ylim=(-0.02, 1.02))


def _reliability(panel: Axes, level: LevelRatios) -> None:
    order = np.argsort(level.value, kind="stable")
    x, y = level.value[order], level.reliable[order]
    most = max(0.5, float(np.abs(x).max())) * 1.15
    panel.plot([-most, most], [-most, most], color="0.5", linewidth=1, linestyle=":", label="reliable")
    panel.plot(x, np.clip(y, -most, most), color="#009E73", drawstyle="steps-mid", label="from the test's labels (PAV)")
    for label, colour in _COLOURS.items():
        mine = level.label == label
        place = np.full(int(mine.sum()), most if label == FAKE else -most)
        panel.plot(level.value[mine], place, "|", color=colour, markersize=8, label=_NAMES[label])
    panel.set(xlabel="log10 likelihood ratio", ylabel="log10 ratio by PAV", xlim=(-most, most))


def _points(levels: Sequence[LevelRatios]) -> Iterator[list[object]]:
    for level in levels:
        reliable = level.reliable
        for label, name in _NAMES.items():
            mine = np.flatnonzero(level.label == label)
            above = share_above(level.value[mine], level.weight[mine])
            for place in np.argsort(level.value[mine], kind="stable"):
                row = mine[place]
                pav = f"{reliable[row]:.6f}" if np.isfinite(reliable[row]) else ("inf" if reliable[row] > 0 else "-inf")
                yield [level.level, name, f"{level.value[row]:.6f}", f"{above[place]:.6f}", pav]
