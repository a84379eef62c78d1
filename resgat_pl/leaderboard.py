"""What the explanation methods are worth: means with intervals over videos and seeds, as tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.metrics.evaluation import POOLED
from resgat_pl.metrics.intervals import Interval, draw, interval

BASELINES: Final = ("Random", "Uniform", "CentrePrior", "MeanMask")
"""What every method has to beat."""
ORACLE: Final = "Restoration"
"""The effect of restoring each node alone, as a map: needs the real counterpart, which nobody has of a fake."""


class Score(NamedTuple):
    """One score.

    Attributes:
        title: Head of its column.
        better: Whether ``high`` or ``low`` values are good; empty where neither is.
        meaning: In a sentence.
    """

    title: str
    better: Literal["high", "low", ""]
    meaning: str


SCORES: Final = {
    "auroc_face": Score(
        "AUROC in face", "high", "how often a manipulated node ranks above a clean one inside the face"
    ),
    "gain": Score("− best baseline", "high", "AUROC in face minus that of the best baseline, on the same faces"),
    "auroc": Score("AUROC, all", "high", "the same over all nodes; position alone goes a long way here"),
    "pointing": Score("pointing", "high", "share of faces whose highest node is manipulated"),
    "mass": Score("mass", "high", "share of the positive evidence that lies inside the mask"),
    "aupro": Score("AUPRO", "high", "per-region overlap up to 30 % false positives, by pixels; chance is 0.15"),
    "flips": Score(
        "flips@5", "high", "share of faces whose verdict turns when the 5 highest nodes of 49 (10.2 %) are restored"
    ),
    "restoration": Score(
        "restoration", "low", "area under the logit, from the fake's (1) to the real's (0), highest node first"
    ),
    "effects": Score("ρ effects", "high", "rank correlation with the effect of restoring each node alone"),
    "control": Score("fake > real", "high", "how often the map's top on a fake is above that on its real counterpart"),
    "deletion_blur": Score("deletion, blur", "low", "area under the probability while nodes are blurred"),
    "deletion_mean": Score("deletion, mean", "low", "area under the probability while nodes get the mean colour"),
    "insertion_blur": Score("insertion, blur", "high", "area under the probability while nodes come back from blur"),
    "insertion_mean": Score("insertion, mean", "high", "the same from the mean colour"),
    "random_head": Score("head random", "low", "|ρ| with the map after the head's weights were shuffled"),
    "random_gat": Score("+ GAT random", "low", "the same with the graph attention shuffled too"),
    "random_backbone": Score("all random", "low", "the same with the encoder shuffled too"),
    "target_flip": Score("target flip", "", "ρ with the map for real: −1 for a signed method, 1 for an unsigned one"),
    "uniform_attention": Score(
        "uniform attention", "", "ρ with the map under uniform attention: 1 owes nothing to attention"
    ),
}
"""In the order of the tables."""
_MAIN: Final = ("auroc_face", "gain", "auroc", "pointing", "mass", "aupro", "flips", "restoration", "effects")
_MORE: Final = tuple(name for name in SCORES if name not in _MAIN)


@dataclass(frozen=True)
class Entry:
    """One method on one checkpoint.

    Attributes:
        label: Name of the detector; its checkpoints with different seeds share it.
        checkpoint: The checkpoint.
        method: Name of the method.
        group: ``(F,)`` str, the genuine video behind each face: what is resampled.
        kind: ``(F,)`` str, manipulation methods.
        weight: ``(F,)`` float64, logit of the fake minus that of its counterpart, in which ``restoration`` is measured.
        scores: By name ``(F,)`` float64, NaN where not measured.
        cost: See ``trial.Trial``.
        traits: See ``trial.Trial``.
    """

    label: str
    checkpoint: str
    method: str
    group: NDArray[np.object_]
    kind: NDArray[np.object_]
    weight: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]
    cost: dict[str, float]
    traits: dict[str, Any]


class Line(NamedTuple):
    """One score of one method, over the fakes of one manipulation method.

    Attributes:
        label: Name of the detector.
        checkpoint: Its checkpoint; ``all`` for the mean over several.
        method: Explanation method.
        kind: Manipulation method, or ``all``.
        score: Name in ``SCORES``.
        value: With its 95 % interval.
        faces: Faces measured, of all checkpoints together.
    """

    label: str
    checkpoint: str
    method: str
    kind: str
    score: str
    value: Interval
    faces: int


def summarise(entries: Sequence[Entry], resamples: int = 1000, seed: int = 0) -> list[Line]:
    """Means with 95 % bootstrap intervals.

    Genuine videos are resampled with all fakes made from them, since these share a face, and all methods of a label
    alike. Of several checkpoints with one label the mean is taken over the seeds, which are resampled as well.
    ``restoration`` is that of the mean logit: a face counts by how far its logit can fall, for a ratio with next to
    nothing below the line would drown all others.
    """
    lines: list[Line] = []
    for label in dict.fromkeys(entry.label for entry in entries):
        mine = _with_gain([entry for entry in entries if entry.label == label])
        groups = sorted({name for entry in mine for name in entry.group})
        weight = np.concatenate([np.ones((1, len(groups)), np.int64), draw(len(groups), resamples, seed)])
        for method in dict.fromkeys(entry.method for entry in mine):
            seeds = [entry for entry in mine if entry.method == method]
            kinds = sorted({kind for entry in seeds for kind in entry.kind})
            for kind in [POOLED, *kinds] if len(kinds) > 1 else [POOLED]:
                for score in SCORES:
                    lines += _lines(seeds, kind, score, groups, weight, seed)
    return lines


def _lines(
    seeds: list[Entry], kind: str, score: str, groups: list[str], weight: NDArray[np.int64], seed: int
) -> list[Line]:
    found = [_resampled(entry, kind, score, groups, weight) for entry in seeds]
    counts = [count for _, count, _ in found]
    if not any(counts):
        return []
    place = (seeds[0].label, seeds[0].method)
    singles = [
        Line(place[0], entry.checkpoint, place[1], kind, score, interval(values, clips, _outcomes(score, count)), count)
        for entry, (values, count, clips) in zip(seeds, found, strict=True)
        if count
    ]
    table = np.stack([values for values, count, _ in found if count])
    drawn = np.random.default_rng(seed).integers(len(table), size=(weight.shape[0], len(table)))
    drawn[0] = np.arange(len(table))
    mean = np.take_along_axis(table, drawn.T, axis=0).mean(axis=0)
    whole = interval(mean, max(clips for *_, clips in found), _outcomes(score, sum(counts)))
    return [Line(place[0], POOLED, place[1], kind, score, whole, sum(counts)), *singles]


def _outcomes(score: str, faces: int) -> int | None:
    """What ``interval`` wants to know of a score that is a share of faces."""
    return faces if score in {"pointing", "flips"} else None


def _resampled(
    entry: Entry, kind: str, score: str, groups: list[str], weight: NDArray[np.int64]
) -> tuple[NDArray[np.float64], int, int]:
    """The mean ``(1 + R,)`` of a score, itself and of each resample, and the number of faces and of clips in it."""
    values = entry.scores.get(score, np.full(len(entry.kind), np.nan))
    used = np.isfinite(values) & ((entry.kind == kind) | (kind == POOLED))
    group = np.searchsorted(groups, entry.group[used].astype(str))
    share = entry.weight[used] if score == "restoration" else np.ones(int(used.sum()))
    above = weight @ np.bincount(group, share * values[used], len(groups))
    below = weight @ np.bincount(group, share, len(groups))
    drawn = weight @ np.bincount(group, minlength=len(groups))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(drawn > 0, above / below, np.nan), int(used.sum()), len(np.unique(group))


def _with_gain(entries: list[Entry]) -> list[Entry]:
    """Add to each the difference to the best baseline of the label, face by face."""
    means = {
        name: np.nanmean(np.concatenate(found))
        for name in BASELINES
        if (found := [e.scores["auroc_face"] for e in entries if e.method == name])
        and np.isfinite(np.concatenate(found)).any()
    }
    if not means:
        return entries
    best = max(means, key=lambda name: means[name])
    base = {entry.checkpoint: entry.scores["auroc_face"] for entry in entries if entry.method == best}
    return [
        replace(entry, scores={**entry.scores, "gain": entry.scores["auroc_face"] - base[entry.checkpoint]})
        if entry.checkpoint in base
        else entry
        for entry in entries
    ]


def markdown(lines: Sequence[Line], entries: Sequence[Entry], detectors: Sequence[dict[str, Any]]) -> str:
    """The leaderboard to read.

    Args:
        lines: Of ``summarise``.
        entries: What they were made from.
        detectors: For each checkpoint ``label``, ``checkpoint``, ``frame`` and ``video`` AUROC (``Interval``),
            ``detected``, ``fakes``, ``faces``, ``turned`` and ``notes``.
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
            parts += ["AUROC in face by manipulation:", table(["method", *kinds], body)]
        head = ["method", *(_head(name) for name in _MORE), "adds up to"]
        gaps = {entry.method: entry.cost["gap"] for entry in mine}
        body = [[_named(m), *(_cell(values.get((m, POOLED, name))) for name in _MORE), _gap(gaps[m])] for m in methods]
        parts += ["Controls, deletion and insertion, sanity:", table(head, body)]
        if len({entry.checkpoint for entry in mine}) > 1:
            parts += ["AUROC in face, seed by seed:", _seed_table(lines, methods, mine)]
    parts += [_LEGEND, *_notes(detectors)]
    return "\n\n".join(parts)


