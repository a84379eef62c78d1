"""Changed copies of a network, on which a method that explains *this* network must answer differently.

After Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT


def cascade(net: DetectorNet) -> dict[str, tuple[str, ...]]:
    """Parts of a network that are randomised, from the answer down to the pixels.

    Returns:
        By the name of the last part that is added: ``head``, ``gat`` with its gates, and ``backbone`` of a ResGAT,
        those that are there of another detector; ``backbone`` stands for all its parts.

    Example:
        >>> from resgat_pl.nn.pooled import PooledClassifier
        >>> cascade(PooledClassifier("resnet18", image_size=64))
        {'head': ('head',), 'backbone': ('head', 'backbone')}
    """
    parts = [name for name, child in net.named_children() if any(True for _ in child.parameters())]
    upper: list[str] = [name for name in ("head", "gat") if name in parts]
    steps: dict[str, tuple[str, ...]] = {name: tuple(upper[: place + 1]) for place, name in enumerate(upper)}
    if gates := [name for name in ("node_gate", "edge_gate") if name in parts]:  # go with the layer that they gate
        upper += gates
        steps["gat"] = tuple(upper)
    own = [""] if any(True for _ in net.parameters(recurse=False)) else []  # of no part: those of the network itself
    return {**steps, "backbone": (*upper, *(name for name in parts if name not in upper), *own)}


@torch.no_grad()
def randomised(net: DetectorNet, parts: Sequence[str], seed: int = 0) -> DetectorNet:
    """A copy of a network with the values of each parameter of some parts shuffled.

    Nothing that was learnt is left in these parts, but every layer keeps the spread of its weights, so that features
    neither vanish nor explode; drawing new values would do that, since batch statistics stay as they are.

    Args:
        net: The network; it stays as it is.
        parts: Names of its children.
        seed: Of the shuffling.
    """
    changed = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        for parameter in changed.get_submodule(part).parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return changed


@torch.no_grad()
def with_uniform_attention(net: ResGAT) -> ResGAT:
    """A copy of a ResGAT whose nodes attend to all their neighbours alike: its attention vectors are zero.

    A method does not owe to attention what it still finds there.
    """
    changed = copy.deepcopy(net)
    for name, value in changed.gat.named_parameters():
        if name.startswith("att"):
            value.zero_()
    return changed
