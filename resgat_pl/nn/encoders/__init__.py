"""Encoders: networks from an image to the feature map whose cells become the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.nn.encoders.base import GridEncoder as GridEncoder
    from resgat_pl.nn.encoders.registry import build_encoder as build_encoder
    from resgat_pl.nn.encoders.torchvision_cnns import Encoder as Encoder

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Encoder": "torchvision_cnns",
        "GridEncoder": "base",
        "build_encoder": "registry",
    },
)
