"""Genuine faces that the values of an evidence sheet are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import REAL
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.explain.benchmark.faces import pixels
from resgat_pl.explain.report.evidence import Reference

MOST: Final = 200
"""Faces at most: percentiles are then known to about 3 points."""
_FEWEST: Final = 20


def genuine_faces(folder: Path, size: int) -> Reference:
    """The genuine faces with landmarks of extracted crops, up to ``MOST``, spread evenly over the table.

    Args:
        folder: Of the manifest.
        size: Side in px to which they are resized, that of the network.

    Raises:
        ConfigError: There are too few for percentiles.
    """
    manifest = Manifest.read(folder)
    genuine = manifest.column("label") == REAL
    known = np.array([points is not None for points in manifest.column("landmarks")], bool)
    rows = np.flatnonzero(genuine & known).astype(np.int64)
    if len(rows) < _FEWEST:
        raise ConfigError(
            f"--reference {folder} has {len(rows)} genuine faces with landmarks; percentiles need {_FEWEST} at least."
        )
    rows = rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)]
    crops = FaceCrops(manifest, rows, size)

    def faces() -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        table = np.array([list(points) for points in manifest.column("landmarks")[rows]], np.float32).reshape(-1, 5, 2)
        images = pixels(crops, list(range(len(rows)))).permute(0, 2, 3, 1).contiguous().numpy()
        return list(zip(images, table, strict=True))

    return Reference(faces, identity=manifest.fingerprint())
