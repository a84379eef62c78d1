"""Shapley values of whole frames: the attribution that is left where a logit is no sum over frames."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Final, NamedTuple

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.video.net import VideoResGAT
from resgat_pl.nn.video.temporal import Frames

EXACT: Final = 12
"""Frames up to which all 2^T sets are looked at."""
_BATCH: Final = 512


class FrameShares(NamedTuple):
    """The logit of a clip divided among its frames: ``share.sum() + bias`` is ``logit``.

    Attributes:
        logit: ``()`` float.
        share: ``(T,)`` float.
        bias: ``()`` float, the logit without any frame.
        evaluations: Clips that went through the temporal part.

    Example:
        >>> found = FrameShares(torch.tensor(1.5), torch.tensor([0.5, 0.75]), torch.tensor(0.25), 4)
        >>> float(found.share.sum() + found.bias) == float(found.logit)
        True
    """

    logit: Tensor
    share: Tensor
    bias: Tensor
    evaluations: int


@torch.no_grad()
def frame_shapley(net: VideoResGAT, nodes: Tensor, orders: int = 64, seed: int = 0) -> FrameShares:
    """Shapley values of the frames of one clip; a frame that is absent was not taken, and the others move together.

    Up to ``EXACT`` frames they are exact. With more they are the mean over random orders and their reverses
    (Castro et al. 2009; Mitchell et al. 2022), which still adds up to the logit exactly.

    Args:
        net: In evaluation mode.
        nodes: ``(T, N, F)`` float, as ``net.encode`` gives them.
        orders: Random orders, an even number, for more than ``EXACT`` frames.
        seed: Of the orders.

    Raises:
        ConfigError: There is no frame, or ``orders`` is no even number above 0.

    Example:
        >>> net = VideoResGAT("lstm", encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
        >>> found = frame_shapley(net, net.encode(torch.rand(3, 3, 64, 64)))
        >>> found.evaluations, torch.allclose(found.share.sum() + found.bias, found.logit, atol=1e-5)
        (8, True)
    """
    count = len(nodes)
    if not count:
        raise ConfigError("A clip without frames has no shares.")
    if orders < 2 or orders % 2:
        raise ConfigError(f"orders is {orders}; it must be an even number from 2 on.")
    frames = net.frames_of(net.graph(nodes), 1)
    if count <= EXACT:
        wanted = [present for size in range(count + 1) for present in combinations(range(count), size)]
    else:
        runs = _runs(count, orders, seed)
        wanted = list(dict.fromkeys(tuple(sorted(run[:size])) for run in runs for size in range(count + 1)))
    values = _values(net, frames, wanted)
    share = torch.zeros(count, dtype=frames.pooled.dtype)
    if count <= EXACT:
        for present in wanted:
            for one in present:
                rest = tuple(other for other in present if other != one)
                share[one] += (values[present] - values[rest]) / (count * comb(count - 1, len(rest)))
    else:
        for run in runs:
            for size, one in enumerate(run):
                before, after = (tuple(sorted(run[:end])) for end in (size, size + 1))
                share[one] += (values[after] - values[before]) / len(runs)
    return FrameShares(values[tuple(range(count))], share.to(nodes.device), values[()], len(wanted))


def _runs(count: int, orders: int, seed: int) -> list[list[int]]:
    random = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(count, generator=random).tolist() for _ in range(orders // 2)]
    return [run for one in drawn for run in (one, one[::-1])]


def _values(net: VideoResGAT, frames: Frames, wanted: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
    """Logit ``()`` of each set of frames, on the CPU; sets of one size go through the temporal part together."""
    found: dict[tuple[int, ...], Tensor] = {(): net.temporal.empty(net.head, frames)[0].cpu()}
    for size in range(1, frames.pooled.shape[1] + 1):
        alike = [present for present in wanted if len(present) == size]
        for start in range(0, len(alike), _BATCH):
            part = alike[start : start + _BATCH]
            place = torch.tensor(part, device=frames.pooled.device)
            chosen = Frames(frames.nodes[0][place], frames.pooled[0][place])
            found |= dict(zip(part, net.temporal(net.head, chosen).cpu().unbind(), strict=True))
    return found
