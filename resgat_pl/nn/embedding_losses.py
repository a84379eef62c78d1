"""Losses of the embedding: alignment within a class and uniformity over all, on directions of pooled features.

Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere"
(ICML 2020), with the class in the place of the positive pair. Both work on directions: features are divided by their
length first, so features that are normalised already give the same numbers.

All pairs are of one batch. With several processes each takes the pairs of its own batch, and DistributedDataParallel
averages the gradients; the loss then is the mean over processes, not that over the pairs of the global batch.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError

_SHORTEST: Final = 1e-4
"""Length by which shorter features are divided: the gradient of a direction grows as the length falls."""
_TEMPERATURE: Final = 2.0
"""t of the paper's experiments."""


def alignment_loss(pooled: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance between the directions of two images of one class (Eq. 1 with α = 2).

    Args:
        pooled: ``(B, F)`` float of any precision, in any length; computed in at least 32 bits, autocast or not.
        labels: ``(B,)`` of any type; images with equal values are of one class.

    Returns:
        ``()`` in [0, 4], float32, or float64 for such features; 0 where no two images are of one class.

    Raises:
        ConfigError: The shapes do not fit.

    Example:
        >>> alignment_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]]), torch.tensor([1, 1, 0]))
        tensor(2.)
    """
    if pooled.ndim != 2 or labels.shape != pooled.shape[:1]:
        raise ConfigError(
            f"Embeddings are {tuple(pooled.shape)} and labels {tuple(labels.shape)}; give (B, F) and (B,)."
        )
    distance, first, second = _distances(pooled)
    alike = labels[first] == labels[second]
    return (distance * alike).sum() / alike.sum().clamp(min=1)


def uniformity_loss(pooled: Tensor, temperature: float = _TEMPERATURE) -> Tensor:
    """Logarithm of the mean Gaussian potential of two images, log E exp(−t d²) (Eq. 2): low where directions spread.

    Args:
        pooled: As of ``alignment_loss``.
        temperature: t, positive; 2 in the paper. The larger, the more do the nearest pairs count.

    Returns:
        ``()`` in [−4 t, 0], in the precision of ``alignment_loss``; 0 for fewer than two images.

    Raises:
        ConfigError: The shape does not fit, or the temperature is not positive.

    Example:
        >>> uniformity_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor(-4.)
    """
    if pooled.ndim != 2:
        raise ConfigError(f"Embeddings are {tuple(pooled.shape)}; give (B, F).")
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature is {temperature}; it must be positive.")
    distance, _, _ = _distances(pooled)
    if not len(distance):
        return distance.sum()
    return torch.logsumexp(-temperature * distance, dim=0) - math.log(len(distance))


def _distances(pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances ``(P,)`` of the directions of all pairs, and the two images of each."""
    first, second = torch.triu_indices(len(pooled), len(pooled), offset=1, device=pooled.device)
    with torch.autocast(pooled.device.type, enabled=False):  # products of 16 bits would lose the small distances
        wide = pooled.to(torch.promote_types(pooled.dtype, torch.float32))
        direction = F.normalize(wide, dim=1, eps=_SHORTEST)
        cosine = (direction @ direction.T)[first, second]
    return (2 - 2 * cosine).clamp(min=0), first, second
