"""Temperature scaling: one number, fitted on validation data, that calibrates probabilities.

σ(z / T) instead of σ(z) (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2; one logit here
instead of their softmax). T > 1 where the detector was overconfident. The order of the frames, and so AUROC, stays.

Each reported level is calibrated by itself. A mean of calibrated frame probabilities is not a calibrated probability of
the file: it is underconfident, and a maximum over faces overconfident. So the score of a *file* (mean over the frames
of a face, maximum over its faces) has a separate temperature, fitted on the log-odds of the validation videos' scores.
Since σ(log-odds(s) / T) rises with s, the probability is above the threshold's exactly where the score is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit as _logit

HOTTEST: Final = 100.0
"""Temperatures beyond 1/100 and 100 are rejected: the data do not determine T, or the logits are of no use."""


def log_odds(score: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """ln(s / (1 - s)) of scores in [0, 1]; finite at the ends, since float64 holds no number from 1 - 1e-16 to 1."""
    tiny = np.finfo(np.float64)
    odds: NDArray[np.float64] = _logit(np.clip(np.asarray(score, np.float64), tiny.tiny, 1 - tiny.epsneg))
    return odds


def calibrated_score(score: float, temperature: float | None) -> float:
    """σ(log-odds(score) / T); without a temperature the score itself."""
    return score if temperature is None else float(calibrated(log_odds(score), temperature))


def fit_temperature(
    logit: NDArray[np.floating], label: NDArray[np.integer], video: NDArray[np.integer]
) -> float | None:
    """The temperature with the least log-loss on validation data.

    Every video weighs the same, however many frames of it there are, since frames of one video are hardly
    independent. The targets are Platt's ("Probabilistic Outputs for Support Vector Machines", 1999, section 2.2):
    (V₊ + 1)/(V₊ + 2) instead of 1 and 1/(V₋ + 2) instead of 0, with V the videos of the class. So there is a finite
    optimum even where a small validation set is classified without a mistake, and for large sets nothing changes.

    With β = 1/T the loss is convex, and its derivative Σ w (σ(βz) − y) z rises: its one root is the answer.

    Args:
        logit: ``(N,)`` float, of frames, or log-odds of the scores of videos.
        label: ``(N,)`` int, 1 = fake.
        video: ``(N,)`` int, codes.

    Returns:
        T, or None where there is none: a class is missing, or the detector is no better than guessing (the root is
        then at β ≤ 0), or T lies beyond ``HOTTEST``.
    """
    z = np.asarray(logit, np.float64)
    fake = np.asarray(label) == 1
    if not (fake.any() and (~fake).any()):
        return None
    code = np.unique(np.asarray(video), return_inverse=True)[1]
    weight = 1.0 / np.bincount(code)[code]
    # Counts of videos; for a class they are the sum of the weights of its frames.
    target = np.where(fake, 1 - 1 / (weight[fake].sum() + 2), 1 / (weight[~fake].sum() + 2))

    def slope(beta: float) -> float:
        return float(np.sum(weight * (expit(beta * z) - target) * z))

    low, high = 1 / HOTTEST, HOTTEST
    if not (slope(low) < 0 < slope(high)):  # NaN ends here too
        return None
    return 1 / float(brentq(slope, low, high, xtol=1e-12))


def calibrated(logit: NDArray[np.floating], temperature: float | None) -> NDArray[np.float64]:
    """Probabilities σ(logit / T), float64; without a temperature σ(logit)."""
    result: NDArray[np.float64] = expit(np.asarray(logit, np.float64) / (1.0 if temperature is None else temperature))
    return result
