"""Capsules: routing by agreement over the values of the nodes, with a logit that is a sum over them."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

_SHORTEST: Final = 1e-12


class NodeReading(NamedTuple):
    """Answer of a head that reads the nodes one by one; ``(heard · value).sum((1, 2)) + bias`` is the logit.

    Attributes:
        logit: ``(B,)`` float; positive means fake.
        value: ``(B, N, heads)`` float, v_jk: what each node says through each head, before it is weighted.
        bias: ``(B,)`` float, the part of the logit that is no node's, computed from the parameters.
        routing: ``(B, N, heads)`` float in [-1, 1], the share of each node's vote that goes to *fake* less that to
            *real*; None of heads without routing.

    Example:
        >>> one = torch.ones(1)
        >>> NodeReading(logit=3 * one, value=torch.ones(1, 2, 1), bias=one).routing is None
        True
    """

    logit: Tensor
    value: Tensor
    bias: Tensor
    routing: Tensor | None = None


def route(votes: Tensor, heard: Tensor, constant: Tensor, rounds: int) -> NodeReading:
    """Route capsules to two outputs, *fake* and *real*, by agreement (Sabour et al., NeurIPS 2017).

    With û_jk,o the vote of capsule (j, k) for output o, a_jk the weight at which it is heard and r_jk,o its routing
    coefficients, the softmax over the outputs of the agreement so far, s_o = Σ_jk a_jk r_jk,o û_jk,o. The logit is
    taken *before* the squash, |s_fake| − |s_real|, and so with the unit vectors ŝ_o it is exactly

        Σ_jk a_jk (r_jk,fake ⟨û_jk,fake, ŝ_fake⟩ − r_jk,real ⟨û_jk,real, ŝ_real⟩).

    The squash serves the agreement alone. Constants are capsules too, heard at weight 1, whose part is the bias. As is
    usual, no gradient goes through the coefficients. Computed in at least 32 bits.

    Args:
        votes: ``(B, N, heads, 2, D)`` float; of the third axis the first is *fake*.
        heard: ``(B, N, heads)`` float.
        constant: ``(heads, 2, D)`` float, votes that are no node's.
        rounds: At least 1; with one all coefficients are ½.

    Example:
        >>> found = route(torch.rand(1, 4, 2, 2, 3), torch.full((1, 4, 2), 0.25), torch.zeros(2, 2, 3), rounds=3)
        >>> torch.allclose((0.25 * found.value).sum((1, 2)) + found.bias, found.logit, atol=1e-5)
        True
    """
    wide = torch.promote_types(votes.dtype, torch.float32)
    nodes = votes.shape[1]
    all_votes = torch.cat([votes.to(wide), constant.to(wide).expand(len(votes), 1, -1, -1, -1)], dim=1)
    weight = torch.cat([heard.to(wide), heard.new_ones(len(heard), 1, heard.shape[2], dtype=wide)], dim=1)
    agreement = torch.zeros_like(all_votes[..., 0])

    # Products and sums, not matrix products, which autocast would round.
    for _ in range(rounds - 1):
        sums = _sums(all_votes.detach(), weight.detach(), agreement.softmax(dim=-1))
        length = torch.linalg.vector_norm(sums, dim=-1, keepdim=True)
        squashed = sums * (length / (1 + length.square()))
        agreement = agreement + (all_votes.detach() * squashed[:, None, None]).sum(dim=-1)
    coefficients = agreement.softmax(dim=-1)
    sums = _sums(all_votes, weight, coefficients)
    length = torch.linalg.vector_norm(sums, dim=-1)
    direction = sums / length.clamp(min=_SHORTEST).unsqueeze(-1)

    # What every capsule says along the two directions.
    said = coefficients * (all_votes * direction[:, None, None]).sum(dim=-1)
    value = said[..., 0] - said[..., 1]
    routing = coefficients[..., 0] - coefficients[..., 1]
    return NodeReading(length[:, 0] - length[:, 1], value[:, :nodes], value[:, nodes].sum(dim=1), routing[:, :nodes])


def _sums(votes: Tensor, weight: Tensor, coefficients: Tensor) -> Tensor:
    """s_o, ``(B, 2, D)``."""
    return ((weight.unsqueeze(-1) * coefficients).unsqueeze(-1) * votes).sum(dim=(1, 2))
