"""The leaderboard as a picture: how good each explanation method is against how long it takes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.explain.benchmark.leaderboard import BASELINES, ORACLE, SCORES, LeaderboardRow

SHOWN: Final = ("auroc_face", "flips")
"""The scores drawn, a panel each: does it point at the forgery, and does the model use what it points at?"""
_SIZE: Final = 7.5  # points, of the labels
_COLOURS: Final = {"method": "C0", "baseline": "0.55", "oracle": "C1"}


class Point(NamedTuple):
    """A method in one panel."""

    name: str
    ms: float
    value: Interval


def draw_leaderboard(lines: Sequence[LeaderboardRow], ms: dict[tuple[str, str], float]) -> bytes:
    """A PNG file with a row a label and a panel a score of ``SHOWN``; the same arguments give the same bytes.

    Args:
        lines: Of ``leaderboard.summarise``.
        ms: Milliseconds an image by (label, method).
    """
    file = io.BytesIO()
    canvas = leaderboard_figure(lines, ms)
    canvas.print_png(file, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return file.getvalue()


def leaderboard_figure(lines: Sequence[LeaderboardRow], ms: dict[tuple[str, str], float]) -> FigureCanvasAgg:
    """The figure that ``draw_leaderboard`` writes, on its canvas."""
    labels = list(dict.fromkeys(line.label for line in lines))
    with style.context("default"):
        figure = Figure(figsize=(13, 5.4 * len(labels)), dpi=160, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        panels = figure.subplots(len(labels), len(SHOWN), squeeze=False)
        for row, label in zip(panels, labels, strict=True):
            for panel, score in zip(row, SHOWN, strict=True):
                _draw(panel, _points(lines, ms, label, score), label, score)
        canvas.draw()  # type: ignore[no-untyped-call]  # settles where everything is: the names' places depend on it
        figure.set_layout_engine("none")
        renderer: RendererAgg = canvas.get_renderer()  # type: ignore[no-untyped-call]
        for row, label in zip(panels, labels, strict=True):
            for panel, score in zip(row, SHOWN, strict=True):
                _name(panel, _points(lines, ms, label, score), renderer)
    return canvas


def _points(lines: Sequence[LeaderboardRow], ms: dict[tuple[str, str], float], label: str, score: str) -> list[Point]:
    return [
        Point(line.method, ms[label, line.method], line.value)
        for line in lines
        if (line.label, line.checkpoint, line.kind, line.score) == (label, POOLED, POOLED, score)
        and not math.isnan(line.value.value)
    ]


def _draw(panel: Axes, points: list[Point], label: str, score: str) -> None:
    panel.set_xscale("log")
    panel.set_xlabel("milliseconds an image")
    panel.set_ylabel(SCORES[score].title)
    panel.set_title(f"{label}: {SCORES[score].title}", fontsize=10, parse_math=False)
    panel.grid(linewidth=0.3)
    panel.margins(x=0.12, y=0.08)
    best = max((point for point in points if point.name in BASELINES), key=lambda point: point.value, default=None)
    if best is not None:
        panel.axhline(best.value.value, color=_COLOURS["baseline"], linewidth=1, linestyle="--")
    for point in points:
        value, low, high = point.value[:3]
        ends = [[max(0.0, value - low)], [max(0.0, high - value)]]
        panel.errorbar(point.ms, value, ends, fmt="o", markersize=4.5, elinewidth=0.7, color=_colour(point.name))


def _name(panel: Axes, points: list[Point], renderer: RendererAgg) -> None:
    """Write each name at the nearest free place beside its point."""
    ends = [[(point.ms, level) for level in point.value[:3]] for point in points]
    bars = panel.transData.transform(np.array(ends).reshape(-1, 2)).reshape(-1, 3, 2)
    places = bars[:, 0]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places]
    taken += [Bbox([(bar[0, 0] - 2, bar[1, 1]), (bar[0, 0] + 2, bar[2, 1])]) for bar in bars if np.isfinite(bar).all()]
    room = panel.get_window_extent(renderer)
    directions = [(math.cos(angle), math.sin(angle)) for angle in np.linspace(0, 2 * math.pi, 16, endpoint=False)]
    for index in sorted(range(len(points)), key=lambda index: -places[index][1]):
        x, y = places[index]
        text = panel.annotate(
            points[index].name,
            (points[index].ms, points[index].value.value),
            xytext=(0, 0),
            textcoords="offset pixels",
            ha="center",
            va="center",
            fontsize=_SIZE,
            color=_colour(points[index].name),
            annotation_clip=False,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.6", "shrinkA": 0, "shrinkB": 3},
        )
        size = text.get_window_extent(renderer)
        half_width, half_height = size.width / 2 + 2, size.height / 2 + 1
        candidates = [
            (x + dx * (distance + half_width), y + dy * (distance + half_height))
            for distance in range(6, 400, 6)
            for dx, dy in directions
        ]
        boxes = (Bbox([(a - half_width, b - half_height), (a + half_width, b + half_height)]) for a, b in candidates)
        free = (box for box in boxes if _inside(box, room) and not any(box.overlaps(other) for other in taken))
        box = next(free, size)
        taken.append(box)
        text.set_position(((box.x0 + box.x1) / 2 - x, (box.y0 + box.y1) / 2 - y))


def _inside(box: Bbox, room: Any) -> bool:
    return bool(box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1)


def _colour(name: str) -> str:
    return _COLOURS["baseline" if name in BASELINES else "oracle" if name == ORACLE else "method"]
