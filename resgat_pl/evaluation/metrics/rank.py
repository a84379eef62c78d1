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


def ranks(values: Tensor) -> Tensor:
    """Ranks of each row of ``(B, N)`` float, from -1 for the lowest to 1 for the highest, float64.

    Equal values share the mean of their ranks; a constant row is all 0.

    Example:
        >>> import torch
        >>> ranks(torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 9.0]]))
        tensor([[ 1.0000, -1.0000,  0.0000],
                [-0.5000, -0.5000,  1.0000]], dtype=torch.float64)
    """
    return _centred_ranks(values) / max(1, values.shape[1] - 1)


def kendall_w(rankings: Tensor) -> Tensor:
    """Kendall's coefficient of concordance W of several rankings of the same things, ties included.

    Args:
        rankings: ``(M, B, N)`` float: M rankings of N things for each of B faces, see ``ranks``.

    Returns:
        ``(B,)`` float in [0, 1]: 1 if all are alike; 0 if they cancel, or if none of them ranks anything.

    Example:
        >>> import torch
        >>> one = ranks(torch.tensor([[1.0, 2.0, 3.0]]))
        >>> kendall_w(torch.stack([one, one])).item(), kendall_w(torch.stack([one, -one])).item()
        (1.0, 0.0)
    """
    together = rankings.sum(dim=0).square().sum(dim=1)
    most = len(rankings) * rankings.square().sum(dim=(0, 2))
    return torch.where(most > 0, together / most.clamp(min=torch.finfo(most.dtype).tiny), torch.zeros_like(most))


def _centred_ranks(values: Tensor) -> Tensor:
    """Mean ranks of each row, times 2, with mean 0."""
    values = values.double().contiguous()
    ordered = values.sort(dim=1).values
    from_left = torch.searchsorted(ordered, values)
    rank = (from_left + torch.searchsorted(ordered, values, right=True)).double()
    return rank - rank.mean(dim=1, keepdim=True)
