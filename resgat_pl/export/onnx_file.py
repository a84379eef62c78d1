"""What is checked of, and written into, an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from resgat_pl.export.runtime import ExportedOutput

TOLERANCE: Final = 1e-4
"""Largest difference from the checkpoint, relative to the largest logit or to 1: float32 sums in another order."""


def additivity(found: ExportedOutput) -> float:
    """Largest difference between a logit and the sum of its contributions and bias."""
    return largest_difference(found.contribution.sum(1) + found.bias, found.logit)


def largest_difference(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Largest absolute difference between two arrays of one shape."""
    return float(np.abs(first - second).max())


def rewrite_properties(path: Path, properties: dict[str, Any]) -> None:
    """Write properties into ``metadata_props`` of an ``.onnx`` file, each value as JSON."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in properties.items()})
    onnx.save(model, path)
