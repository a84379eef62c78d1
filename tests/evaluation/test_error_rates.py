"""Error rates by stratum: counts of the test, Wilson's intervals, found for the right checkpoint only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.error_rates import (
    EVERYTHING,
    FACES,
    KIND,
    SIZE,
    ErrorRate,
    error_rates,
    find_rates,
    plain,
    rates_like,
    size_stratum,
)
from resgat_pl.evaluation.metrics.scores import Predictions
from resgat_pl.evaluation.train_test_overlap import videos_of


@pytest.fixture(scope="module")
def rates(ffpp_crops: Path) -> list[ErrorRate]:
    """Of the test split, with scores that are wrong for every third video."""
    manifest = Manifest.read(ffpp_crops)
    videos = videos_of(manifest, "test")
    label = np.array([video.label for video in videos])
    wrong = np.arange(len(videos)) % 3 == 0
    score = np.where(wrong, 0.9 - 0.8 * label, 0.1 + 0.8 * label)
    scored = Predictions(score, label, label.astype(object), np.arange(len(videos)), np.arange(len(videos)) // 2)
    return error_rates(manifest, [video.key for video in videos], scored, 0.5)


def test_strata_add_up_to_all(rates: list[ErrorRate], ffpp_crops: Path) -> None:
    whole = rates[0]
    videos = videos_of(Manifest.read(ffpp_crops), "test")
    assert whole.stratum == EVERYTHING and whole.real + whole.fake == len(videos)
    assert whole.false_alarms + whole.missed == len(range(0, len(videos), 3))
    for stratum in (SIZE, FACES, KIND):
        parts = [rate for rate in rates if rate.stratum == stratum]
        assert parts
        assert sum(rate.fake for rate in parts) == whole.fake, stratum
        assert sum(rate.missed for rate in parts) == whole.missed, stratum
    assert whole.fnr is not None
    value, low, high = whole.fnr
    assert low <= value == whole.missed / whole.fake <= high
    assert f"{whole.missed} of {whole.fake} fakes missed" in whole.text


def test_wilson_counts_clips_once() -> None:
    one = ErrorRate.read({**plain_rate(), "fpr": [0.1, 0.02, 0.4]})
    assert "10 independent clips" in one.text
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        ErrorRate.read({**plain_rate(), "fpr": [2, 0, 1]})


def plain_rate() -> dict[str, object]:
    return {
        **{"stratum": "all", "value": "all", "real": 20, "false_alarms": 2, "fpr": None, "real_clips": 10},
        **{"fake": 0, "missed": 0, "fnr": None, "fake_clips": 0},
    }


def test_a_file_gets_its_own_strata(rates: list[ErrorRate]) -> None:
    sizes = [rate.value for rate in rates if rate.stratum == SIZE]
    side = next(side for side in range(20, 400) if size_stratum(side) == sizes[0])
    mine = rates_like(rates, side, 1)
    assert [rate.value for rate in mine if rate.stratum == SIZE] == [sizes[0]]
    assert {rate.value for rate in mine if rate.stratum == FACES} <= {"1 face"}
    assert sum(rate.stratum == KIND for rate in mine) == sum(rate.stratum == KIND for rate in rates)
    assert not [rate for rate in rates_like(rates, 9999, 1) if rate.stratum == SIZE]


def test_rates_are_those_of_the_very_checkpoint(rates: list[ErrorRate], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    folder = tmp_path / "test"
    folder.mkdir()
    assert "unknown" in find_rates(checkpoint, "aa")[1]
    (folder / "results.json").write_text(
        json.dumps({"checkpoint_sha256": "aa", "error_rates": plain(rates), "leaky": ["identity"]})
    )
    found, said = find_rates(checkpoint, "aa")
    assert found == rates and "identity" in said
    assert find_rates(checkpoint, "bb")[0] == []
    (folder / "results.json").write_text(json.dumps({"checkpoint_sha256": "aa", "error_rates": [{"stratum": 1}]}))
    assert find_rates(checkpoint, "aa")[0] == []