def ranked(lines: Iterable[Line], label: str) -> list[str]:
    """The methods of a label, the best AUROC inside the face first."""
    mine = [line for line in lines if (line.label, line.checkpoint, line.kind) == (label, POOLED, POOLED)]
    value = {line.method: line.value.value for line in mine if line.score == "auroc_face"}
    methods = list(dict.fromkeys(line.method for line in mine))
    return sorted(methods, key=lambda name: -value.get(name, -math.inf))


def as_csv(lines: Sequence[Line]) -> str:
    """One score a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(name for name in Line._fields if name not in {"value", "faces"}), *Interval._fields, "faces"])
    for line in lines:
        place = [line.label, line.checkpoint, line.method, line.kind, line.score]
        writer.writerow([*place, *line.value.cells(), line.faces])
    return text.getvalue()


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(rows + ["| " + " | ".join(line) + " |" for line in body])


def _main_table(
    methods: list[str],
    values: dict[tuple[str, str, str], Interval],
    faces: dict[tuple[str, str], int],
    entries: list[Entry],
) -> str:
    body = []
    for method in methods:
        costs = [entry.cost for entry in entries if entry.method == method]
        mean = {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]}
        passes = f"{mean['forward']:g} / {mean['backward']:g} / {mean['graph']:g}"
        count = max(number for (name, _), number in faces.items() if name == method)
        cells = [_cell(values.get((method, POOLED, name))) for name in _MAIN]
        body.append([_named(method), *cells, f"{mean['ms']:.3g}", passes, str(count)])
    return table(["method", *(_head(name) for name in _MAIN), "ms", "passes", "faces"], body)


def _seed_table(lines: Sequence[Line], methods: list[str], entries: list[Entry]) -> str:
    checkpoints = list(dict.fromkeys(entry.checkpoint for entry in entries))
    found = {
        (line.method, line.checkpoint): line.value
        for line in lines
        if (line.label, line.kind, line.score) == (entries[0].label, POOLED, "auroc_face")
    }
    return table(["method", *checkpoints], [[m, *(_cell(found.get((m, c))) for c in checkpoints)] for m in methods])


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
    return table(header, body)


_LEGEND: Final = "\n".join(
    [
        "All values with 95 % bootstrap intervals over genuine videos, and over seeds where there are several. "
        f"Baselines look at no model: {', '.join(BASELINES)}. {ORACLE} needs the real counterpart, and bounds what "
        "can be had. Passes: forward / backward of the whole network / of the graph alone, for one image; ms is the "
        "median. Turned: share of the faces whose verdict turns when the whole face is restored, the most that "
        "flips@5 can be. Blur is a trace of forgery itself: deletion by it can add evidence.",
        "",
        *(f"- {_score.title}: {_score.meaning}." for _score in SCORES.values()),
    ]
)


def _notes(detectors: Sequence[dict[str, Any]]) -> list[str]:
    notes = [f"- {d['label']}: {note}" for d in detectors for note in d["notes"]]
    return ["\n".join(["Notes:", *dict.fromkeys(notes)])] if notes else []


def _named(method: str) -> str:
    return f"*{method}*" if method in BASELINES or method == ORACLE else method


def _head(name: str) -> str:
    arrow = {"high": " ↑", "low": " ↓", "": ""}[SCORES[name].better]
    return SCORES[name].title + arrow


def _cell(value: Interval | None) -> str:
    if value is None or math.isnan(value.value):
        return "–"
    return value.text(counted=not value.known, scale=1)


def _gap(gap: float) -> str:
    return "–" if math.isnan(gap) else f"{gap:.0e}"
