"""From the logits of a file's faces to one verdict, as in the project's metrics per video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.text import joined
from resgat_pl.core.types import Level, Validation
from resgat_pl.evaluation.metrics.calibration import calibrated, calibrated_score
from resgat_pl.evaluation.metrics.intervals import FEWEST
from resgat_pl.explain.report.document import Verdict
from resgat_pl.explain.report.strength_records import Strength
from resgat_pl.explain.report.verdict_records import Calibration, Decision
from resgat_pl.explain.sentences import apart
from resgat_pl.nn.video.faces import Join, join_faces

_RESAMPLES: Final = 1000
_LEAST: Final = 1e-12  # of a score, whose logit shall be finite
BORDERLINE: Final = (
    "Borderline: when the frames are drawn again, the score falls on both sides of the threshold, so other frames "
    "could have turned the verdict."
)
Range = tuple[float, float]
Kind = Literal["image", "video"]


@dataclass(frozen=True)
class FaceScore:
    """One face.

    Attributes:
        score: Mean of σ(logit) over its frames.
        probability: The same, calibrated at the level of the file; σ(log-odds(score) / T).
        interval: 95 % interval of ``probability``, None for fewer than ``FEWEST`` frames.
        verdict: ``fake`` if ``score`` is above the file's threshold.
        share: Of the file's evidence, in [0, 1], see ``nn.video.faces``; they add up to 1.
    """

    score: float
    probability: float
    interval: Range | None
    verdict: Literal["fake", "real"]
    share: float = 1.0


@dataclass(frozen=True)
class Judgement:
    """A file; ``verdict``, ``probability``, ``interval`` and ``decision`` are those of ``report.document.Document``.

    Attributes:
        faces: In the order given.
        notes: Sentences on what limits the verdict.
        strength: See ``strength.Weigher``, which adds it.
    """

    verdict: Verdict
    probability: float | None
    interval: Range | None
    decision: Decision
    faces: list[FaceScore]
    notes: tuple[str, ...] = ()
    strength: Strength | None = None

    @property
    def leaning(self) -> Literal["fake", "real"] | None:
        """Side of the threshold; None without a face."""
        score = self.decision.score
        return None if score is None else "fake" if score > self.decision.threshold else "real"


def level_of(kind: Kind) -> Level:
    """The level whose threshold and temperature a file has: an image that of frames, a video that of videos."""
    return "frame" if kind == "image" else "video"


def judge(
    logits: Sequence[NDArray[np.floating]],
    temperature: float | None,
    thresholds: Mapping[Level, float] | None,
    kind: Kind,
    seed: int = 0,
    video_temperature: float | None = None,
    validation: Validation | None = None,
    join: Join = "maximum",
) -> Judgement:
    """Judge a file by its faces: the mean over a face's frames, then the maximum over the faces, or noisy-or.

    The probability rises with the score, so that it lies above ``Decision.limit`` exactly where the score lies above
    the threshold.

    The intervals are percentile bootstrap intervals (Efron & Tibshirani 1993, ch. 13) over the sampled frames. They
    say how much the choice of frames matters, not how often the detector errs.

    Args:
        logits: Of the frames of each face, ``(n,)`` float each.
        temperature: Of the calibration of single faces, which is that of an image; None without one.
        thresholds: The checkpoint's, by level; None where it chose none.
        kind: What the file is.
        seed: Of the bootstrap.
        video_temperature: Of the calibration of videos' scores; None without one, and the probability is the score.
        validation: The videos that all were chosen on; None where the checkpoint does not say.
        join: Way from faces to file, see ``nn.video.faces.join_faces``; of several faces thresholds and temperatures
            are those of the maximum, whatever it is.
    """
    level = level_of(kind)
    temperature = temperature if level == "frame" else video_temperature
    threshold = 0.5 if thresholds is None else float(thresholds[level])
    decision = Decision(
        score=None,
        threshold=threshold,
        source=_source(level, thresholds, validation),
        borderline=False,
        limit=calibrated_score(threshold, temperature),
        chosen=thresholds is not None,
        join=join,
    )
    # Score every face, with the spread over resampled frames.
    scored = [calibrated(face, None) for face in logits]
    if not scored:
        return Judgement("no face", None, None, decision, [])
    weights = [_draw(len(face), seed + number) for number, face in enumerate(logits)]
    faces = []
    for values, weight in zip(scored, weights, strict=True):
        score = float(values.mean())
        spread = _spread([values], [weight]) if len(values) >= FEWEST else None
        verdict: Literal["fake", "real"] = "fake" if score > threshold else "real"
        faces.append(FaceScore(score, calibrated_score(score, temperature), _at(spread, temperature), verdict))
    # The highest face decides, or all do; the spread counts those of the others, which may come out higher.
    score, shares = joined_scores([face.score for face in faces], join)
    faces = [replace(face, share=share) for face, share in zip(faces, shares, strict=True)]
    spread = _spread(scored, weights, join)
    known = all(len(values) >= FEWEST for values, share in zip(scored, shares, strict=True) if share)
    borderline = spread is not None and spread[0] <= threshold <= spread[1]
    return Judgement(
        verdict="fake" if score > threshold else "real",
        probability=calibrated_score(score, temperature),
        interval=_at(spread if known else None, temperature),
        decision=replace(decision, score=score, borderline=borderline),
        faces=faces,
        notes=(
            *([BORDERLINE] if borderline else []),
            *_more_faces(len(faces), level, validation, join),
            *(_shares_of(shares) if join == "noisy_or" else []),
        ),
    )


def joined_scores(scores: Sequence[float], join: Join) -> tuple[float, list[float]]:
    """The score in [0, 1] of a file of several faces, and the share of each.

    By noisy-or 1 − Π (1 − s_k); −ln of what is left of 1 is a sum over the faces, whose parts are the shares.

    Example:
        >>> score, shares = joined_scores([0.5, 0.5], "noisy_or")
        >>> round(score, 6), shares, joined_scores([0.2, 0.7], "maximum")
        (0.75, [0.5, 0.5], (0.7, [0.0, 1.0]))
    """
    if join == "maximum" or len(scores) == 1:
        best = max(range(len(scores)), key=lambda place: scores[place])
        return scores[best], [float(place == best) for place in range(len(scores))]
    values = torch.tensor(scores, dtype=torch.float64).clamp(_LEAST, 1 - _LEAST)
    found = join_faces(values.logit(), join)
    return float(found.logit.sigmoid()), found.share.tolist()


def _shares_of(shares: Sequence[float]) -> list[str]:
    """Sentence on the shares of several faces."""
    if len(shares) < 2:
        return []
    parts = joined([f"face {number} {share:.2f}" for number, share in enumerate(shares, 1)])
    return [f"Joined by noisy-or, the faces' shares in the file's evidence, −ln(1 − score), are: {parts}."]


def calibration_of(
    temperature: float | None,
    level: Level = "video",
    validation: Validation | None = None,
    frames: float | None = None,
) -> Calibration:
    """The calibration, with a sentence on it.

    Args:
        temperature: Of the level of the file.
        level: See ``level_of``.
        validation: See ``judge``.
        frames: The temperature of single frames.
    """
    if temperature is not None:
        on = "the checkpoint's validation data" + (f" ({validation.text})" if validation else "")
        both = validation.real + validation.fake if validation else 0
        share = f" ({validation.fake / both:.0%} of the videos)" if validation and both else ""
        what = "single faces" if level == "frame" else "videos"
        text = (
            f"Calibrated at the level of {what}: the log-odds of the score are divided by the temperature "
            f"{temperature:.3g}, fitted on {on} (Guo et al. 2017). It holds for media like those, and for their share "
            f"of fakes{share}: that is the prior in it, and with another one it is another probability."
        )
        return Calibration(temperature, text, frames)
    if frames is not None:
        text = (
            "Uncalibrated at the level of files: the checkpoint's temperature was fitted on single frames, and does "
            "not calibrate a mean over frames. The number is the score: of files scored 0.9, any share may be fake."
        )
    else:
        text = (
            f"Uncalibrated: the checkpoint carries no temperature, since {_lacking(validation)}. Read the probability "
            "as a score: of files scored 0.9, any share may be fake."
        )
    return Calibration(None, text, frames)


def compared(
    probability: float,
    limit: float,
    verdict: str,
    interval: Range | None,
    chosen: bool,
    calibrated: bool,
    leaning: str | None = None,
) -> str:
    """``fake, probability of fake 0.58 [0.51, 0.66], above the threshold 0.55``: parts that cannot contradict.

    Args:
        probability: Of the file.
        limit: Threshold on the same scale.
        verdict: ``fake``, ``real`` or ``inconclusive``.
        interval: Of the probability, if there is one.
        chosen: Whether validation chose the threshold.
        calibrated: Whether the probability is.
        leaning: ``fake`` or ``real``, where the verdict is ``inconclusive``.
    """
    leaning = leaning or verdict
    said = verdict if verdict == leaning else f"{verdict}, leaning {leaning}"
    shown, at = apart(probability, limit)
    between = "" if interval is None else " [{:.2f}, {:.2f}]".format(*interval)
    side = "above" if leaning == "fake" else "below" if probability < limit else "not above"
    whose = "" if chosen else ", a default"
    known = "" if calibrated else "; uncalibrated"
    return f"{said}, probability of fake {shown}{between}, {side} the threshold {at}{whose}{known}"


def faces_judged(judged: int, seen: int) -> str:
    """``3 faces judged`` or, where there were more, ``3 of 5 faces judged``."""
    return f"{judged} of {seen} faces judged" if judged < seen else f"{judged} face{'s' * (judged != 1)} judged"


def _source(level: Level, thresholds: Mapping[Level, float] | None, validation: Validation | None) -> str:
    if thresholds is None:
        return f"0.5 by default: none was chosen, since {_lacking(validation)}"
    on = f": {validation.text}" if validation else "; on how many videos, it does not say"
    return f"the highest balanced accuracy per {level} on the checkpoint's validation data{on}"


def _lacking(validation: Validation | None) -> str:
    if validation is None:
        return "there was no validation with both classes"
    missing = [name for name, count in (("genuine", validation.real), ("fake", validation.fake)) if not count]
    return f"validation had no {' and no '.join(missing)} videos" if missing else "validation allowed none"


def _more_faces(faces: int, level: Level, validation: Validation | None, join: Join) -> list[str]:
    """Of several faces the highest score counts, and the highest of more is higher."""
    if level == "frame":
        most, on = 1, "single faces"
    elif validation is not None:
        most, on = validation.most_faces, f"videos of {validation.faces}"
    else:
        most, on = 1, "videos of a number of faces that the checkpoint does not say"
    if faces <= most:
        return []
    if join == "noisy_or":
        return [
            f"{faces} faces were judged, and all count; threshold and calibration come from {on}, and from the highest "
            "score. The more faces, the higher is the file's score: a genuine file is more often called fake."
        ]
    return [
        f"{faces} faces were judged, and the highest score counts; threshold and calibration come from {on}. The more "
        "faces, the higher is the highest score by chance alone: a genuine file is more often called fake."
    ]


def _draw(frames: int, seed: int) -> NDArray[np.float64]:
    """Weights of the frames in each resample, ``(R, frames)``; every row sums to 1."""
    drawn = np.random.default_rng(seed).multinomial(frames, np.full(frames, 1 / frames), _RESAMPLES)
    weights: NDArray[np.float64] = drawn / frames
    return weights


def _spread(
    values: Sequence[NDArray[np.float64]], weights: Sequence[NDArray[np.float64]], join: Join = "maximum"
) -> Range | None:
    """Of the maximum, or noisy-or, over the faces of the mean over frames, the faces being resampled independently."""
    if all(len(face) == 1 for face in values):
        return None  # one frame says nothing about others
    means = np.array([weight @ face for face, weight in zip(values, weights, strict=True)])
    drawn = means.max(axis=0) if join == "maximum" or len(means) == 1 else 1 - np.prod(1 - means, axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _at(spread: Range | None, temperature: float | None) -> Range | None:
    return (
        None if spread is None else (calibrated_score(spread[0], temperature), calibrated_score(spread[1], temperature))
    )
