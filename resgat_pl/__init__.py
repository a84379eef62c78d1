"""ResGAT: deepfake detection on a graph of face regions, with explanations that add up.

``import resgat_pl`` loads neither torch nor lightning; the names below are imported when first used.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.core.errors import ResGATError as ResGATError
    from resgat_pl.data.datamodule import FaceDataModule as FaceDataModule
    from resgat_pl.evaluation.detector import Detector as Detector
    from resgat_pl.nn.resgat import ResGAT as ResGAT
    from resgat_pl.training.module import ResGATModule as ResGATModule


try:
    __version__ = version("resgat-pl")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+unknown"

_MALICIOUS = ("2.6.2", "2.6.3")
"""Releases of lightning that were a supply-chain attack: they steal credentials as soon as they are imported."""


def _refuse_malicious() -> None:
    try:
        found = version("lightning")
    except PackageNotFoundError:
        return
    if found in _MALICIOUS:
        raise ImportError(
            f"lightning {found} is installed, a release with malicious code; it was not imported. Remove it "
            "(pip uninstall lightning), install another (pip install 'lightning!=2.6.2,!=2.6.3'), and change every "
            "password and token that this machine knows."
        )


_refuse_malicious()
# Else it asks a package index for its newest version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def _concerns_drawing(record: logging.LogRecord) -> bool:
    """Test that a line of matplotlib's is not about its cache: torchmetrics imports it, also where nothing is drawn."""
    return record.levelno > logging.WARNING or not any(
        part in str(record.msg) for part in ("cache", "mkdir -p failed", "not a writable directory")
    )


for _name in ("matplotlib", "matplotlib.font_manager"):  # a service's account has no home that it could write to
    logging.getLogger(_name).addFilter(_concerns_drawing)

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Detector": "evaluation.detector",
        "FaceDataModule": "data.datamodule",
        "ResGAT": "nn.resgat",
        "ResGATError": "core.errors",
        "ResGATModule": "training.module",
    },
)
