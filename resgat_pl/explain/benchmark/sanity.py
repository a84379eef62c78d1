"""Changed copies of a network, on which a method that explains *this* network must answer differently.

After Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, TypeVar

import torch
from torch import nn

from resgat_pl.core.errors import ConfigError

Net = TypeVar("Net", bound=nn.Module)

CASCADE: Final = (("head",), ("head", "gat"), ("head", "gat", "backbone"))
"""Parts of a ResGAT that are randomised, from the answer down to the pixels."""


@torch.no_grad()
def randomised(net: Net, parts: Sequence[str], seed: int = 0) -> Net:
    """A copy of a network with the values of each parameter of some parts shuffled.

    Nothing that was learnt is left in these parts, but every layer keeps the spread of its weights, so that features
    neither vanish nor explode; drawing anew would do that behind batch statistics that stay as they were.

    Args:
        net: The network; it stays as it is.
        parts: Names of its children.
        seed: Of the shuffling.

    Raises:
        ConfigError: It has no such child, or the child has no parameters.
    """
    changed = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        parameters = [value for name, value in changed.named_parameters() if name.split(".")[0] == part]
        if not parameters:
            names = ", ".join(name for name, _ in net.named_children())
            raise ConfigError(f"There are no parameters in {part!r} to randomise. The network's parts are {names}.")
        for parameter in parameters:
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return changed


@torch.no_grad()
def with_uniform_attention(net: Net) -> Net:
    """A copy of a ResGAT whose nodes attend to all their neighbours alike: its attention vectors are zero.

    What a method still finds there, it does not owe to attention.

    Raises:
        ConfigError: The network has no attention vectors (``gat.att``, or ``gat.att_src`` and ``gat.att_dst``).
    """
    changed = copy.deepcopy(net)
    vectors = [value for name, value in changed.named_parameters() if name.startswith("gat.att")]
    if not vectors:
        raise ConfigError(f"{type(net).__name__} has no attention vectors gat.att*: give a ResGAT.")
    for vector in vectors:
        vector.zero_()
    return changed
