"""A training step on random pairs, as losses see it."""

from __future__ import annotations

from typing import Any

import torch

from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import LossInput

SIDE = 64


def small_net(seed: int = 0) -> ResGAT:
    torch.manual_seed(seed)
    return ResGAT("gatv2", "resnet18", encoder_stage=3, heads=2, hidden=4, image_size=SIDE).eval()


def paired_batch(pairs: int = 3, seed: int = 0) -> dict[str, Any]:
    """Each fake, whose upper left quarter is altered, and its genuine partner behind it."""
    generator = torch.Generator().manual_seed(seed)
    genuine = torch.rand(pairs, 3, SIDE, SIDE, generator=generator)
    mask = torch.zeros(pairs, SIDE, SIDE)
    mask[:, : SIDE // 2, : SIDE // 2] = 1
    fake = torch.where(mask[:, None] > 0, torch.rand(genuine.shape, generator=generator), genuine)
    return {
        "image": torch.stack([fake, genuine], dim=1).flatten(0, 1),
        "mask": torch.stack([mask, torch.zeros_like(mask)], dim=1).flatten(0, 1),
        "label": torch.tensor([1.0, 0.0]).repeat(pairs),
        "mask_known": torch.ones(2 * pairs, dtype=torch.bool),
    }


def loss_step(net: ResGAT, batch: dict[str, Any]) -> LossInput:
    graph = net.graph(net.encode(batch["image"]))
    given: Any = batch
    return LossInput(net, given, graph, decompose(net, graph), net.encode)
