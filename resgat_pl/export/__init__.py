"""A detector as one file (ONNX, torch.export, safetensors, int8), and its runtime, which needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.export.command import export as export
    from resgat_pl.export.runtime import ExportedDetector as ExportedDetector, ExportedOutput as ExportedOutput

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ExportedDetector": "runtime",
        "ExportedOutput": "runtime",
        "export": "command",
    },
)
