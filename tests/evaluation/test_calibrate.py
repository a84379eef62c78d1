"""``resgat calibrate``: the pool is disjoint from all that the checkpoint has seen, and its file is read safely."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError, LeakageError, SplitError
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import IdentitySplit, divide
from resgat_pl.evaluation.calibrate import _pool, calibrate
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool, likelihood_path, pool_of
from resgat_pl.evaluation.train_test_overlap import videos_of
from resgat_pl.nn.checkpoint_file import file_fingerprint

from ..helpers.tiny_runs import untrained

HALVES = IdentitySplit(val=0.1, test=0.5)


def ratios_for(checkpoint: Path, crops: Path, **options) -> str:
    """Calibrate a random detector, whichever way its scores point."""
    return calibrate(checkpoint, crops, split=HALVES, **options)


@pytest.fixture(scope="module")
def calibrated(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random detector whose scores of fakes on the pool are higher by chance, with its file."""
    folder = tmp_path_factory.mktemp("calibrated")
    for seed in range(12):
        checkpoint = untrained(folder / f"{seed}.ckpt", ffpp_crops, split=HALVES, seed=seed)
        try:
            ratios_for(checkpoint, ffpp_crops)
        except SplitError:
            continue
        return checkpoint
    raise AssertionError("no seed gives ratios")


def test_the_file_is_beside_the_checkpoint_which_stays_as_it_is(calibrated: Path, ffpp_crops: Path) -> None:
    before = file_fingerprint(calibrated)
    said = ratios_for(calibrated, ffpp_crops)
    assert file_fingerprint(calibrated) == before
    assert "Cllr" in said and str(likelihood_path(calibrated)) in said
    pool, why = pool_of(calibrated, before)
    assert pool is not None and not why
    manifest = divide(Manifest.read(ffpp_crops), HALVES)
    tested = videos_of(manifest, "test")
    assert all(map(pool.knows, tested))
    assert not any(map(pool.knows, videos_of(manifest, "train")))
    video = pool.ratios["video"] or pool.ratios["frame"]
    assert video is not None
    assert 0 <= video.high <= np.log10(video.real + 1)


def test_a_share_leaves_whole_groups_of_people_for_the_test(ffpp_crops: Path) -> None:
    manifest = divide(Manifest.read(ffpp_crops), HALVES)
    whole = {video.key for video in videos_of(_pool(manifest, "test", 1.0), "test")}
    part = videos_of(_pool(manifest, "test", 0.6), "test")
    assert 0 < len(part) < len(whole)
    people = {name for video in part for name in video.identities}
    left = [video for video in videos_of(manifest, "test") if video.key not in {one.key for one in part}]
    assert not any(people & set(video.identities) for video in left)
    assert len(videos_of(_pool(manifest, "all", 1.0), "test")) == len(manifest.videos())


def test_a_pool_that_the_checkpoint_has_seen_is_refused(calibrated: Path, ffpp_crops: Path) -> None:
    with pytest.raises(LeakageError, match="training split"):
        calibrate(calibrated, ffpp_crops, part="all")
    with pytest.raises(LeakageError, match="validation split"):
        calibrate(untrained(calibrated.with_name("v.ckpt"), ffpp_crops), ffpp_crops, split=HALVES)
    with pytest.raises(ConfigError, match="--share is 0"):
        ratios_for(calibrated, ffpp_crops, share=0)


def test_a_missing_stale_or_broken_file_is_no_ratio(calibrated: Path, tmp_path: Path) -> None:
    found, why = pool_of(tmp_path / "other.ckpt", "00")
    assert found is None and "resgat calibrate" in why
    found, why = pool_of(calibrated, "ff" * 32)
    assert found is None and "another checkpoint" in why
    content = json.loads(likelihood_path(calibrated).read_text())
    broken = tmp_path / "a.likelihood.json"
    for wrong in ("", "[]", json.dumps({**content, "ratios": 3}), json.dumps({**content, "schema": 2})):
        broken.write_text(wrong)
        with pytest.raises(ConfigError, match=r"a\.likelihood\.json"):
            LikelihoodPool.read(broken)
