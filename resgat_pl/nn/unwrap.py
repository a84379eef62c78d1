"""The network inside what compilation, parallel training and Lightning put around it."""

from __future__ import annotations

from typing import Final

from torch import nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.detector_net import DetectorNet

_INSIDE: Final = ("_orig_mod", "module", "net")
"""Attributes in which ``torch.compile``, DDP, DataParallel and FSDP, and ``ResGATModule`` hold it."""


def unwrap(model: nn.Module, what: str = "This", wanted: type[DetectorNet] = DetectorNet) -> DetectorNet:
    """The detector itself, however deep it is wrapped; it shares all parameters with ``model``.

    Args:
        model: A detector; a module that holds one as ``net``; or either, compiled or distributed.
        what: Who asks, for the message.
        wanted: The class that is asked for, likewise.

    Raises:
        ConfigError: There is none in it.

    Example:
        >>> from resgat_pl.nn.pooled import PooledClassifier
        >>> net = PooledClassifier("resnet18", image_size=64)
        >>> unwrap(nn.DataParallel(net)) is net
        True
    """
    inside: object = model
    while not isinstance(inside, DetectorNet):
        held = [getattr(inside, name, None) for name in _INSIDE]
        inner = next((part for part in held if isinstance(part, nn.Module)), None)
        if inner is None:
            raise ConfigError(
                f"{what} explains a {wanted.__name__} or a module whose net is one, not {model!r:.80}. They may be "
                "compiled or distributed. Scripted and exported models have no parts to explain: give the one they "
                "were made of."
            )
        inside = inner
    return inside
