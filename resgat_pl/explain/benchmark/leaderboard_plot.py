"""The leaderboard as a picture: how good each explanation method is, and how long it takes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.explain.benchmark.leaderboard import LeaderboardRow, pooled as is_pooled
from resgat_pl.explain.benchmark.scores import BASELINES, ORACLE, SCORES

SHOWN: Final = ("auroc_face", "flips")
"""The scores drawn, a panel each: does it point at the forgery, and does the model use what it points at?"""
_WHOLE: Final = "iou"
"""Takes the place of the first where no face has it, as of whole-face forgeries."""


def draw_leaderboard(lines: Sequence[LeaderboardRow], ms: Mapping[tuple[str, str], float]) -> bytes:
    """A PNG file: for each label a panel per score of ``SHOWN`` and one for the time, best method of the first on top.

    The same arguments give the same bytes.

    Args:
        lines: Of ``leaderboard.summarise``.
        ms: Milliseconds per image by (label, method).
    """
    labels = list(dict.fromkeys(line.label for line in lines))
    pooled = {
        (line.label, line.score, line.method): line.value
        for line in lines
        if line.checkpoint == POOLED and is_pooled(line) and not math.isnan(line.value.value)
    }
    shown = SHOWN if any(score == SHOWN[0] for _, score, _ in pooled) else (_WHOLE, *SHOWN[1:])
    names = {label: [name for owner, name in ms if owner == label] for label in labels}
    for label, mine in names.items():
        mine.sort(key=lambda name: pooled.get((label, shown[0], name), Interval(-math.inf)))
    heights = [len(names[label]) + 4 for label in labels]
    with style.context("default"):
        figure = Figure(figsize=(11, 0.2 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(labels), len(shown) + 1, squeeze=False, sharey="row", height_ratios=heights)
        for label, row in zip(labels, panels, strict=True):
            for panel, score in zip(row, shown, strict=False):
                values = {name: pooled[label, score, name] for name in names[label] if (label, score, name) in pooled}
                _draw(panel, names[label], values, f"{label}: {SCORES[score].title}")
                if beaten := [values[name].value for name in BASELINES if name in values]:
                    panel.axvline(max(beaten), color="0.55", linewidth=1, linestyle="--")
            times = {name: Interval(ms[label, name]) for name in names[label]}
            _draw(row[-1], names[label], times, f"{label}: milliseconds per image")
            row[-1].set_xscale("log")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()


def _draw(panel: Axes, names: Sequence[str], values: Mapping[str, Interval], title: str) -> None:
    panel.set_title(title, fontsize=9, parse_math=False)
    panel.set_yticks(range(len(names)), names, fontsize=7.5)
    panel.grid(linewidth=0.3)
    for name, (value, low, high, _) in values.items():
        place = names.index(name)
        colour = "0.55" if name in BASELINES else "C1" if name == ORACLE else "C0"
        panel.plot([low, high], [place, place], color=colour, linewidth=0.9)
        panel.plot(value, place, "o", color=colour, markersize=4)
