"""The network inside what compilation, parallel training and Lightning put around it."""

from __future__ import annotations

from typing import Final

from torch import nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.resgat import ResGAT

_INSIDE: Final = ("_orig_mod", "module", "net")
"""Attributes in which ``torch.compile``, DDP, DataParallel and FSDP, and ``ResGATModule`` hold it."""


def unwrap(model: nn.Module, what: str = "This") -> ResGAT:
    """The ``ResGAT`` itself, however deep it is wrapped; it shares all parameters with ``model``.

    Args:
        model: A ``ResGAT``; a module that holds one as ``net``; or either, compiled or distributed.
        what: Who asks, for the message.

    Raises:
        ConfigError: There is none in it.
    """
    inside: object = model
    while not isinstance(inside, ResGAT):
        held = [getattr(inside, name, None) for name in _INSIDE]
        inner = next((part for part in held if isinstance(part, nn.Module)), None)
        if inner is None:
            raise ConfigError(
                f"{what} explains a ResGAT or a module whose net is one, not {model!r:.80}. They may be compiled or "
                f"distributed. Scripted and exported models have no parts to explain: give the one they were made of."
            )
        inside = inner
    return inside
