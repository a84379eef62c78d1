"""Ratios of a test: the pool is left out, coverage and errors are counts of verdicts, plots have the points."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.likelihood_plots import FIGURES, TABLE, write_ratio_plots
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool, hashes_of
from resgat_pl.evaluation.likelihood_results import BOUNDS, LevelRatios, ratios_of_test
from resgat_pl.evaluation.metrics.likelihood import LikelihoodRatios, decisions
from resgat_pl.evaluation.metrics.scores import Predictions

RATIOS = LikelihoodRatios(1.0, 0.0, -2.0, 2.0, 200, 200, 0.3, 0.3)


def level(count: int = 400, seed: int = 0) -> LevelRatios:
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    score = expit(rng.normal(3.0 * (2 * label - 1), 2))
    return LevelRatios("video", RATIOS.log10_of(score), score, label, np.arange(count), 0.5)


def test_coverage_falls_and_so_do_the_errors() -> None:
    found = level()
    table = found.plain()["bounds"]
    assert [row["bound"] for row in table] == list(BOUNDS)
    coverage = [row["coverage"] for row in table]
    assert coverage == sorted(coverage, reverse=True) and coverage[0] == 1 and coverage[-1] == 0  # 1,000 is above 10**2
    said = decisions(found.score, found.value, 0.5, 10.0)
    at_ten = found.at(10.0)
    for name, label in (("real", 0), ("fake", 1)):
        mine = found.label == label
        assert at_ten[name]["wrong"] == int((said[mine] == 1 - label).sum())
        assert at_ten[name]["inconclusive"] + at_ten[name]["decided"] == int(mine.sum())
        value, low, high = at_ten[name]["error"]
        assert low <= value <= high and value < found.at(1.0)[name]["error"][0]


def test_a_ratio_against_the_threshold_decides_nothing() -> None:
    assert decisions(np.array([0.6]), np.array([-3.0]), 0.5, 1.0).tolist() == [-1]
    assert decisions(np.array([0.6]), np.array([0.0]), 0.5, 1.0).tolist() == [1]


def test_videos_of_the_pool_and_their_people_are_left_out(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    videos = manifest.videos()
    keys = [video.key for video in videos]
    count, label = len(videos), np.array([video.label for video in videos])
    whole = Predictions(np.linspace(0.1, 0.9, count), label, label.astype(object), np.arange(count), np.arange(count))

    def tested(known: list[Any]) -> Any:
        pool = LikelihoodPool("00", {"frame": None, "video": RATIOS}, "some", None, {}, *hashes_of(known))
        return ratios_of_test(pool, manifest, keys, {"video": whole, "frame": whole}, None)

    none, one = tested([]), tested(videos[:1])
    assert none.left_out == 0 and len(none.levels[0].label) == count
    related = [video for video in videos if set(video.identities) & set(videos[0].identities)]
    assert one.left_out >= len(related) > 1
    assert len(one.levels[0].label) == count - one.left_out
    every = tested(videos)
    assert every.levels == [] and "no videos of both classes" in every.text()
    assert "inconclusive between" in none.text()


def test_plots_have_their_points_and_go_with_the_ratios(tmp_path: Path) -> None:
    found = level(60)
    write_ratio_plots(tmp_path, [found])
    with (tmp_path / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        mine = found.label == (row["class"] == "fake")
        above = float((found.value[mine] > float(row["log10_lr"]) + 1e-6).mean())
        assert float(row["share_above"]) == pytest.approx(above, abs=1e-6)
    first = (tmp_path / "tippett.png").read_bytes()
    write_ratio_plots(tmp_path, [found])
    assert (tmp_path / "tippett.png").read_bytes() == first
    write_ratio_plots(tmp_path, [])
    assert not any((tmp_path / f"{name}.png").exists() for name in FIGURES)
