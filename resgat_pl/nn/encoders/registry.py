"""Encoders by name: torchvision's, timm's, those of installed packages, and class paths."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, cast

import torch

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.text import first_line
from resgat_pl.nn.encoders.base import WEIGHT_SOURCES, EncoderStage, GridEncoder
from resgat_pl.nn.encoders.timm_models import PREFIX, TimmEncoder
from resgat_pl.nn.encoders.torchvision_cnns import ENCODERS, Encoder

GROUP: Final = "resgat_pl.encoders"
"""Entry points of packages that add encoders: name → class or function of (name, weights, stage)."""
Provider = Callable[[str, str | Path | None, EncoderStage], GridEncoder]


def build_encoder(
    name: str, weights: str | Path | None = None, stage: EncoderStage = 4, image_size: int = 224
) -> GridEncoder:
    """Build an encoder by its name.

    Args:
        name: A name of torchvision (``resnet50``), ``timm/`` and a name of timm, the name of an entry point of the
            group ``resgat_pl.encoders`` with or without ``/`` and more, or the path of a class (``package.Class``).
        weights: Handed to the encoder.
        stage: Likewise.
        image_size: Side in pixels of an image that a class from outside is tried with.

    Raises:
        ConfigError: There is no such encoder, it cannot be made, or it is no ``GridEncoder``.
        WeightsError: The weights cannot be had, or do not fit.

    Example:
        >>> build_encoder("resnet18").out_channels
        512
    """
    builtin: Provider | None = Encoder if name in ENCODERS else TimmEncoder if _is_timm(name) else None
    owner = "torchvision's encoders" if builtin is Encoder else "encoders timm/NAME"
    if builtin is not None and weights in WEIGHT_SOURCES and WEIGHT_SOURCES[str(weights)] != owner:
        raise ConfigError(
            f"net.weights is {weights}, which only {WEIGHT_SOURCES[str(weights)]} have, and net.encoder is {name}: "
            f"set {' or '.join(source for source, whose in WEIGHT_SOURCES.items() if whose == owner)}, FILE or null."
        )
    if builtin is not None:
        return builtin(name, weights, stage)
    provider = _installed(name)
    if provider is None and _is_class_path(name):
        provider = _by_path(name)
    if provider is None:
        return Encoder(name, weights, stage)  # its error names those that are near
    try:
        encoder = provider(name, weights, stage)
        _check(encoder, name, image_size)
    except ResGATError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        raise ConfigError(f"The encoder {name} cannot be made ({first_line(error)}).") from error
    return encoder


def refuse_unknown_path(name: object) -> None:
    """Refuse to import a class because a file names it: a checkpoint may come from anybody.

    Names of this package, of timm and of installed packages' entry points pass, and a class of a module that the
    user's own code or configuration has imported.

    Raises:
        ConfigError: ``name`` is the path of another class, or no text.
    """
    if not isinstance(name, str):
        raise ConfigError(f"encoder is {name!r:.60}; it must be a name.")
    if _is_class_path(name) and name.rpartition(".")[0] not in sys.modules:
        raise ConfigError(
            f"its encoder is the class {name:.200}, which a file alone does not make this program import. If you trust "
            "it, name it yourself (--net.encoder, or import it in Python first), or install its package with an entry "
            f"point of the group {GROUP}."
        )


def _is_timm(name: str) -> bool:
    return name.startswith(PREFIX)


def _is_class_path(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def _installed(name: str) -> Provider | None:
    prefix = name.partition("/")[0]
    for point in entry_points(group=GROUP, name=prefix):
        try:
            return cast("Provider", point.load())
        except Exception as error:  # whatever somebody else's code raises
            package = point.dist.name if point.dist else point.value
            raise ConfigError(
                f"The encoder {name} is of the package {package}, which fails ({first_line(error)}). Fix or remove it."
            ) from error
    return None


def _by_path(name: str) -> Provider:
    module, _, attribute = name.rpartition(".")
    try:
        found: Any = getattr(import_module(module), attribute)
    except Exception as error:  # whatever somebody else's code raises
        raise ConfigError(
            f"The encoder {name} cannot be imported ({first_line(error)}). Check the path, and that its package is "
            "installed here or on PYTHONPATH."
        ) from error
    if not isinstance(found, type) or not issubclass(found, GridEncoder):
        raise ConfigError(f"The encoder {name} is no class derived from {GridEncoder.__module__}.GridEncoder.")
    return cast("Provider", found)


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
