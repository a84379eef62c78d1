"""Scores of explanation methods: means with intervals over genuine clips and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.output_tables import csv_table
from resgat_pl.evaluation.metrics.intervals import Interval, draw, interval
from resgat_pl.evaluation.metrics.scores import POOLED

BASELINES: Final = ("Random", "Uniform", "CentrePrior", "MeanMask")
"""Methods without a network, which every other has to beat."""
ORACLE: Final = "Restoration"
"""The effect of restoring each node alone, as a map: needs the real counterpart, which nobody has of a fake. Nodes act
together, so the nodes with the largest effects are not the best set of nodes."""


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
    "gain": Score("− best baseline", "high", "AUROC in face minus that of the baseline that is best on these faces"),
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
    "random_head": Score(
        "head random", "low", "|ρ| with the map after the head's weights were shuffled; see the floor"
    ),
    "random_gat": Score("+ GAT random", "low", "the same with the graph attention shuffled too"),
    "random_backbone": Score("all random", "low", "the same with the encoder shuffled too"),
    "target_flip": Score("target flip", "", "ρ with the map for real: −1 for a signed method, 1 for an unsigned one"),
    "uniform_attention": Score(
        "uniform attention", "", "ρ with the map under uniform attention: 1 owes nothing to attention"
    ),
}
"""In the order of the tables."""
MAIN: Final = ("auroc_face", "gain", "auroc", "pointing", "mass", "aupro", "flips", "restoration", "effects")
MORE: Final = tuple(name for name in SCORES if name not in MAIN)
_COMPARED: Final = ("auroc_face", "auroc", "pointing", "flips", "restoration", "deletion_blur", "insertion_blur")


@dataclass(frozen=True)
class FaceScores:
    """One method on one checkpoint.

    Attributes:
        label: Name of the detector; its checkpoints with different seeds share it.
        checkpoint: The checkpoint.
        method: Name of the method.
        group: ``(F,)`` str, the genuine video behind each face: what is resampled.
        kind: ``(F,)`` str, manipulation methods.
        weight: ``(F,)`` float64, logit of the fake minus that of its counterpart, in which ``restoration`` is measured.
        scores: By name ``(F,)`` float64, NaN where not measured.
        cost: See ``measure.MethodScores``.
        traits: See ``measure.MethodScores``.
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


class LeaderboardRow(NamedTuple):
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


def summarise(entries: Sequence[FaceScores], resamples: int = 1000, seed: int = 0) -> list[LeaderboardRow]:
    """Means with 95 % bootstrap intervals.

    Genuine clips are resampled with all fakes made from them, since these share a face, and all methods and labels
    alike. Of several checkpoints with one label the mean is taken over the seeds, which are resampled as well; since
    resamples of k seeds vary by (k − 1) / k of what seeds do, their deviations are scaled up (Rao & Wu, JASA 1988).
    ``restoration`` is that of the mean logit: a face counts by how far its logit can fall, since a ratio with a
    denominator near 0 would outweigh all others.
    """
    lines: list[LeaderboardRow] = []
    bootstrap = _Bootstrap(entries, resamples, seed)
    for label in dict.fromkeys(entry.label for entry in entries):
        mine = _with_gain([entry for entry in entries if entry.label == label])
        for method in dict.fromkeys(entry.method for entry in mine):
            seeds = [entry for entry in mine if entry.method == method]
            kinds = sorted({kind for entry in seeds for kind in entry.kind})
            for kind in [POOLED, *kinds] if len(kinds) > 1 else [POOLED]:
                for score in SCORES:
                    parts = {POOLED: bootstrap.mean(seeds, kind, score)}
                    parts |= {entry.checkpoint: bootstrap.of(entry, kind, score) for entry in seeds}
                    lines += [
                        LeaderboardRow(label, checkpoint, method, kind, score, _interval(part, score), part.faces)
                        for checkpoint, part in parts.items()
                        if part is not None and part.faces
                    ]
    return lines


def differences(entries: Sequence[FaceScores], resamples: int = 1000, seed: int = 0) -> list[LeaderboardRow]:
    """Each label's mean minus the first label's, of every method that both have, where all labels have the same faces.

    Returns:
        Lines with the checkpoint ``− LABEL``, named after the first label; none where faces differ.
    """
    labels = list(dict.fromkeys(entry.label for entry in entries))
    if len(labels) < 2 or len({(*entry.group, *entry.kind) for entry in entries}) > 1:
        return []
    bootstrap = _Bootstrap(entries, resamples, seed)
    found = []
    for method in dict.fromkeys(entry.method for entry in entries):
        for score in _COMPARED:
            seeds = ([e for e in entries if (e.label, e.method) == (label, method)] for label in labels)
            first, *others = (bootstrap.mean(mine, POOLED, score) for mine in seeds)
            for label, part in zip(labels[1:], others, strict=True):
                if first is not None and part is not None:
                    value = interval(part.values - first.values, min(first.clips, part.clips))
                    faces = min(first.faces, part.faces)
                    found.append(LeaderboardRow(label, f"− {labels[0]}", method, POOLED, score, value, faces))
    return found


