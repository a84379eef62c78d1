"""Figures of the curves of a test: a panel per level, legends below the panels, the same bytes for the same numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter, StrMethodFormatter

from resgat_pl.core.types import Level
from resgat_pl.evaluation.metrics.curves import LevelCurves, Reliability
from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import CALIBRATED, POOLED, Scores

VECTOR: Final = "curves.pdf"
"""File with all figures as vectors, one a page."""
Values = Mapping[tuple[Level, str], Mapping[str, Interval]]
"""Metrics with their intervals by level and method, as ``results.json`` has them."""
_ANONYMOUS: Final = {"CreationDate": None, "Creator": None, "Producer": None}  # the same on any day
_STYLE: Final[Mapping[str, Any]] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "grid.color": "0.88",
    "text.parse_math": False,  # a dollar sign in a method's name is no formula
    "pdf.fonttype": 42,  # journals refuse matplotlib's default, Type 3
}
# Okabe and Ito's colours, which colour-blind readers can distinguish; grey is for chance.
_BLUE, _ORANGE, _GREEN, _RED, _CHANCE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "0.5"
_METHODS: Final = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#8C564B", "#999933", "#332288")

# Lengths in inches. They are fixed, because matplotlib's layout engines take longer than all the rest.
_SIDE: Final = 3.6  # of a square panel
_LEFT, _RIGHT, _TOP, _BOTTOM, _LINE = 0.85, 0.35, 0.4, 0.62, 0.215
_LOW: Final = 1.0  # height of the counts below a reliability diagram
_GAP: Final = 0.25
_LONGEST: Final = 26  # letters of a method's name


def draw_curves(curves: Sequence[LevelCurves], scores: Sequence[Scores]) -> dict[str, bytes]:
    """Draw all figures.

    Args:
        curves: Of the levels, a panel each; at least one.
        scores: Of the same test, for areas and errors with their intervals.

    Returns:
        Content of a file by its name: ``roc.png``, ``precision_recall.png``, ``thresholds.png``, ``confusion.png``,
        ``reliability.png``, and ``VECTOR`` with all of them.
    """
    values: Values = {(row.level, row.method): row.values for row in scores}
    methods = max(len(level.sweeps) for level in curves)
    kinds: Mapping[str, tuple[Callable[[Axes, LevelCurves, Values], None], int]] = {
        "roc": (_roc, methods + 2),
        "precision_recall": (_precision_recall, 3),
        "thresholds": (_thresholds, 4),
        "confusion": (_confusion, 0),
    }
    figures: dict[str, Figure] = {}
    with style.context(["default", dict(_STYLE)]), warnings.catch_warnings():
        # A method may be named in a script that matplotlib's font does not have; boxes stand for it then.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        for name, (draw, lines) in kinds.items():
            figures[name], panels = _panels(len(curves), lines)
            for panel, level in zip(panels, curves, strict=True):
                draw(panel, level, values)
        figures["reliability"] = _reliability(curves, values)
        return _files(figures)


def _panels(count: int, lines: int, below: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure with square panels beside each other, and space for the lines of a legend and more below them."""
    width, bottom = _LEFT + _SIDE + _RIGHT, _BOTTOM + lines * _LINE + below
    height = _TOP + _SIDE + bottom
    figure = Figure(figsize=(count * width, height))
    places = [(at * width + _LEFT, bottom, _SIDE, _SIDE) for at in range(count)]
    return figure, [figure.add_axes(_share_of(figure, place)) for place in places]


