"""Strength of the evidence, and reasons for which a verdict is inconclusive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.error_rates import NOT_TESTED, ErrorRate, find_rates, rates_like
from resgat_pl.evaluation.familiarity import has_features, pooled_features
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool, likelihood_path, pool_of
from resgat_pl.evaluation.metrics.likelihood import decisions, ratio_text, verbal
from resgat_pl.explain.custody.record import hash_file
from resgat_pl.explain.report.limits import doubts, side_of
from resgat_pl.explain.report.media import FoundFaces
from resgat_pl.explain.report.media_search import Medium
from resgat_pl.explain.report.strength_records import Likelihood, Strength
from resgat_pl.explain.report.verdict import Judgement, level_of

BOUND: Final = 10.0
"""A likelihood ratio between its inverse and it is weak support at most, in the words of the verbal scale."""
FEWEST_FRAMES: Final = 3
"""A face in fewer frames of a video may be a glitch of the search, or of the file."""
_JOINED: Final = (
    "No likelihood ratio is given: the ratios are of the highest score of a file's faces, and --join noisy_or has "
    "joined several."
)


@dataclass(frozen=True)
class Weigher:
    """From a two-sided judgement to one that may be inconclusive.

    Attributes:
        detector: The detector, with the pool beside its checkpoint.
        bound: Ratio below which, and above whose inverse, a verdict is inconclusive; 0 never says inconclusive.
        margin: Side of a crop as a multiple of the face's.
        known: Of the detector's training faces, see ``limits.limits``.
    """

    detector: Detector
    bound: float
    margin: float
    known: Mapping[str, float]

    def check(self) -> None:
        """Make sure that the pool can be used, before files are judged.

        Raises:
            ConfigError: Its file is damaged, or does not fit the detector.
        """
        familiarity = None if self._pool[0] is None else self._pool[0].familiarity
        if familiarity is None:
            return
        net = self.detector.net
        side = net.image_size
        wide = pooled_features(net, torch.zeros(1, 3, side, side)).shape[1] if has_features(net) else 0
        if wide != len(familiarity.mean):
            raise ConfigError(
                f"{likelihood_path(self.detector.path)} has {len(familiarity.mean)} features, and the detector {wide}. "
                "Calibrate again: resgat calibrate CHECKPOINT --crops POOL."
            )

    def weigh(
        self, medium: Medium, found: FoundFaces, judgement: Judgement, features: Sequence[NDArray[np.float64]]
    ) -> Judgement:
        """A judgement with its strength and, where there is reason, the verdict ``inconclusive``.

        Args:
            medium: The file.
            found: Its faces.
            judgement: Fake or real, by the threshold.
            features: Of each face ``(n, F)``, see ``familiarity.pooled_features``; empty of a detector without any.
        """
        likelihood, statement = self._likelihood(medium, judgement)
        side = side_of(found.tracks[0], self.margin) if found.tracks else None
        rates, source = self._rates
        strength = Strength(
            likelihood, statement, rates_like(rates, side, len(found.tracks)), source, not_tested(self.detector, rates)
        )
        if judgement.decision.score is None:
            return replace(judgement, strength=strength)
        reasons = self._reasons(medium, found, judgement, likelihood, features) if self.bound else []
        leaning = judgement.leaning
        decision = replace(judgement.decision, leaning=leaning, reasons=reasons)
        verdict = "inconclusive" if reasons else judgement.verdict
        return replace(judgement, verdict=verdict, decision=decision, strength=strength)

    @property
    def has_distance(self) -> bool:
        """True if there is a pool with a distance of faces."""
        pool = self._pool[0]
        return pool is not None and pool.familiarity is not None

    @cached_property
    def pool_sha256(self) -> str | None:
        """Of the pool's file, by which a verdict may change; None without one."""
        found = hash_file(likelihood_path(self.detector.path))
        return None if found is None else found.sha256

    @cached_property
    def _pool(self) -> tuple[LikelihoodPool | None, str]:
        return pool_of(self.detector.path, self.detector.checkpoint.fingerprint)

    @cached_property
    def _rates(self) -> tuple[list[ErrorRate], str]:
        return find_rates(self.detector.path, self.detector.checkpoint.fingerprint)

    def _likelihood(self, medium: Medium, judgement: Judgement) -> tuple[Likelihood | None, str]:
        """The ratio of a file and sentences on it, or None and the reason."""
        pool, why = self._pool
        score, level = judgement.decision.score, level_of(medium.kind)
        if pool is None or score is None:
            return None, why
        if judgement.decision.join != "maximum" and len(judgement.faces) > 1:
            return None, _JOINED
        ratios = pool.ratios[level]
        if ratios is None:
            return None, f"No likelihood ratio is given: the pool gave none per {level}."
        value = ratios.log10(score)
        found = Likelihood(
            log10_lr=round(value, 4),
            ratio=ratio_text(value),
            words=verbal(value),
            low=ratios.low,
            high=ratios.high,
            bounded=ratios.is_bounded(score),
            cllr=round(ratios.cllr, 4),
            pool=pool.statement,
        )
        return found, _statement(found, medium.kind)

    def _reasons(
        self,
        medium: Medium,
        found: FoundFaces,
        judgement: Judgement,
        likelihood: Likelihood | None,
        features: Sequence[NDArray[np.float64]],
    ) -> list[str]:
        """Reasons not to decide: of the evidence, of the faces that a verdict rests on, and of the file."""
        reasons = [] if likelihood is None else self._weak(judgement, likelihood)
        if judgement.decision.borderline:
            reasons.append("Other frames of this file could have turned the verdict.")
        size = medium.path.stat().st_size if medium.path.is_file() else 0
        places = deciding(judgement)
        reasons += doubts(medium, found, self.margin, self.known, size, places)
        if medium.kind == "video":
            for place in places:
                frames = len(found.tracks[place])
                if frames < FEWEST_FRAMES:
                    shown = f"{frames} frame{'s' * (frames != 1)}"
                    reasons.append(f"{_name(found, place)} was found in {shown}, fewer than {FEWEST_FRAMES}.")
        pool = self._pool[0]
        if pool is not None and pool.familiarity is not None and features:
            known = pool.familiarity
            for place in places:
                distance = float(np.median(known.distance(features[place])))
                if distance > known.limit:
                    reasons.append(
                        f"{_name(found, place)} is unlike those of the pool that the detector was calibrated on: "
                        f"distance {distance:.3g}, limit {known.limit:.3g}, which {known.false_alarms:.1%} of the "
                        f"pool's own {known.clips} clips exceed."
                    )
        return reasons

    def _weak(self, judgement: Judgement, likelihood: Likelihood) -> list[str]:
        decision = judgement.decision
        score, value = np.array([decision.score]), np.array([likelihood.log10_lr])
        if decisions(score, value, decision.threshold, self.bound)[0] >= 0:
            return []
        if abs(likelihood.log10_lr) >= math.log10(self.bound):
            side = "fake" if likelihood.log10_lr > 0 else "genuine"
            return [
                f"The likelihood ratio, {likelihood.ratio}, speaks for {side}, and the threshold of validation for "
                "the other side."
            ]
        most = likelihood.high if likelihood.log10_lr > 0 else -likelihood.low
        few = f"; the pool supports none beyond {ratio_text(most)}" if likelihood.bounded else ""
        return [
            f"The evidence is weak: the likelihood ratio is {likelihood.ratio}, between 1/{self.bound:g} and "
            f"{self.bound:g}{few}."
        ]


