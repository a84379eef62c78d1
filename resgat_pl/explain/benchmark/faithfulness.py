"""Faithfulness: scores that change what an explanation points at, and look at the logit again.

``fill`` puts other pixels into the nodes of a picture, most important node first, and ``curves`` does so step by step:

- *restoration*: the real counterpart's pixels go into a fake. What is put in is a genuine face, so the verdict can only
  fall for the right reason. Needs the same frame of the original video.
- *implantation*: the fake's pixels go into the real counterpart, so that only these nodes are left of the fake.
- *deletion* and *insertion* (Petsiuk et al., "RISE", BMVC 2018): blurred or mean pixels go in, or the picture's own
  pixels go into a blurred or mean one. To a detector of forgeries blur itself is a trace, so deletion by blur can
  *add* evidence, and insertion starts from a picture that is called fake already: read them beside restoration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.nn.node_geometry import Lattice

Judge = Callable[[Tensor], Tensor]
"""Images ``(B, 3, H, W)`` float in [0, 1] → logits ``(B,)`` float of *fake*."""

STEPS: Final = (1, 2, 3, 5, 8, 12, 20, 30)
"""Nodes exchanged at the steps of a curve, of 49: dense where a good explanation has its effect. None and all come on
top, which no explanation can change."""
FEW: Final = 5
"""Nodes of 49 after which ``flips`` looks at the verdict."""
_NODES: Final = 49


def steps(nodes: int) -> tuple[int, ...]:
    """``STEPS`` for a grid of so many nodes: the same shares, rounded, each number once and fewer than ``nodes``."""
    return tuple(sorted({k for share in STEPS if 0 < (k := round(share * nodes / _NODES)) < nodes}))


def few(nodes: int) -> int:
    """``FEW`` for a grid of so many nodes, 1 or more."""
    return max(1, round(FEW * nodes / _NODES))


def order_of(maps: Tensor, seed: int = 0) -> Tensor:
    """Nodes from the most to the least important: ``(B, h, w)`` float → ``(B, N)`` int64.

    Equally important nodes come in a random order that is the same for all maps; in reading order a map of zeros
    would start at the top left always.
    """
    values = maps.flatten(1)
    shuffled = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(seed)).to(values.device)
    return shuffled[values[:, shuffled].argsort(dim=1, descending=True, stable=True)]


def fill(images: Tensor, filler: Tensor, chosen: Tensor, lattice: Lattice) -> Tensor:
    """Put the filler's pixels into the cells of the chosen nodes.

    Args:
        images: ``(B, 3, H, W)`` float.
        filler: The same shape.
        chosen: ``(B, N)`` bool.
        lattice: Where the nodes are.
    """
    place = lattice.cells(images.shape[2], images.shape[3]).to(images.device)
    return torch.where(chosen[:, place][:, None], filler, images)


def curves(
    judge: Judge,
    images: Tensor,
    filler: Tensor,
    order: Tensor,
    lattice: Lattice,
    counts: Sequence[int],
    batch_size: int = 64,
) -> Tensor:
    """Logits of the images after the first nodes of ``order`` were filled, for each number of nodes.

    Args:
        judge: The model.
        images: ``(B, 3, H, W)`` float in [0, 1].
        filler: What is put in, the same shape.
        order: ``(B, N)`` int64, see ``order_of``.
        lattice: Where the nodes are.
        counts: Numbers of nodes, K of them.
        batch_size: Images judged at once.

    Returns:
        ``(B, K)`` float32 on the CPU.
    """
    return judged(judge, images, filler, first_nodes(order, counts), lattice, batch_size)


def first_nodes(order: Tensor, counts: Sequence[int]) -> Tensor:
    """The first nodes of an order, for each number of nodes: ``(B, N)`` int64 → ``(B, K, N)`` bool.

    Example:
        >>> first_nodes(torch.tensor([[2, 0, 1]]), [1, 2]).int().tolist()
        [[[0, 0, 1], [1, 0, 1]]]
    """
    rank = order.argsort(dim=1)
    numbers = torch.tensor(counts, device=order.device)
    return rank[:, None, :] < numbers[None, :, None]


def single(judge: Judge, images: Tensor, filler: Tensor, lattice: Lattice, batch_size: int = 64) -> Tensor:
    """Fall of the logit when one node alone is filled, ``(B, N)`` float32 on the CPU: at most N + 1 passes an image.

    With the real counterpart as filler this is the causal effect of each node's pixels; 0 where these are the same.
    """
    nodes = math.prod(lattice.shape)
    none_and_each = torch.eye(nodes + 1, dtype=torch.bool, device=images.device)[:, 1:]
    logits = judged(judge, images, filler, none_and_each.expand(len(images), -1, -1), lattice, batch_size)
    return logits[:, :1] - logits[:, 1:]


def in_batches(judge: Judge, images: Tensor, batch_size: int) -> Tensor:
    """Logits ``(B,)`` float32 on the CPU of ``images (B, 3, H, W)``, so many at once."""
    return torch.cat([judge(batch).float().cpu() for batch in torch.split(images, batch_size)])


def area(values: Tensor, counts: Sequence[int], nodes: int) -> Tensor:
    """Area under curves over the share of nodes, from none (0) to all (1), by trapezoids.

    Args:
        values: ``(B, 2 + K)`` float: without any node filled, at each of ``counts``, with all filled.
        counts: As for ``curves``, rising.
        nodes: Number of nodes, N.

    Returns:
        ``(B,)`` float64.
    """
    share = torch.tensor([0, *counts, nodes], dtype=torch.float64) / nodes
    values = values.double()
    return ((values[:, 1:] + values[:, :-1]) / 2 * share.diff()).sum(dim=1)


def blurred(images: Tensor, share: float = 0.05) -> Tensor:
    """Gaussian blur with a standard deviation of ``share`` of the side, ``(B, 3, H, W)`` → the same."""
    sigma = share * max(images.shape[-2:])
    radius = min(round(3 * sigma), min(images.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=images.shape[1])
    return F.conv2d(across, kernel[:, :, :, None], groups=images.shape[1])


def judged(judge: Judge, images: Tensor, filler: Tensor, chosen: Tensor, lattice: Lattice, batch_size: int) -> Tensor:
    """Logits of each image with each of its choices of nodes filled; pictures that come out alike are judged once.

    A node whose cell is the same in both pictures changes nothing: of a self-blend those are most nodes.

    Args:
        judge: The model.
        images: ``(B, 3, H, W)`` float in [0, 1].
        filler: What is put in, the same shape.
        chosen: ``(B, K, N)`` bool.
        lattice: Where the nodes are.
        batch_size: Images judged at once.

    Returns:
        ``(B, K)`` float32 on the CPU.
    """
    count, variants, nodes = chosen.shape
    if not count * variants:
        return torch.zeros(count, variants)
    effective = (chosen & altered(images, filler, lattice)[:, None]).reshape(-1, nodes)
    image = torch.arange(count, device=chosen.device).repeat_interleave(variants)
    table = torch.cat([image[:, None].int(), effective.int()], dim=1)
    different, place = torch.unique(table, dim=0, return_inverse=True)
    found = [
        judge(fill(images[some[:, 0]], filler[some[:, 0]], some[:, 1:].bool(), lattice)).float().cpu()
        for some in torch.split(different, batch_size)
    ]
    return torch.cat(found)[place.cpu()].reshape(count, variants)


def altered(images: Tensor, filler: Tensor, lattice: Lattice) -> Tensor:
    """Nodes in whose cells two pictures ``(B, 3, H, W)`` differ in any pixel: ``(B, N)`` bool."""
    differs = (images != filler).any(dim=1).flatten(1)
    place = lattice.cells(images.shape[2], images.shape[3]).flatten().to(images.device)
    empty = torch.zeros(len(images), math.prod(lattice.shape), device=images.device)
    return empty.index_add_(1, place, differs.float()) > 0
