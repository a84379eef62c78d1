"""Errors, records, files, processes and text, without anything about faces: the base of every other room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.core.errors import (
        ConfigError as ConfigError,
        LeakageError as LeakageError,
        ManifestError as ManifestError,
        MediaError as MediaError,
        ResGATError as ResGATError,
        SplitError as SplitError,
        StorageError as StorageError,
        WeightsError as WeightsError,
    )
    from resgat_pl.core.types import VideoRecord as VideoRecord

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ConfigError": "errors",
        "LeakageError": "errors",
        "ManifestError": "errors",
        "MediaError": "errors",
        "ResGATError": "errors",
        "SplitError": "errors",
        "StorageError": "errors",
        "VideoRecord": "types",
        "WeightsError": "errors",
    },
)