def deciding(judgement: Judgement) -> list[int]:
    """Places of the faces that a verdict rests on: for fake those with a share in it, for real all of them."""
    faces = range(len(judgement.faces))
    return [place for place in faces if judgement.leaning == "real" or judgement.faces[place].share > 0]


def not_tested(detector: Detector, rates: Sequence[ErrorRate]) -> list[str]:
    """Manipulations that no test covered, in words."""
    kinds = sorted({rate.value for rate in rates if rate.stratum == "kind"})
    others = f"methods other than {', '.join(kinds)}" if kinds else "any method: no test of this checkpoint was found"
    return [others, *NOT_TESTED]


def _statement(found: Likelihood, kind: str) -> str:
    times = ratio_text(abs(found.log10_lr))
    first, other = ("fake", "genuine") if found.log10_lr >= 0 else ("genuine", "fake")
    bound = " This is the most that the pool supports." if found.bounded else ""
    return (
        f"Likelihood ratio {found.ratio}: such a score is {times} times as probable of a {first} {kind} as of a "
        f"{other} one like those of the pool. On the verbal scale of ENFSI's guideline (2015) that is {found.words}."
        f"{bound} Pool: {found.pool}; Cllr {found.cllr:.2f} bits (0 perfect, 1 no information). It is no probability "
        "of fake: that depends on the odds before the examination, which are the reader's."
    )


def _name(found: FoundFaces, place: int) -> str:
    return f"Face {place + 1}" if len(found.tracks) > 1 else "The face"