def rank_floor(nodes: int) -> float:
    """Mean |ρ| of unrelated maps of so many nodes: ρ is nearly normal with the variance 1 / (N − 1) (Kendall 1948)."""
    return math.sqrt(2 / (math.pi * (nodes - 1)))


class _Mean(NamedTuple):
    """A score's mean over faces and seeds, ``(1 + R,)``, and the faces and clips in it."""

    values: NDArray[np.float64]
    faces: int
    clips: int


class _Bootstrap:
    """Resamples of the genuine clips behind all entries, the same for all; the first is the sample itself."""

    def __init__(self, entries: Sequence[FaceScores], resamples: int, seed: int) -> None:
        self.seed = seed
        self.clips = sorted({name for entry in entries for name in entry.group})
        count = len(self.clips)
        self.weight = np.concatenate([np.ones((1, count), np.int64), draw(count, resamples, seed)])

    def of(self, entry: FaceScores, kind: str, score: str) -> _Mean:
        """The mean over the faces of one checkpoint."""
        values = entry.scores.get(score, np.full(len(entry.kind), np.nan))
        used = np.isfinite(values) & ((entry.kind == kind) | (kind == POOLED))
        group = np.searchsorted(self.clips, entry.group[used].astype(str))
        share = entry.weight[used] if score == "restoration" else np.ones(int(used.sum()))
        above = self.weight @ np.bincount(group, share * values[used], len(self.clips))
        below = self.weight @ np.bincount(group, share, len(self.clips))
        drawn = self.weight @ np.bincount(group, minlength=len(self.clips))
        with np.errstate(invalid="ignore", divide="ignore"):
            return _Mean(np.where(drawn > 0, above / below, np.nan), int(used.sum()), len(np.unique(group)))

    def mean(self, seeds: Sequence[FaceScores], kind: str, score: str) -> _Mean | None:
        """The mean over several checkpoints, which are resampled too; None without any face."""
        found = [part for entry in seeds if (part := self.of(entry, kind, score)).faces]
        if not found:
            return None
        table = np.stack([part.values for part in found])
        count = len(table)
        drawn = np.random.default_rng(self.seed).integers(count, size=(len(self.weight), count))
        drawn[0] = np.arange(count)
        centre = table.mean(axis=0)
        mean = np.take_along_axis(table, drawn.T, axis=0).mean(axis=0)
        wider = math.sqrt(count / (count - 1)) if count > 1 else 1.0
        return _Mean(centre + wider * (mean - centre), sum(p.faces for p in found), max(p.clips for p in found))


def _interval(mean: _Mean, score: str) -> Interval:
    """Wilson's interval for a score that is a share of faces, else the bootstrap's."""
    outcomes = mean.faces if score in {"pointing", "flips", "control"} else None
    return interval(mean.values, mean.clips, outcomes)


def _with_gain(entries: list[FaceScores]) -> list[FaceScores]:
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


def ranked(lines: Iterable[LeaderboardRow], label: str) -> list[str]:
    """The methods of a label, the best first by the first of ``SCORES`` that there is: AUROC in face, with masks."""
    mine = [line for line in lines if (line.label, line.checkpoint, line.kind) == (label, POOLED, POOLED)]
    there = {line.score for line in mine if not math.isnan(line.value.value)}
    leading = next((score for score in SCORES if score in there), "")
    sign = -1 if leading and SCORES[leading].better == "low" else 1
    value = {line.method: sign * line.value.value for line in mine if line.score == leading}
    methods = list(dict.fromkeys(line.method for line in mine))
    return sorted(methods, key=lambda name: -value.get(name, -math.inf))


def as_csv(lines: Sequence[LeaderboardRow]) -> str:
    """One score a line."""
    place = [name for name in LeaderboardRow._fields if name not in {"value", "faces"}]
    rows = [[*(getattr(line, name) for name in place), *line.value.cells(), line.faces] for line in lines]
    return csv_table([*place, *Interval._fields, "faces"], rows)
