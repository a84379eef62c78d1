"""ResGAT: deepfake detection on a graph of face regions, with explanations that add up.

``import resgat_pl`` loads neither torch nor lightning; the names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resgat_pl.data.datamodule import FaceDataModule
    from resgat_pl.module import ResGATModule
    from resgat_pl.nn.resgat import ResGAT

__all__ = ["FaceDataModule", "ResGAT", "ResGATModule", "__version__"]

try:
    __version__ = version("resgat-pl")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+unknown"

_LAZY = {
    "FaceDataModule": "resgat_pl.data.datamodule",
    "ResGAT": "resgat_pl.nn.resgat",
    "ResGATModule": "resgat_pl.module",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
