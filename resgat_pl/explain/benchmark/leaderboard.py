"""Scores of explanation methods: means with intervals over genuine clips and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.output_tables import csv_table
from resgat_pl.evaluation.metrics.intervals import Interval, draw, interval, over_seeds
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.explain.benchmark.areas import EXTENTS
from resgat_pl.explain.benchmark.scores import (
    BASELINES,
    COMPARED,
    GAINED,
    GENUINE,
    PRIORS,
    PROPORTIONS,
    RIVALS,
    SCORES,
    by_gap,
)


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
        extent: ``(F,)`` str, see ``areas.extent``; None where nothing is known of it.
        genuine: See ``measure.MethodScores``; ``(G',)`` each.
        genuine_group: ``(G',)`` str, the clips of the genuine faces.
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
    extent: NDArray[np.object_] | None = None
    genuine: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    genuine_group: NDArray[np.object_] = field(default_factory=lambda: np.array([], object))

    def part(self, kind: str, extent: str) -> NDArray[np.bool_]:
        """The fakes of a manipulation method and an extent, ``all`` of which is any."""
        found = (self.kind == kind) | (kind == POOLED)
        if extent == POOLED:
            return np.asarray(found, bool)
        known = np.zeros(len(found), bool) if self.extent is None else self.extent == extent
        return np.asarray(found & known, bool)


class LeaderboardRow(NamedTuple):
    """One score of one method, over the fakes of one manipulation method.

    Attributes:
        label: Name of the detector.
        checkpoint: Its checkpoint; ``all`` for the mean over several.
        method: Explanation method.
        kind: Manipulation method, or ``all``.
        score: Name in ``scores.SCORES``.
        value: With its 95 % interval.
        faces: Faces measured, of all checkpoints together.
        extent: ``part`` or ``whole``-face forgeries, see ``areas.extent``, or ``all``.
    """

    label: str
    checkpoint: str
    method: str
    kind: str
    score: str
    value: Interval
    faces: int
    extent: str = POOLED


def summarise(entries: Sequence[FaceScores], resamples: int = 1000, seed: int = 0) -> list[LeaderboardRow]:
    """Means with 95 % bootstrap intervals.

    Genuine clips are resampled with all fakes made from them, since these share a face, and all methods and labels
    alike. Of several checkpoints with one label the mean is taken over the seeds, which are resampled as well; since
    resamples of k seeds vary by (k − 1) / k of what seeds do, their deviations are scaled up (Rao & Wu, JASA 1988).
    ``restoration`` is that of the mean logit: a face counts by how far its logit can fall, since a ratio with a
    denominator near 0 would outweigh all others; so is ``sufficiency``. Of silence the medians over genuine faces and
    over fakes are resampled together.

    Returns:
        Lines of all fakes; of each manipulation method, where there are several; and of each extent.
    """
    lines: list[LeaderboardRow] = []
    bootstrap = _Bootstrap(entries, resamples, seed)
    for label in dict.fromkeys(entry.label for entry in entries):
        mine = _with_gain([entry for entry in entries if entry.label == label])
        for method in dict.fromkeys(entry.method for entry in mine):
            seeds = [entry for entry in mine if entry.method == method]
            for (kind, extent), score in product(_groups(seeds), SCORES):
                parts = {POOLED: bootstrap.mean(seeds, kind, score, extent)}
                parts |= {entry.checkpoint: bootstrap.of(entry, kind, score, extent) for entry in seeds}
                lines += [
                    LeaderboardRow(label, checkpoint, method, kind, score, _interval(part, score), part.faces, extent)
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
        for score in COMPARED:
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
        self.clips = sorted({name for entry in entries for name in (*entry.group, *entry.genuine_group)})
        count = len(self.clips)
        drawn = np.concatenate([np.ones((1, count), np.int64), draw(count, resamples, seed)])
        self.weight = drawn.astype(np.float64)

    def of(self, entry: FaceScores, kind: str, score: str, extent: str = POOLED) -> _Mean:
        """The mean over the faces of one checkpoint; of ``scores.GENUINE`` what it says there."""
        chosen = entry.part(kind, extent)
        if score == "false_regions":
            everyone = (kind, extent) == (POOLED, POOLED)  # genuine faces belong to no kind of forgery
            values = entry.genuine.get(score, np.array([])) if everyone else np.array([])
            used = np.isfinite(values)
            place = self._place(entry.genuine_group[: len(used)][used])
            return self._mean(values[used], np.ones(len(place)), place)
        if score in GENUINE:
            return self._ratio(entry, chosen, "top" if score == "silence_top" else "total")
        values = entry.scores.get(score, np.full(len(entry.kind), np.nan))
        used = np.isfinite(values) & chosen
        share = entry.weight[used] if by_gap(score) else np.ones(int(used.sum()))
        return self._mean(values[used], share, self._place(entry.group[used]))

    def _place(self, group: NDArray[np.object_]) -> NDArray[np.int64]:
        return np.searchsorted(self.clips, group.astype(str)).astype(np.int64) if len(group) else np.zeros(0, np.int64)

    def _mean(self, values: NDArray[np.float64], share: NDArray[np.float64], place: NDArray[np.int64]) -> _Mean:
        above = self.weight @ np.bincount(place, share * values, len(self.clips))
        below = self.weight @ np.bincount(place, share, len(self.clips))
        drawn = self.weight @ np.bincount(place, minlength=len(self.clips))
        with np.errstate(invalid="ignore", divide="ignore"):
            return _Mean(np.where(drawn > 0, above / below, np.nan), len(values), len(np.unique(place)))

    def _ratio(self, entry: FaceScores, chosen: NDArray[np.bool_], name: str) -> _Mean:
        """Median on genuine faces, at least 0, divided by that on fakes; NaN where the latter name nothing."""
        fakes, reals = entry.scores.get(name, np.full(len(chosen), np.nan)), entry.genuine.get(name, np.array([]))
        used = np.isfinite(fakes) & chosen
        if not used.any() or not len(reals):
            return _Mean(np.full(len(self.weight), np.nan), 0, 0)
        own, other = self._place(entry.group[used]), self._place(entry.genuine_group)
        below = _medians(fakes[used], self.weight[:, own])
        above = np.maximum(_medians(reals, self.weight[:, other]), 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(below > 0, above / below, np.nan)
        return _Mean(values, int(used.sum()), min(len(np.unique(own)), len(np.unique(other))))

    def mean(self, seeds: Sequence[FaceScores], kind: str, score: str, extent: str = POOLED) -> _Mean | None:
        """The mean over several checkpoints, which are resampled too; None without any face."""
        found = [part for entry in seeds if (part := self.of(entry, kind, score, extent)).faces]
        if not found:
            return None
        values = over_seeds(np.stack([part.values for part in found]), self.seed)
        return _Mean(values, sum(p.faces for p in found), max(p.clips for p in found))


def _medians(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of ``values (n,)`` under each row of ``weight (R, n)``, whole numbers; NaN where all are 0."""
    order = np.argsort(values, kind="stable")
    values, passed = values[order], weight[:, order].cumsum(axis=1)
    half = passed[:, -1:] / 2
    # The middle one or, of an even number, the mean of both middle ones.
    low, high = (np.argmax(there, axis=1) for there in (passed >= half, passed > half))
    return np.where(half[:, 0] > 0, (values[low] + values[high]) / 2, np.nan)


