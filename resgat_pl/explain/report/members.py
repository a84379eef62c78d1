"""The members of an ensemble in the report of a face: what each adds, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resgat_pl.core.face_regions import REGIONS
from resgat_pl.explain.base import evaluation_mode
from resgat_pl.explain.regions import region_weights
from resgat_pl.explain.report.face_records import Member
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.ensemble import Ensemble

_ALIKE = 0.1
"""Regions whose contributions lie nearer than this share of the largest are not called different."""


@torch.no_grad()
def members_of(net: DetectorNet, images: Tensor, landmarks: Tensor, batch_size: int) -> list[Member]:
    """Shares of the members in the mean logit of one face; empty of a detector that is no ensemble.

    Args:
        net: The detector.
        images: ``(F, 3, S, S)`` float in [0, 1], RGB: the face in its frames.
        landmarks: ``(F, 5, 2)`` float, all usable.
        batch_size: Images that go through the network at once.
    """
    if not isinstance(net, Ensemble):
        return []
    weight = next(net.parameters())
    regions: Tensor | None = None
    with evaluation_mode(net):
        batches = [part.to(weight.device, weight.dtype) for part in torch.split(images, batch_size)]
        if net.adds_up:
            parts = [net.parts(batch) for batch in batches]
            share = torch.cat([part.share for part in parts], dim=1)
            nodes = torch.cat([part.node for part in parts], dim=1).double().cpu()
            lattice = net.lattice(*images.shape[2:])
            regions = torch.einsum("ebhw,brhw->ebr", nodes, region_weights(landmarks, lattice).double()).mean(dim=1)
        else:
            share = torch.cat([net.shares(batch) for batch in batches], dim=1)
    means = share.double().cpu().mean(dim=1).tolist()
    return [
        Member(
            name=name,
            weight=net.factors[place],
            temperature=net.temperatures[place],
            share=means[place],
            regions=None if regions is None else regions[place].tolist(),
        )
        for place, name in enumerate(net.names)
    ]


def disagreement(members: Sequence[Member]) -> str:
    """Sentence on which class the members speak for, and where they differ most; empty for fewer than two."""
    heard = [member for member in members if member.weight > 0]
    if len(heard) < 2:
        return ""
    fake, real = ([member for member in heard if (member.share > 0) == side] for side in (True, False))
    said = f"{len(fake)} of {len(heard)} members speak for fake"
    if fake and real:
        ends = [", ".join(f"{member.name} {_number(member.share)}" for member in side) for side in (fake, real)]
        said = f"The members disagree: {said} ({ends[0]}), {len(real)} for real ({ends[1]})"
    return f"{said}. {_place(heard)}".strip()


def _place(members: Sequence[Member]) -> str:
    """Sentence on the region in which the contributions of members differ most."""
    tables = [member.regions for member in members if member.regions is not None]
    if len(tables) < len(members):
        return ""
    columns = list(zip(*tables, strict=True))
    spans = [max(column) - min(column) for column in columns]
    place = max(range(len(spans)), key=spans.__getitem__)
    if spans[place] <= _ALIKE * max(abs(value) for column in columns for value in column):
        return ""
    high, low = (choose(members, key=lambda member: (member.regions or [])[place]) for choose in (max, min))
    ends = " and ".join(f"{one.name} {_number((one.regions or [])[place])}" for one in (high, low))
    return f"They differ most at the {REGIONS[place]}: {ends}."


def _number(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
