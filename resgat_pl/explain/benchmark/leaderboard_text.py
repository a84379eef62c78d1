"""The leaderboard of explanation methods to read: tables in Markdown, and what their columns mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from resgat_pl.core.output_tables import markdown_table
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.explain.benchmark.leaderboard import (
    BASELINES,
    MAIN,
    MORE,
    ORACLE,
    SCORES,
    FaceScores,
    LeaderboardRow,
    rank_floor,
    ranked,
)


def markdown(
    lines: Sequence[LeaderboardRow],
    entries: Sequence[FaceScores],
    detectors: Sequence[dict[str, Any]],
    compared: Sequence[LeaderboardRow] = (),
) -> str:
    """The leaderboard to read.

    Args:
        lines: Of ``summarise``.
        entries: The measurements behind them.
        detectors: For each checkpoint ``label``, ``checkpoint``, ``frame`` and ``video`` AUROC (``Interval``),
            ``detected``, ``fakes``, ``faces``, ``turned``, ``nodes`` and ``notes``.
        compared: Of ``differences``.
    """
    parts = ["# Explanation methods", _detector_table(detectors)]
    for label in dict.fromkeys(entry.label for entry in entries):
        pooled = [line for line in lines if (line.label, line.checkpoint) == (label, POOLED)]
        values = {(line.method, line.kind, line.score): line.value for line in pooled}
        faces = {(line.method, line.score): line.faces for line in pooled if line.kind == POOLED}
        methods = ranked(lines, label)
        mine = [entry for entry in entries if entry.label == label]
        parts += [f"## {label}", _main_table(methods, values, faces, mine)]
        kinds = sorted({line.kind for line in pooled} - {POOLED})
        if kinds:
            body = [[_named(m), *(_cell(values.get((m, kind, "auroc_face"))) for kind in kinds)] for m in methods]
            parts += ["AUROC in face by manipulation:", markdown_table(["method", *kinds], body)]
        head = ["method", *(_head(name) for name in MORE), "adds up to"]
        gaps = {entry.method: entry.cost["gap"] for entry in mine}
        body = [
            [_named(m), *(_cell(values.get((m, POOLED, name)), counted=True) for name in MORE), _gap(gaps[m])]
            for m in methods
        ]
        parts += ["Controls, deletion and insertion, sanity:", markdown_table(head, body)]
        if len({entry.checkpoint for entry in mine}) > 1:
            parts += ["AUROC in face, seed by seed:", _seed_table(lines, methods, mine)]
    parts += _compared(compared)
    parts += [_LEGEND, _floor(detectors), *_notes(detectors)]
    return "\n\n".join(parts)


def _main_table(
    methods: list[str],
    values: dict[tuple[str, str, str], Interval],
    faces: dict[tuple[str, str], int],
    entries: list[FaceScores],
) -> str:
    body = []
    for method in methods:
        costs = [entry.cost for entry in entries if entry.method == method]
        mean = {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]}
        passes = f"{mean['forward']:g} / {mean['backward']:g} / {mean['graph']:g}"
        count = max((number for (name, _), number in faces.items() if name == method), default=0)
        mine = (value for (name, kind, _), value in values.items() if (name, kind) == (method, POOLED))
        clips = max((value.groups for value in mine), default=0)
        cells = [_cell(values.get((method, POOLED, name))) for name in MAIN]
        body.append([_named(method), *cells, f"{mean['ms']:.3g}", passes, str(count), str(clips)])
    return markdown_table(["method", *(_head(name) for name in MAIN), "ms", "passes", "faces", "clips"], body)


def _seed_table(lines: Sequence[LeaderboardRow], methods: list[str], entries: list[FaceScores]) -> str:
    checkpoints = list(dict.fromkeys(entry.checkpoint for entry in entries))
    found = {
        (line.method, line.checkpoint): line.value
        for line in lines
        if (line.label, line.kind, line.score) == (entries[0].label, POOLED, "auroc_face")
    }
    return markdown_table(
        ["method", *checkpoints], [[m, *(_cell(found.get((m, c))) for c in checkpoints)] for m in methods]
    )


def _detector_table(detectors: Sequence[dict[str, Any]]) -> str:
    header = ["detector", "checkpoint", "AUROC, frames", "AUROC, videos", "fakes detected", "explained", "turned"]
    body = [
        [
            *(d["label"], d["checkpoint"], _cell(d["frame"]), _cell(d["video"])),
            *(f"{d['detected']:,} of {d['fakes']:,}", f"{d['faces']:,}"),
            "–" if math.isnan(d["turned"]) else f"{100 * d['turned']:.0f} %",
        ]
        for d in detectors
    ]
    return markdown_table(header, body)


_LEGEND: Final = "\n".join(
    [
        f"All values with 95 % intervals over genuine clips (n: their number; none from fewer than {FEWEST}), and over "
        "seeds where there are several: of shares of faces Wilson's, of others bootstrap. Methods are in the order of "
        f"the first score that there is. Baselines look at no model: {', '.join(BASELINES)}; the best is chosen on "
        f"these faces, which makes the difference to it rather too small. {ORACLE} needs the real counterpart; it "
        "ranks nodes by the effect of each alone, and since nodes act together, other orders can be better. Passes: "
        "forward / backward of the whole network / of the graph alone, for one image; ms is the median. Turned: share "
        "of the faces whose verdict turns when the whole face is restored; a few nodes can turn one that the whole "
        "face does not. Blur is a trace of forgery itself: deletion by it can add evidence.",
        "",
        *(f"- {_score.title}: {_score.meaning}." for _score in SCORES.values()),
    ]
)


def _floor(detectors: Sequence[dict[str, Any]]) -> str:
    """A sentence on |ρ| of unrelated maps."""
    grids = sorted({d["nodes"] for d in detectors})
    floors = " and ".join(f"{rank_floor(nodes):.2f} for {nodes} nodes" for nodes in grids)
    return f"Floor of |ρ|: unrelated maps have {floors} on average, not 0; less is no better."


def _compared(lines: Sequence[LeaderboardRow]) -> list[str]:
    """Detectors beside the first one, on the same faces."""
    parts = []
    for label in dict.fromkeys(line.label for line in lines):
        mine = [line for line in lines if line.label == label]
        values = {(line.method, line.score): line.value for line in mine}
        scores = [score for score in SCORES if any(line.score == score for line in mine)]
        methods = dict.fromkeys(line.method for line in mine)
        body = [[_named(m), *(_cell(values.get((m, score)), sign="+") for score in scores)] for m in methods]
        parts += [
            f"## {label} {mine[0].checkpoint}, face by face",
            markdown_table(["method", *(_head(score) for score in scores)], body),
        ]
    return parts


def _notes(detectors: Sequence[dict[str, Any]]) -> list[str]:
    notes = [f"- {d['label']}: {note}" for d in detectors for note in d["notes"]]
    return ["\n".join(["Notes:", *dict.fromkeys(notes)])] if notes else []


def _named(method: str) -> str:
    return f"*{method}*" if method in BASELINES or method == ORACLE else method


def _head(name: str) -> str:
    arrow = {"high": " ↑", "low": " ↓", "": ""}[SCORES[name].better]
    return SCORES[name].title + arrow


def _cell(value: Interval | None, counted: bool = False, sign: str = "") -> str:
    if value is None or math.isnan(value.value):
        return "–"
    return value.text(counted=counted or not value.known, sign=sign, scale=1)


def _gap(gap: float) -> str:
    return "–" if math.isnan(gap) else f"{gap:.0e}"
