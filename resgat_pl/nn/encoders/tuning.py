"""The part of an encoder that is trained: all, its norms, low-rank updates of its attention, or nothing."""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.encoders.base import GridEncoder

TrainMode = Literal["full", "norms", "lora", "frozen"]
RANK: Final = 8
_SCALE: Final = 2.0
"""α / r of the LoRA paper, with α = 16."""


class LowRank(nn.Module):
    """A trained update of low rank of a frozen weight: W + α/r · B A (Hu et al., "LoRA", ICLR 2022, Eq. 3).

    B is zero at first, so the layer computes what it did. As a parametrisation of the weight it needs no change of the
    layer, and ``parametrize.remove_parametrizations`` makes the sum an ordinary weight.

    Args:
        weight: W, ``(out, in)``.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(RANK, weight.shape[1], dtype=weight.dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], RANK, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The updated weight."""
        return weight + _SCALE * self.up @ self.down


def choose_trained(encoder: GridEncoder, mode: TrainMode) -> None:
    """Set which parameters of an encoder have gradients; ``lora`` also adds its own.

    Args:
        encoder: Changed in place.
        mode: ``full``: all. ``norms``: scale and shift of the normalisation layers (Frankle et al., "Training
            BatchNorm and Only BatchNorm", ICLR 2021). ``lora``: ``LowRank`` updates of the layers ``qkv`` and ``proj``
            of attention. ``frozen``: none.

    Raises:
        ConfigError: The encoder has no such layers.
    """
    if mode == "full":
        return
    encoder.requires_grad_(False)
    if mode == "norms":
        names = encoder.norm_names()
        for name in names:
            encoder.get_parameter(name).requires_grad_(True)
        _require(names, mode, "normalisation layers with parameters")
    elif mode == "lora":
        layers = [
            layer
            for path, layer in encoder.named_modules()
            if isinstance(layer, nn.Linear) and path.endswith((".attn.qkv", ".attn.proj"))
        ]
        _require(layers, mode, "attention layers qkv and proj")
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight))


def _require(found: list[str] | list[nn.Linear], mode: str, what: str) -> None:
    if not found:
        raise ConfigError(f"net.train is {mode}, but this encoder has no {what}: set full or frozen.")
