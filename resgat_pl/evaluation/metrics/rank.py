"""Rank correlation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError


def spearman(one: Tensor, other: Tensor, constant: float = math.nan) -> Tensor:
    """Spearman's rank correlation of each row of ``(B, N)`` float with the same row of another.

    Equal values share the mean of their ranks.

    Args:
        one: ``(B, N)`` float.
        other: The same shape.
        constant: The result where one of the rows is constant, so that the correlation is undefined.

    Returns:
        ``(B,)`` float64 in [-1, 1].

    Raises:
        ConfigError: The shapes differ.

    Example:
        >>> import torch
        >>> spearman(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 4.0, 8.0]]))
        tensor([1.], dtype=torch.float64)
    """
    if one.shape != other.shape or one.ndim != 2:
        raise ConfigError(f"Tables of the shapes {tuple(one.shape)} and {tuple(other.shape)} have no common rows.")
    left, right = (_centred_ranks(values) for values in (one, other))
    scale = (left.square().sum(dim=1) * right.square().sum(dim=1)).sqrt()
    return ((left * right).sum(dim=1) / scale).masked_fill(scale == 0, constant)


def _centred_ranks(values: Tensor) -> Tensor:
    """Mean ranks of each row, times 2, with mean 0."""
    values = values.double().contiguous()
    ordered = values.sort(dim=1).values
    from_left = torch.searchsorted(ordered, values)
    rank = (from_left + torch.searchsorted(ordered, values, right=True)).double()
    return rank - rank.mean(dim=1, keepdim=True)