def _groups(seeds: Sequence[FaceScores]) -> list[tuple[str, str]]:
    """Manipulation methods and extents that have lines: everything, each of several methods, each extent."""
    kinds = sorted({kind for entry in seeds for kind in entry.kind})
    extents = [name for name in EXTENTS if any(entry.part(POOLED, name).any() for entry in seeds)]
    return [
        (POOLED, POOLED),
        *((kind, POOLED) for kind in kinds if len(kinds) > 1),
        *((POOLED, extent) for extent in extents),
    ]


def _interval(mean: _Mean, score: str) -> Interval:
    """Wilson's interval for a score that is a share of faces, else the bootstrap's."""
    return interval(mean.values, mean.clips, mean.faces if score in PROPORTIONS else None)


def _with_gain(entries: list[FaceScores]) -> list[FaceScores]:
    """Add to each the difference to the priors and to the best baseline of the label, face by face."""
    means = {
        name: np.nanmean(np.concatenate(found))
        for name in BASELINES
        if (found := [e.scores["auroc_face"] for e in entries if e.method == name and "auroc_face" in e.scores])
        and np.isfinite(np.concatenate(found)).any()
    }
    compared = [(score, f"{score}_over_{end}", prior) for score, (end, prior) in product(GAINED, PRIORS.items())]
    compared += [("restoration", f"restoration_over_{end}", base) for end, base in RIVALS.items()]
    if means:
        compared.append(("auroc_face", "gain", max(means, key=lambda name: means[name])))
    scores = {(entry.checkpoint, entry.method): entry.scores for entry in entries}
    changed = []
    for entry in entries:
        added = {
            name: entry.scores[score] - base[score]
            for score, name, prior in compared
            if score in entry.scores and score in (base := scores.get((entry.checkpoint, prior), {}))
        }
        changed.append(replace(entry, scores={**entry.scores, **added}))
    return changed


def pooled(line: LeaderboardRow) -> bool:
    """True of a line of all fakes."""
    return (line.kind, line.extent) == (POOLED, POOLED)


def ranked(lines: Iterable[LeaderboardRow], label: str) -> list[str]:
    """The methods of a label, the best first by the first of ``SCORES`` that there is: AUROC in face, with masks."""
    mine = [line for line in lines if (line.label, line.checkpoint) == (label, POOLED) and pooled(line)]
    there = {line.score for line in mine if not math.isnan(line.value.value)}
    leading = next((score for score in SCORES if score in there), "")
    sign = -1 if leading and SCORES[leading].better == "low" else 1
    value = {line.method: sign * line.value.value for line in mine if line.score == leading}
    methods = list(dict.fromkeys(line.method for line in mine))
    return sorted(methods, key=lambda name: -value.get(name, -math.inf))


def as_csv(lines: Sequence[LeaderboardRow]) -> str:
    """One score a line."""
    place = ["label", "checkpoint", "method", "kind", "extent", "score"]
    rows = [[*(getattr(line, name) for name in place), *line.value.cells(), line.faces] for line in lines]
    return csv_table([*place, *Interval._fields, "faces"], rows)
