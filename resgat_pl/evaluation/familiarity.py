"""Distance of faces from those of a pool, by which a file is called unlike what the detector was calibrated on.

The features of a face are the mean over the encoder's nodes. Their distance is Mahalanobis's (Lee et al., "A Simple
Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018) under the Gaussian of probabilistic PCA
(Tipping & Bishop, JRSS B 61, 1999): a pool of some dozen clips determines a few directions, and not a covariance of
thousands of features. The classes share one Gaussian, since a fake is not unfamiliar for being a fake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.video.net import VideoResGAT

Floats = NDArray[np.float64]
FALSE_ALARMS: Final = 0.05
"""Share of the pool's own clips that may lie beyond the limit."""
_MOST_AXES: Final = 16
_CLIPS_AN_AXIS: Final = 4
_FOLDS: Final = 5
_LEAST_CLIPS: Final = 20
"""Fewer clips do not determine where 5 % of them lie."""
_DIGITS: Final = 7


@dataclass(frozen=True)
class Familiarity:
    """Gaussian of pooled features, with the limit of the distance.

    Attributes:
        mean: ``(F,)`` float64.
        axes: ``(k, F)`` float64, orthonormal.
        variance: ``(k,)`` float64, along the axes.
        rest: Variance along each other direction.
        limit: A face whose median distance over its frames is above it is unlike the pool.
        false_alarms: Share of the pool's clips above ``limit``, each under the Gaussian of other clips.
        clips: Clips in the pool.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = fit_familiarity(rng.normal(size=(200, 8)), np.arange(200))
        >>> bool(found.distance(np.full((1, 8), 9.0))[0] > found.limit), found.false_alarms <= 0.05
        (True, True)
    """

    mean: Floats
    axes: Floats
    variance: Floats
    rest: float
    limit: float
    false_alarms: float
    clips: int

    def distance(self, features: NDArray[np.floating]) -> Floats:
        """Distances ``(n,)`` ≥ 0 of features ``(n, F)``; of those of the pool the mean square is F."""
        off = np.asarray(features, np.float64) - self.mean
        along = off @ self.axes.T
        beside = np.maximum((off**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray(np.sqrt((along**2 / self.variance).sum(axis=1) + beside / self.rest), np.float64)

    def plain(self) -> dict[str, Any]:
        """For JSON, to seven digits."""
        arrays = {name: _rounded(getattr(self, name)).tolist() for name in ("mean", "axes", "variance")}
        numbers = {name: getattr(self, name) for name in ("rest", "limit", "false_alarms", "clips")}
        return {**arrays, **numbers}

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Familiarity | None:
        """Undo ``plain``; None stays.

        Raises:
            ValueError: It is something else.
        """
        if stored is None:
            return None
        try:
            mean, axes, variance = (np.asarray(stored[name], np.float64) for name in ("mean", "axes", "variance"))
            rest, limit, alarms = (float(stored[name]) for name in ("rest", "limit", "false_alarms"))
            found = cls(mean, axes, variance, rest, limit, alarms, int(stored["clips"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"has no Gaussian of features ({error})") from None
        shapes = mean.ndim == 1 and axes.shape == (len(variance), len(mean)) and variance.ndim == 1
        numbers = [mean, axes.ravel(), variance, np.array([rest, limit, alarms])]
        values = np.concatenate(numbers) if shapes else np.array([math.nan])
        if not np.isfinite(values).all() or not (variance > 0).all() or found.rest <= 0:
            raise ValueError("has a Gaussian of features whose numbers do not fit together")
        return found


def fit_familiarity(
    features: NDArray[np.floating], clip: NDArray[np.integer], false_alarms: float = FALSE_ALARMS
) -> Familiarity | None:
    """Fit the Gaussian on all frames of a pool, and the limit on clips that each Gaussian of five has not seen.

    Args:
        features: ``(n, F)`` float, of frames.
        clip: ``(n,)`` int, code of the genuine clip behind each frame: the independent units.
        false_alarms: Share of clips that may lie beyond the limit, in (0, 1).

    Returns:
        None for fewer than 20 clips, or features that do not vary.
    """
    known, clip = np.asarray(features, np.float64), np.unique(clip, return_inverse=True)[1]
    clips = int(clip.max()) + 1 if len(clip) else 0
    if clips < _LEAST_CLIPS or not np.ptp(known, axis=0).any():
        return None
    distance = np.zeros(len(known))
    for number in range(_FOLDS):
        held = clip % _FOLDS == number
        distance[held] = _gaussian(known[~held], clips).distance(known[held])
    # The limit is conformal: a further clip lies beyond it with this probability at most.
    each = np.sort([np.median(distance[clip == code]) for code in range(clips)])
    limit = float(each[min(clips, math.ceil((clips + 1) * (1 - false_alarms))) - 1])
    whole = _gaussian(known, clips)
    return Familiarity(
        mean=_rounded(whole.mean),
        axes=_rounded(whole.axes),
        variance=_rounded(whole.variance),
        rest=whole.rest,
        limit=limit,
        false_alarms=float((each > limit).mean()),
        clips=clips,
    )


def has_features(net: DetectorNet) -> bool:
    """True for a detector with nodes of an encoder; false for ensembles, for clips, and for other networks."""
    return isinstance(net, EncoderNet) and not isinstance(net, VideoResGAT)


@torch.inference_mode()
def pooled_features(net: DetectorNet, images: Tensor, batch_size: int = 32) -> Floats:
    """Means over the nodes of the encoder, ``(B, F)``, of ``images (B, 3, S, S)`` float in [0, 1], RGB.

    Args:
        net: For which ``has_features`` is true.
        images: Faces, on the CPU.
        batch_size: Faces at once.
    """
    encoder, device = cast("EncoderNet", net), next(net.parameters()).device
    parts = [encoder.encode(part.to(device)).float().mean(dim=1).cpu() for part in torch.split(images, batch_size)]
    return np.asarray(torch.cat(parts).double().numpy(), np.float64)


@contextmanager
def recorded_features(net: DetectorNet) -> Iterator[list[Tensor]]:
    """Collect ``pooled_features`` of whatever passes through a network, at no further cost.

    Yields:
        A list that gets one ``(B, F)`` float on the CPU for each pass; it stays empty where ``has_features`` is false.
    """
    seen: list[Tensor] = []
    if not has_features(net):
        yield seen
        return
    encode = cast("EncoderNet", net).encode

    def recording(images: Tensor) -> Tensor:
        nodes = encode(images)
        seen.append(nodes.detach().float().mean(dim=1).cpu())
        return nodes

    vars(net)["encode"] = recording  # before the class's, for as long as this lasts
    try:
        yield seen
    finally:
        del vars(net)["encode"]


def _gaussian(features: Floats, clips: int) -> Familiarity:
    mean = features.mean(axis=0)
    _, spread, axes = np.linalg.svd(features - mean, full_matrices=False)
    variance = spread**2 / len(features)
    floor = max(float(variance.sum()) * 1e-9, 1e-12)
    count = max(1, min(_MOST_AXES, clips // _CLIPS_AN_AXIS, len(variance) - 1, features.shape[1] - 1))
    others = max(1, features.shape[1] - count)
    rest = max(float(variance[count:].sum()) / others, floor)
    return Familiarity(mean, axes[:count], np.maximum(variance[:count], floor), rest, 0.0, 0.0, clips)


def _rounded(values: Floats) -> Floats:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values.ravel()]).reshape(values.shape)
