"""Likelihood ratios of a test: their cost, and coverage and errors of verdicts that may be inconclusive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.types import FAKE, REAL, VIDEO_KEY, Level, video_key
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool
from resgat_pl.evaluation.metrics.intervals import error_rate
from resgat_pl.evaluation.metrics.likelihood import (
    LikelihoodRatios,
    clip_weights,
    cllr,
    cllr_min,
    decisions,
    pav_ratios,
)
from resgat_pl.evaluation.metrics.scores import Predictions

BOUNDS: Final = (1.0, 2.0, 10.0, 100.0, 1000.0)
"""Ratios below which, and above whose inverse, a verdict is inconclusive."""


@dataclass(frozen=True)
class LevelRatios:
    """Ratios of the tested samples of one level that share nothing with the pool.

    Attributes:
        level: ``frame`` or ``video``.
        value: ``(N,)`` float64, log10 LR.
        score: ``(N,)`` float64 in [0, 1].
        label: ``(N,)`` int64, 1 = fake.
        clip: ``(N,)`` int64, see ``metrics.scores.clip_codes``.
        threshold: A score above it counts as fake.
    """

    level: Level
    value: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.int64]
    clip: NDArray[np.int64]
    threshold: float

    @property
    def weight(self) -> NDArray[np.float64]:
        """``(N,)``, see ``clip_weights``."""
        return clip_weights(self.label, self.clip)

    @property
    def reliable(self) -> NDArray[np.float64]:
        """``(N,)``, see ``pav_ratios``."""
        return pav_ratios(self.value, self.label, self.weight)

    def at(self, bound: float) -> dict[str, Any]:
        """Coverage and errors at a bound, for JSON."""
        said = decisions(self.score, self.value, self.threshold, bound)
        found: dict[str, Any] = {"bound": bound, "coverage": float((said >= 0).mean())}
        for name, label in (("real", REAL), ("fake", FAKE)):
            mine = self.label == label
            decided = mine & (said >= 0)
            wrong = int((decided & (said != label)).sum())
            rate = error_rate(wrong, int(decided.sum()), len(np.unique(self.clip[decided])))
            inconclusive = int((mine & (said < 0)).sum())
            found[name] = {"decided": int(decided.sum()), "inconclusive": inconclusive, "wrong": wrong}
            found[name]["error"] = rate.plain()
        return found

    def plain(self) -> dict[str, Any]:
        """For ``results.json``."""
        fakes = int((self.label == FAKE).sum())
        return {
            "level": self.level,
            "real": len(self.label) - fakes,
            "fake": fakes,
            "clips": len(np.unique(self.clip)),
            "cllr": cllr(self.value, self.label, self.weight),
            "cllr_min": cllr_min(self.score, self.label, self.weight),
            "bounds": [self.at(bound) for bound in BOUNDS],
        }


@dataclass(frozen=True)
class RatioTest:
    """Ratios of a test.

    Attributes:
        levels: Those that have both classes.
        pool: Whose ratios they are.
        left_out: Videos of the test that are in the pool, or share people or originals with it.
    """

    levels: list[LevelRatios]
    pool: LikelihoodPool
    left_out: int

    def plain(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "pool": {"statement": self.pool.statement, "ratios": self.pool.plain_ratios, **self.pool.about},
            "left_out": self.left_out,
            "levels": [level.plain() for level in self.levels],
        }

    def text(self) -> str:
        """A table of coverage and errors per video, and what was left out."""
        left = f"{self.left_out} videos are left out: they are in the pool, or share people or originals with it."
        if not self.levels:
            return f"No likelihood ratios: no videos of both classes are apart from the pool. {left}"
        head = ["level", "inconclusive between", "decided", "genuine called fake", "fakes called genuine", "Cllr, bits"]
        rows = [
            [level.level, f"1/{bound:g} and {bound:g}" if bound > 1 else "(sides differ)", f"{found['coverage']:.0%}"]
            + [f"{found[name]['wrong']} of {found[name]['decided']}" for name in ("real", "fake")]
            + [f"{cost:.3f}"]
            for level in self.levels
            for cost in [cllr(level.value, level.label, level.weight)]
            for bound in BOUNDS
            for found in [level.at(bound)]
        ]
        return f"{markdown_table(head, rows)}\n{left}"


def tested_keys(folder: Path) -> list[str]:
    """Keys of the videos in ``videos.csv``, in its order.

    Raises:
        ManifestError: It is missing, or lacks a column.
    """
    path = folder / "videos.csv"
    try:
        types = dict.fromkeys(VIDEO_KEY, pa.string())
        options = pa.csv.ConvertOptions(column_types=types, include_columns=list(VIDEO_KEY))
        columns = pa.csv.read_csv(path, convert_options=options).to_pydict()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ManifestError(f"{path} does not hold predictions of `resgat test` ({error}). Test again.") from None
    return [video_key(*names) for names in zip(*(columns[name] for name in VIDEO_KEY), strict=True)]


def ratios_of_test(
    pool: LikelihoodPool,
    manifest: Manifest,
    keys: list[str],
    found: Mapping[Level, Predictions],
    thresholds: Mapping[Level, float] | None,
) -> RatioTest:
    """Ratios of a test, without the videos that the pool knows.

    Args:
        pool: The checkpoint's.
        manifest: The tested manifest.
        keys: Of the videos in ``found["video"]``.
        found: Predictions by level.
        thresholds: By level, chosen on validation data; None is 0.5.
    """
    records = {video.key: video for video in manifest.videos()}
    known = np.array([pool.knows(records[key]) for key in keys], bool)
    codes = found["video"].video[~known]
    levels = [
        LevelRatios(
            level,
            ratios.log10_of(part.probability),
            part.probability,
            part.label,
            part.clip,
            (thresholds or {}).get(level, 0.5),
        )
        for level, ratios, part in _parts(pool, found, codes)
    ]
    return RatioTest(levels, pool, int(known.sum()))


def _parts(
    pool: LikelihoodPool, found: Mapping[Level, Predictions], codes: NDArray[np.int64]
) -> Iterator[tuple[Level, LikelihoodRatios, Predictions]]:
    for level, whole in found.items():
        ratios = pool.ratios[level]
        chosen = np.isin(whole.video, codes)
        part = whole.at(chosen)
        if ratios is not None and len(np.unique(part.label)) == 2:
            yield level, ratios, part
