"""Temperature scaling: one number that makes probabilities mean what they say.

σ(z / T) instead of σ(z), with T fitted on validation data (Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, section 4.2; one logit here instead of their softmax). T > 1 where the detector was too sure of itself. The
order of the frames, and so AUROC, stays.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

HOTTEST: Final = 100.0
"""Temperatures beyond 1/100 and 100 are not believed: the data then say nothing about T, or the logits are no use."""


def fit_temperature(
    logit: NDArray[np.floating], label: NDArray[np.integer], video: NDArray[np.integer]
) -> float | None:
    """The temperature with the least log-loss on validation frames.

    Every video weighs the same, however many frames of it there are, since frames of one video are hardly
    independent. The targets are Platt's ("Probabilistic Outputs for Support Vector Machines", 1999, section 2.2):
    (V₊ + 1)/(V₊ + 2) instead of 1 and 1/(V₋ + 2) instead of 0, with V the videos of the class. So there is a finite
    optimum even where a small validation set is classified without a mistake, and for large sets nothing changes.

    With β = 1/T the loss is convex, and its derivative Σ w (σ(βz) − y) z rises: its one root is the answer.

    Args:
        logit: ``(N,)`` float, of frames.
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
