"""A random detector with thresholds, as if it had been trained on the training split of ``ffpp_crops``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..helpers.tiny_runs import untrained

THRESHOLDS = {"frame": 0.25, "video": 0.75}


@pytest.fixture(scope="session")
def checkpoint(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("weights") / "a.ckpt", ffpp_crops, thresholds=THRESHOLDS)
