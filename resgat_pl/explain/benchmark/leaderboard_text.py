"""The leaderboard of explanation methods to read: tables in Markdown, and what their columns mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from resgat_pl.core.output_tables import markdown_table
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.explain.benchmark.areas import EXTENTS
from resgat_pl.explain.benchmark.leaderboard import FaceScores, LeaderboardRow, pooled, rank_floor, ranked
from resgat_pl.explain.benchmark.scores import BASELINES, BY_EXTENT, GENUINE, GROUPS, ORACLE, SCORES
from resgat_pl.explain.benchmark.swaps import DRAWS

_EXTENT: Final = {"part": "Part forgeries", "whole": "Whole-face forgeries"}


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
            ``detected``, ``fakes``, ``faces``, ``part``, ``whole``, ``genuine``, ``turned``, ``nodes`` and ``notes``.
        compared: Of ``differences``.
    """
    parts = ["# Explanation methods", _detector_table(detectors)]
    for label in dict.fromkeys(entry.label for entry in entries):
        mine = [entry for entry in entries if entry.label == label]
        parts += [f"## {label}", *_tables(lines, ranked(lines, label), mine)]
    parts += _compared(compared)
    parts += [_LEGEND, _floor(detectors), *_notes(detectors)]
    return "\n\n".join(parts)


def _tables(lines: Sequence[LeaderboardRow], methods: list[str], entries: list[FaceScores]) -> list[str]:
    """The tables of one label: a group of scores each, then part and whole-face forgeries, kinds, cost and seeds."""
    mine = [line for line in lines if (line.label, line.checkpoint) == (entries[0].label, POOLED)]
    values = {(line.method, line.kind, line.extent, line.score): line.value for line in mine}

    def table(columns: Sequence[tuple[str, str, str]], heads: Sequence[str], counted: bool = False) -> str:
        body = [[_named(m), *(_cell(values.get((m, *column)), counted) for column in columns)] for m in methods]
        return markdown_table(["method", *heads], body)

    parts = []
    for group, names in GROUPS.items():
        shown = [name for name in names if any(line.score == name and pooled(line) for line in mine)]
        if shown:
            everyone = [(POOLED, POOLED, name) for name in shown]
            counted = group in {"Silence", "Deletion, insertion and sanity"}  # of other numbers of faces
            parts += [f"### {group}", table(everyone, [_head(name) for name in shown], counted)]
        if group == "Silence":
            parts += ["Thresholds on the node map, from validation faces:", _threshold_table(methods, entries)]
    for extent in EXTENTS:
        shown = [name for name in BY_EXTENT if any((line.extent, line.score) == (extent, name) for line in mine)]
        if shown:
            columns = [(POOLED, extent, name) for name in shown]
            parts += [f"### {_EXTENT[extent]}", table(columns, [_head(name) for name in shown])]
    kinds = sorted({line.kind for line in mine} - {POOLED})
    for score in ("auroc_face", "iou") if kinds else ():
        if any(line.score == score for line in mine):
            columns = [(kind, POOLED, score) for kind in kinds]
            parts += [f"### {SCORES[score].title} by manipulation", table(columns, kinds)]
    parts += ["### Cost", _cost_table(methods, mine, entries)]
    if len({entry.checkpoint for entry in entries}) > 1:
        parts += ["### AUROC in face, seed by seed", _seed_table(lines, methods, entries)]
    return parts


def _cost_table(methods: list[str], lines: Sequence[LeaderboardRow], entries: list[FaceScores]) -> str:
    body = []
    for method in methods:
        costs = [entry.cost for entry in entries if entry.method == method]
        mean = {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]}
        passes = f"{mean['forward']:g} / {mean['backward']:g} / {mean['graph']:g}"
        mine = [line for line in lines if line.method == method and pooled(line) and line.score not in GENUINE]
        count = max((line.faces for line in mine), default=0)
        clips = max((line.value.groups for line in mine), default=0)
        body.append([_named(method), f"{mean['ms']:.3g}", passes, str(count), str(clips), _gap(costs[-1]["gap"])])
    return markdown_table(["method", "ms", "passes", "faces", "clips", "adds up to"], body)


def _threshold_table(methods: list[str], entries: list[FaceScores]) -> str:
    checkpoints = list(dict.fromkeys(entry.checkpoint for entry in entries))
    traits = {(entry.method, entry.checkpoint): entry.traits for entry in entries}
    body = []
    for method in methods:
        found = [traits.get((method, checkpoint), {}) for checkpoint in checkpoints]
        cells = [f"{each['threshold']:.3g}" if each.get("validated") else "–" for each in found]
        body.append([_named(method), found[0].get("unit", "–"), *cells, str(found[0].get("validated", 0))])
    return markdown_table(["method", "unit", *checkpoints, "validation fakes"], body)


def _seed_table(lines: Sequence[LeaderboardRow], methods: list[str], entries: list[FaceScores]) -> str:
    checkpoints = list(dict.fromkeys(entry.checkpoint for entry in entries))
    found = {
        (line.method, line.checkpoint): line.value
        for line in lines
        if (line.label, line.score) == (entries[0].label, "auroc_face") and pooled(line)
    }
    return markdown_table(
        ["method", *checkpoints], [[m, *(_cell(found.get((m, c))) for c in checkpoints)] for m in methods]
    )


def _detector_table(detectors: Sequence[dict[str, Any]]) -> str:
    header = ["detector", "checkpoint", "AUROC, frames", "AUROC, videos", "fakes detected", "explained"]
    header += ["part / whole", "genuine faces", "turned"]
    body = [
        [
            *(d["label"], d["checkpoint"], _cell(d["frame"]), _cell(d["video"])),
            *(f"{d['detected']:,} of {d['fakes']:,}", f"{d['faces']:,}"),
            *(f"{d['part']:,} / {d['whole']:,}", f"{d['genuine']:,}"),
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
        "of the explained fakes whose genuine counterpart is called genuine: those that flips and implanted count. "
        f"Random nodes are drawn {DRAWS} times a face, also for {BASELINES[0]}; central ones are those of CentrePrior; "
        "implanted nodes are all that is left of the fake, so a picture with all other nodes restored is the same one. "
        "Whole: the mask covers more than half of the nodes inside the face. Blur is a trace of forgery itself: "
        "deletion by it can add evidence.",
        "",
        *(f"- {_score.title}: {_score.meaning}." for _name, _score in SCORES.items() if "_over_" not in _name),
        "- … − centre, … − mean mask, … − random: the score minus that of `CentrePrior`, of `MeanMask` or of random "
        "nodes (restoration: of `Random`), face by face; an interval beyond 0 is better than where forgeries usually "
        "are, or than any exchange.",
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
