"""A detector of random weights behind the app."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder, cutting_of
from resgat_pl.explain.report.run_methods import DEFAULT, choose_methods

from ..report.conftest import checkpoint, media

__all__ = ["checkpoint", "media"]


@pytest.fixture(scope="module")
def judges(checkpoint: Path) -> Iterator[tuple[Examiner, FaceFinder]]:
    """What ``resgat app`` makes of a checkpoint."""
    weights = Detector.load(checkpoint)
    cutting, assumed = cutting_of(weights.provenance)
    cutting = replace(cutting, frames=3)
    finder = FaceFinder(cutting, 4, 120.0)
    yield Examiner(weights, cutting, assumed, choose_methods(DEFAULT)), finder
    finder.close()