def _share_of(figure: Figure, place: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    width, height = figure.get_size_inches()
    return place[0] / width, place[1] / height, place[2] / width, place[3] / height


def _files(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    whole = io.BytesIO()
    with PdfPages(whole, metadata=dict(_ANONYMOUS)) as pages:
        for name, figure in figures.items():
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
            found[f"{name}.png"] = file.getvalue()
            pages.savefig(figure)
    return {**found, VECTOR: whole.getvalue()}


def _roc(panel: Axes, curves: LevelCurves, values: Values) -> None:
    for name, colour, width in _lines(curves):
        line = curves.sweeps[name].thinned()
        pooled = "AUROC in %" if len(curves.sweeps) == 1 else "all fakes, AUROC in %"
        called = pooled if name == POOLED else _short(name)
        label = f"{called}: {values[curves.level, name]['auroc'].brief}"
        panel.plot(line.fpr, line.tpr, color=colour, linewidth=width, zorder=width, label=label)
    panel.plot([0, 1], [0, 1], color=_CHANCE, linewidth=1.2, linestyle=":", label="chance: 50")
    found = curves.confusion
    _mark(
        panel,
        found.fpr,
        1 - found.fnr,
        f"{_threshold(curves)}: FPR {found.fpr:.1%}, TPR {1 - found.fnr:.1%}",
    )
    _finish(panel, curves, "false positive rate: real called fake", "true positive rate: fake called fake")


def _precision_recall(panel: Axes, curves: LevelCurves, values: Values) -> None:
    # Of all fakes alone: precision depends on their share, which differs from method to method.
    whole = curves.sweeps[POOLED].thinned()
    label = f"AP in %: {values[curves.level, POOLED]['ap'].brief}"
    # nothing is called fake at the first threshold, where precision has no value
    panel.plot(whole.tpr[1:], whole.precision[1:], color=_BLUE, linewidth=2.8, label=label)
    share = whole.tp[-1] / (whole.tp[-1] + whole.fp[-1])
    panel.axhline(share, color=_CHANCE, linewidth=1.2, linestyle=":", label=f"chance: {share:.1%} are fakes")
    found = curves.confusion
    if found.tp + found.fp:
        text = f"{_threshold(curves)}: recall {1 - found.fnr:.1%}, precision {found.precision:.1%}"
        _mark(panel, 1 - found.fnr, found.precision, text)
    _finish(panel, curves, "recall: share of the fakes called fake", "precision: share of fakes in what is called fake")


def _thresholds(panel: Axes, curves: LevelCurves, values: Values) -> None:
    line, found = curves.sweeps[POOLED].thinned(), curves.confusion
    place = np.append(1.0, np.clip(line.threshold, 0, 1))  # counts hold from a threshold up to the next higher one
    for name, rates, here, colour in (
        ("balanced accuracy", line.balanced_accuracy, 1 - (found.fpr + found.fnr) / 2, _BLUE),
        ("false positive rate", line.fpr, found.fpr, _RED),
        ("false negative rate", line.fnr, found.fnr, _GREEN),
    ):
        panel.step(
            place, np.append(rates[0], rates), where="pre", color=colour, linewidth=2, label=f"{name}: {here:.1%}"
        )
        panel.plot(found.threshold, here, "o", color=colour, markersize=6, clip_on=False, zorder=9)
    text = f"{_threshold(curves)}, with these rates"
    panel.axvline(found.threshold, color="black", linewidth=1.2, linestyle="--", label=text)
    _finish(panel, curves, "threshold: a score above it is called fake", "rate")
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:.1f}"))


def _confusion(panel: Axes, curves: LevelCurves, values: Values) -> None:
    found = curves.confusion
    counts = np.array([[found.tn, found.fp], [found.fn, found.tp]])
    shares = counts / counts.sum(axis=1, keepdims=True)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.6 else "black"
        style_of: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
        panel.text(column, row - 0.06, f"{count:,}", fontsize=20, **style_of)
        panel.text(column, row + 0.2, f"{shares[row, column]:.1%} of {('real', 'fake')[row]}", fontsize=10, **style_of)
    panel.set_xticks([0, 1], ["called real", "called fake"])
    names = [f"{name}: {total:,}" for name, total in zip(("real", "fake"), counts.sum(axis=1), strict=True)]
    panel.set_yticks([0, 1], names, rotation=90, va="center")
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_title(f"per {curves.level}")
    panel.set_xlabel(_threshold(curves))


def _reliability(curves: Sequence[LevelCurves], values: Values) -> Figure:
    figure, panels = _panels(len(curves), 3, below=_LOW + _GAP)
    for at, (panel, level) in enumerate(zip(panels, curves, strict=True)):
        found = values[level.level, POOLED]
        left = at * (_LEFT + _SIDE + _RIGHT) + _LEFT
        counts = figure.add_axes(_share_of(figure, (left, _BOTTOM + 3 * _LINE, _SIDE, _LOW)))
        _bins(panel, counts, level.before, f"score, ECE in %: {found['ece'].brief}", _ORANGE, "s")
        if level.after is None:
            panel.plot([], [], " ", label="not calibrated: the checkpoint has no temperature")
        else:
            _bins(panel, counts, level.after, f"calibrated, ECE in %: {found['ece' + CALIBRATED].brief}", _BLUE, "o")
        panel.plot([0, 1], [0, 1], color=_CHANCE, linewidth=1.2, linestyle=":", label="perfect calibration")
        _percent(panel)
        panel.set(title=f"per {level.level}", ylabel="observed share of fakes")
        panel.tick_params(labelbottom=False)
        counts.set(xlim=(0, 1), xlabel="predicted probability of being fake", ylabel=f"{level.level}s", yscale="symlog")
        counts.set_ylim(0, 2 * max(each.samples.max() for each in (level.before, level.after) if each is not None))
        counts.yaxis.set_major_formatter(FuncFormatter(_count))
        counts.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(counts, panel, _LOW)
    return figure


def _bins(panel: Axes, counts: Axes, found: Reliability, label: str, colour: str, marker: str) -> None:
    full = found.samples > 0
    style_of: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 6, "clip_on": False, "zorder": 5}
    panel.plot(found.predicted[full], found.observed[full], linewidth=1.6, label=label, **style_of)
    counts.stairs(found.samples, np.append(found.low, 1.0), color=colour, linewidth=1.8)


def _mark(panel: Axes, x: float, y: float, label: str) -> None:
    panel.plot(x, y, "o", color="black", markersize=7, label=label, zorder=9, clip_on=False)


def _finish(panel: Axes, curves: LevelCurves, x: str, y: str) -> None:
    _percent(panel)
    panel.set(title=f"per {curves.level}", xlabel=x, ylabel=y)
    _legend(panel, panel, _SIDE)


def _percent(panel: Axes) -> None:
    panel.set(xlim=(0, 1), ylim=(0, 1))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))


def _legend(below: Axes, of: Axes, height: float) -> None:
    """The legend of one panel below another of the given height, left-aligned with its labels."""
    place = (-_LEFT / _SIDE + 0.04, -(_BOTTOM - 0.1) / height)
    below.legend(
        *of.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=place,
        frameon=False,
        borderaxespad=0.0,
        borderpad=0.0,
        labelspacing=0.25,
    )


def _lines(curves: LevelCurves) -> list[tuple[str, str, float]]:
    """Name, colour and width of each line: all fakes thick, each method thin."""
    methods = [name for name in curves.sweeps if name != POOLED]
    thin = [(name, _METHODS[at % len(_METHODS)], 1.3) for at, name in enumerate(methods)]
    return [(POOLED, _BLUE, 2.8), *thin]


def _count(value: float, _: object) -> str:
    return f"{value:,.0f}" if value else ""  # 0 would stand on 1


def _short(name: str) -> str:
    """A method's name within the width of a legend."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _threshold(curves: LevelCurves) -> str:
    return f"{'validation' if curves.chosen else 'default'} threshold {curves.confusion.threshold:.3g}"
