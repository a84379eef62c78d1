"""Two processes compute a cache together, each crop once, and train from it as from the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ..helpers.command import TINY, metrics, resgat

pytestmark = pytest.mark.long

TWO = ("--trainer.strategy", "ddp", "--trainer.devices", 2, "--net.train", "frozen", "--heatmaps.faces", 0)


def fit(crops: Path, root: Path, *more: object, expect: int = 0) -> str:
    place = ("--data.crops", crops, "--trainer.default_root_dir", root)
    return resgat("fit", "--config", TINY, *place, *TWO, *more, expect=expect)


def test_each_process_computes_a_share(ffpp_crops: Path, tmp_path: Path) -> None:
    cache = ("--data.features_cache", tmp_path / "features")
    said = fit(ffpp_crops, tmp_path / "cached", *cache)
    fit(ffpp_crops, tmp_path / "plain")
    keys = [np.load(path) for path in tmp_path.glob("features/*/*.keys.npy")]
    assert len(keys) == 2
    assert abs(len(keys[0]) - len(keys[1])) <= 1
    every = np.concatenate(keys)
    assert len(np.unique(every, axis=0)) == len(every)
    assert said.count("computing the features of") == 1
    assert metrics(tmp_path / "cached") == pytest.approx(metrics(tmp_path / "plain"), abs=1e-3)
    again = fit(ffpp_crops, tmp_path / "again", *cache)
    assert "computing the features of" not in again


def test_an_error_of_the_first_process_ends_both(ffpp_crops: Path, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    file = tmp_path / "features" / "x"
    file.touch()
    said = fit(ffpp_crops, tmp_path / "run", "--data.features_cache", file / "below", expect=2)
    assert "is no folder" in said
