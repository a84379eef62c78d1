"""From the logits of a file's faces to one verdict, as in the project's metrics per video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from resgat_pl.metrics.calibration import calibrated
from resgat_pl.report.document import Calibration, Decision, Verdict
from resgat_pl.types import Level

_RESAMPLES: Final = 1000
Range = tuple[float, float]


@dataclass(frozen=True)
class FaceScore:
    """One face.

    Attributes:
        score: Mean of σ(logit) over its frames.
        probability: Mean of σ(logit / T).
        interval: 95 % interval of ``probability``, None for a single frame.
    """

    score: float
    probability: float
    interval: Range | None


@dataclass(frozen=True)
class Judgement:
    """A file; the attributes but the last are those of ``report.document.Document``.

    Attributes:
        verdict: See there.
        probability: See there.
        interval: See there.
        decision: See there.
        faces: In the order given.
    """

    verdict: Verdict
    probability: float | None
    interval: Range | None
    decision: Decision
    faces: list[FaceScore]


def judge(
    logits: Sequence[NDArray[np.floating]],
    temperature: float | None,
    thresholds: Mapping[Level, float] | None,
    kind: Literal["image", "video"],
    seed: int = 0,
) -> Judgement:
    """Judge a file by its faces: the mean over a face's frames, then the maximum over the faces.

    The intervals are percentile bootstrap intervals (Efron & Tibshirani 1993, ch. 13) over the sampled frames. They
    say how much the choice of frames matters, not how often the detector errs.

    Args:
        logits: Of the frames of each face, ``(n,)`` float each.
        temperature: Of the calibration, or None.
        thresholds: The checkpoint's, by level; an image is a matter of frames, a video of videos.
        kind: What the file is.
        seed: Of the bootstrap.
    """
    level: Level = "frame" if kind == "image" else "video"
    threshold, source = 0.5, "the checkpoint has none of its own, so 0.5"
    if thresholds is not None:
        threshold = float(thresholds[level])
        source = f"the highest balanced accuracy per {level} on the checkpoint's validation data"
    scored = [calibrated(face, None) for face in logits]
    chances = [calibrated(face, temperature) for face in logits]
    weights = [_draw(len(face), seed + number) for number, face in enumerate(logits)]
    faces = [
        FaceScore(float(raw.mean()), float(chance.mean()), _interval([chance], [weight]))
        for raw, chance, weight in zip(scored, chances, weights, strict=True)
    ]
    if not faces:
        return Judgement("no face", None, None, Decision(None, threshold, source, False), [])
    score = max(face.score for face in faces)
    spread = _interval(scored, weights)
    return Judgement(
        verdict="fake" if score > threshold else "real",
        probability=max(face.probability for face in faces),
        interval=_interval(chances, weights),
        decision=Decision(
            score, threshold, source, borderline=spread is not None and spread[0] <= threshold <= spread[1]
        ),
        faces=faces,
    )


def calibration_of(temperature: float | None) -> Calibration:
    """What to say about the probabilities."""
    if temperature is None:
        return Calibration(
            None,
            "Uncalibrated: the checkpoint carries no temperature, since validation gave none. Read the probability as "
            "a score: of files scored 0.9, any share may be fake.",
        )
    return Calibration(
        temperature,
        f"Calibrated: logits are divided by the temperature {temperature:.3g}, fitted on the checkpoint's validation "
        "data (Guo et al. 2017). It holds for media like those, and for their share of fakes.",
    )


def _draw(frames: int, seed: int) -> NDArray[np.float64]:
    """Weights of the frames in each resample, ``(R, frames)``; every row sums to 1."""
    drawn = np.random.default_rng(seed).multinomial(frames, np.full(frames, 1 / frames), _RESAMPLES)
    weights: NDArray[np.float64] = drawn / frames
    return weights


def _interval(values: Sequence[NDArray[np.float64]], weights: Sequence[NDArray[np.float64]]) -> Range | None:
    """Of the maximum over the faces of the mean over frames, the faces being resampled independently."""
    if all(len(face) == 1 for face in values):
        return None  # one frame says nothing about others
    drawn = np.max([weight @ face for face, weight in zip(values, weights, strict=True)], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
