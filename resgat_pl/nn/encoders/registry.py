"""Encoders by name: torchvision's, timm's, those of installed packages, and class paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import errors_of, find_part, is_class_path, is_ours, load_entry_point, named_point
from resgat_pl.nn.encoders.base import WEIGHT_SOURCES, EncoderStage, GridEncoder, Stages
from resgat_pl.nn.encoders.receptive import limit_receptive
from resgat_pl.nn.encoders.timm_models import PREFIX, TimmEncoder
from resgat_pl.nn.encoders.torchvision_cnns import ENCODERS, Encoder
from resgat_pl.nn.encoders.two_stages import TwoStages

Provider = Callable[[str, str | Path | None, EncoderStage], GridEncoder]
"""A class, or a function of an entry point, that makes an encoder from (name, weights, stage)."""


def find_encoder(name: object, named_by_user: bool = False) -> Provider:
    """Find the class or function that makes the encoder of a name; nothing is built.

    Args:
        name: See ``build_encoder``.
        named_by_user: See ``core.parts.find_part``; a checkpoint's encoder is not.

    Raises:
        ConfigError: It is no text, a file names a class of a module that nobody has imported, or two packages have an
            entry point of this name.

    Example:
        >>> find_encoder("resnet18").__name__
        'Encoder'
    """
    if not isinstance(name, str):
        raise ConfigError(f"encoder is {name!r:.60}; it must be a name.")
    if name in ENCODERS:
        return Encoder
    if name.startswith(PREFIX):
        return TimmEncoder
    if point := named_point("encoder", name.partition("/")[0]):
        return cast("Provider", load_entry_point(point, "encoder"))
    if is_class_path(name):
        return find_part("encoder", name, GridEncoder, {}, named_by_user)
    return Encoder  # its error names those that are near


def build_encoder(
    name: str,
    weights: str | Path | None = None,
    stage: Stages = 4,
    image_size: int = 224,
    receptive: int | None = None,
) -> GridEncoder:
    """Build an encoder by its name, which the user has given; ``find_encoder`` first for a name from a file.

    Args:
        name: A name of torchvision (``resnet50``), ``timm/`` and a name of timm, the name of an entry point of the
            group ``resgat_pl.encoders`` with or without ``/`` and more, or the path of a class (``package.Class``).
        weights: Handed to the encoder.
        stage: Likewise; ``[3, 4]`` for the nodes of both stages, of torchvision's and timm's encoders.
        image_size: Side in pixels of an image that a class from outside is tried with.
        receptive: Side in px of the largest receptive field of a node, see ``encoders.receptive``; None for the
            encoder's own.

    Raises:
        ConfigError: There is no such encoder, it cannot be made, it is no ``GridEncoder``, or cannot be limited so.
        WeightsError: The weights cannot be had, or do not fit.

    Example:
        >>> build_encoder("resnet18").out_channels
        512
    """
    if isinstance(stage, list):
        return _of_both_stages(name, weights, image_size, receptive)
    encoder = _built(name, weights, stage, image_size)
    if receptive is not None:
        limit_receptive(encoder, receptive, name)
    return encoder


def _of_both_stages(name: str, weights: str | Path | None, image_size: int, receptive: int | None) -> TwoStages:
    if receptive is not None:
        raise ConfigError(
            "net.receptive limits what the nodes of one stage see, and net.encoder_stage is [3, 4]: set 3 or 4, or "
            "net.receptive null."
        )
    encoder = _built(name, weights, 4, image_size)
    if not isinstance(encoder, Encoder | TimmEncoder):
        raise ConfigError(
            f"net.encoder_stage is [3, 4], of which only encoders of torchvision and timm have the nodes, and "
            f"net.encoder is {name}: set encoder_stage 3 or 4."
        )
    return TwoStages(encoder)


def _built(name: str, weights: str | Path | None, stage: EncoderStage, image_size: int) -> GridEncoder:
    provider = find_encoder(name, named_by_user=True)
    if is_ours(provider):
        owner = "torchvision's encoders" if provider is Encoder else "encoders timm/NAME"
        if weights in WEIGHT_SOURCES and WEIGHT_SOURCES[str(weights)] != owner:
            sources = " or ".join(source for source, whose in WEIGHT_SOURCES.items() if whose == owner)
            raise ConfigError(
                f"net.weights is {weights}, which only {WEIGHT_SOURCES[str(weights)]} have, and net.encoder is {name}: "
                f"set {sources}, FILE or null."
            )
        return provider(name, weights, stage)
    with errors_of("encoder", provider):
        encoder = provider(name, weights, stage)
        _check(encoder, name, image_size)
    return encoder


@torch.no_grad()
def _check(encoder: object, name: str, side: int) -> None:
    """Compare what an encoder from outside says with what it computes."""
    if not isinstance(encoder, GridEncoder):
        raise ConfigError(f"The encoder {name} is a {type(encoder).__name__}, not a GridEncoder.")
    if missing := [part for part in ("out_channels", "stride") if not hasattr(encoder, part)]:
        raise ConfigError(f"The encoder {name} does not set {' and '.join(missing)}.")
    expected = (1, encoder.out_channels, *encoder.grid_shape(side, side))
    found = tuple(encoder.eval()(torch.zeros(1, 3, side, side)).shape)
    encoder.train()
    if found != expected:
        raise ConfigError(
            f"The encoder {name} gives {found} for an image of {side}×{side} pixels; by its out_channels and "
            f"grid_shape it must be {expected}: a feature map (B, C, h, w)."
        )
