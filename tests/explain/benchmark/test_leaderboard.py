"""The arithmetic of the leaderboard: means, intervals, gains, differences, its tables and its plot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.rank import spearman
from resgat_pl.explain.benchmark.command import explainers
from resgat_pl.explain.benchmark.leaderboard import (
    FaceScores,
    LeaderboardRow,
    as_csv,
    differences,
    rank_floor,
    ranked,
    summarise,
)
from resgat_pl.explain.benchmark.leaderboard_plot import draw_leaderboard
from resgat_pl.explain.benchmark.scores import ORACLE


def entry(scores: dict[str, list[float]], label: str = "a", checkpoint: str = "0", **other: Any) -> FaceScores:
    count = len(next(iter(scores.values())))
    return FaceScores(
        label=label,
        checkpoint=checkpoint,
        method=other.get("method", "Contribution"),
        group=np.array(other.get("group", [f"v{i}" for i in range(count)]), object),
        kind=np.array(other.get("kind", ["k"] * count), object),
        weight=np.array(other.get("weight", [1.0] * count)),
        scores={name: np.array(values) for name, values in scores.items()},
        cost={"forward": 1, "backward": 0, "graph": 0, "ms": 1.0, "gap": math.nan},
        traits={},
        **{name: other[name] for name in ("extent", "genuine", "genuine_group") if name in other},
    )


def pooled(lines: list[LeaderboardRow]) -> dict[tuple[str, str], LeaderboardRow]:
    return {(line.kind, line.score): line for line in lines if line.checkpoint == "all" and line.extent == "all"}


def test_means_leave_out_what_was_not_measured() -> None:
    nan = math.nan
    found = pooled(summarise([entry({"auroc": [0.2, nan, 0.6, nan]}, kind=["p", "p", "q", "q"])]))
    assert found["all", "auroc"].value.value == pytest.approx(0.4)
    assert found["all", "auroc"].faces == 2
    assert found["p", "auroc"].value.value == pytest.approx(0.2)
    assert ("all", "mass") not in found


def test_restoration_counts_a_face_by_its_gap() -> None:
    found = pooled(summarise([entry({"restoration": [0.1, 40.0], "auroc": [0, 1]}, weight=[9.99, 0.01])]))
    assert found["all", "restoration"].value.value == pytest.approx((0.1 * 9.99 + 40 * 0.01) / 10)
    assert found["all", "auroc"].value.value == 0.5


def test_faces_of_one_video_are_resampled_together() -> None:
    values = list(np.linspace(0, 1, 12))
    apart = pooled(summarise([entry({"auroc": values})]))["all", "auroc"].value
    together = pooled(summarise([entry({"auroc": values}, group=["v"] * 12)]))["all", "auroc"].value
    assert str(together) == "50.00 (n = 1)"
    assert apart.low < 0.45
    assert apart.high > 0.55


def test_seeds_widen_the_interval() -> None:
    one = [entry({"auroc": [0.5] * 12})]
    three = [entry({"auroc": [value] * 12}, checkpoint=str(value)) for value in (0.3, 0.5, 0.7)]
    flat, wide = (pooled(summarise(entries))["all", "auroc"].value for entries in (one, three))
    assert flat.plain() == pytest.approx([0.5, None, None]), "all alike: nothing to draw from"
    assert wide.value == pytest.approx(0.5)
    # Resamples of three seeds vary by two thirds of what seeds do.
    assert wide.low == pytest.approx(0.5 - 0.2 * math.sqrt(1.5))
    assert wide.high == pytest.approx(0.5 + 0.2 * math.sqrt(1.5))


def test_gain_is_against_the_best_baseline_on_the_same_faces() -> None:
    nan = math.nan
    lines = summarise(
        [
            entry({"auroc_face": [0.9, 0.1, 0.5]}, method="MeanMask"),
            entry({"auroc_face": [0.4, 0.4, 0.4]}, method="Random"),
            entry({"auroc_face": [1.0, nan, nan]}),
        ]
    )
    gains = {line.method: line.value.value for line in lines if line.score == "gain" and line.checkpoint == "all"}
    assert gains == pytest.approx({"MeanMask": 0, "Random": -0.1, "Contribution": 0.1})
    assert ranked(lines, "a") == ["Contribution", "MeanMask", "Random"]


def test_gain_over_the_priors_is_face_by_face() -> None:
    rng = np.random.default_rng(0)
    prior, noise = rng.random(20), rng.normal(0, 0.01, 20)
    found = summarise(
        [
            entry({"iou": prior.tolist()}, method="CentrePrior"),
            entry({"iou": (prior + 0.1 + noise).tolist()}),
        ]
    )
    gain = {line.method: line.value for line in found if line.score == "iou_over_centre" and line.checkpoint == "all"}
    assert gain["CentrePrior"].value == 0
    assert gain["Contribution"].value == pytest.approx(0.1 + noise.mean())
    assert gain["Contribution"].high - gain["Contribution"].low < 0.02  # paired: what faces differ by is not in it
    assert not any(line.score == "iou_over_mean" for line in found)


def silent(top: list[float], genuine: list[float], **other: Any) -> dict[tuple[str, str], LeaderboardRow]:
    """Silence of a method with these highest nodes of fakes and of genuine faces."""
    named = {"top": np.array(genuine), "total": 2 * np.array(genuine), "false_regions": np.array(genuine) > 0.5}
    clips = np.array([f"v{i}" for i in range(len(genuine))], object)
    given = {"genuine": {k: v.astype(float) for k, v in named.items()}, "genuine_group": clips, **other}
    return pooled(summarise([entry({"top": top, "total": top}, **given)]))


def test_silence_is_the_ratio_of_the_medians() -> None:
    found = silent([1.0, 2.0, 4.0, 9.0], [0.3, 0.9, 0.1])
    assert found["all", "silence_top"].value.value == pytest.approx(0.3 / 3)
    assert found["all", "silence_sum"].value.value == pytest.approx(0.6 / 3)
    assert found["all", "false_regions"].value.value == pytest.approx(1 / 3)
    assert found["all", "silence_top"].faces == 4
    assert found["all", "false_regions"].faces == 3


def test_silence_has_an_interval_that_holds_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(40):
        tops, genuine = np.exp(rng.normal(0, 0.5, 60)), 0.3 * np.exp(rng.normal(0, 0.5, 60))
        value = silent(tops.tolist(), genuine.tolist())["all", "silence_top"].value
        held += value.low <= 0.3 <= value.high
    assert held >= 34  # 38 expected; fewer than 34 in one of a hundred


def test_silence_is_perfect_or_blank_where_nothing_is_named() -> None:
    assert silent([1.0, 2.0], [-0.5, -0.1])["all", "silence_top"].value.value == 0
    assert math.isnan(silent([-1.0, -2.0], [0.5, 0.1])["all", "silence_top"].value.value)
    assert ("all", "silence_top") not in silent([1.0, 2.0], [])


def test_whole_face_and_part_forgeries_have_lines_of_their_own() -> None:
    values, extent = [0.2, 0.4, 0.9, 0.7], np.array(["part", "part", "whole", ""], object)
    genuine = {"top": np.array([0.2]), "total": np.array([0.2])}
    given = entry(
        {"iou": values, "top": [1.0, 1.0, 4.0, 2.0], "total": [1.0] * 4},
        extent=extent,
        genuine=genuine,
        genuine_group=np.array(["w"], object),
    )
    lines = [line for line in summarise([given]) if line.checkpoint == "all" and line.kind == "all"]
    found = {(line.extent, line.score): line.value.value for line in lines}
    assert found["all", "iou"] == pytest.approx(np.mean(values))
    assert found["part", "iou"] == pytest.approx(0.3)
    assert found["whole", "iou"] == pytest.approx(0.9)
    assert found["whole", "silence_top"] == pytest.approx(0.2 / 4)
    assert found["part", "silence_top"] == pytest.approx(0.2)


def test_sufficiency_counts_a_face_by_its_gap() -> None:
    found = pooled(summarise([entry({"sufficiency": [0.5, -30.0]}, weight=[9.99, 0.01])]))
    assert found["all", "sufficiency"].value.value == pytest.approx((0.5 * 9.99 - 30 * 0.01) / 10)


def test_restoration_beside_the_baselines_counts_a_face_by_its_gap() -> None:
    weight = [3.0, 1.0]
    found = summarise(
        [
            entry({"restoration": [0.5, 0.5]}, method="Random", weight=weight),
            entry({"restoration": [0.1, 0.9]}, weight=weight),
        ]
    )
    excess = {line.method: line.value.value for line in found if line.score == "restoration_over_random"}
    assert excess == pytest.approx({"Random": 0, "Contribution": (-0.4 * 3 + 0.4) / 4})


def test_detectors_are_compared_face_by_face() -> None:
    rng = np.random.default_rng(0)
    one, noise = rng.random(20), rng.normal(0, 0.01, 20)
    entries = [entry({"auroc": one.tolist()}), entry({"auroc": (one + 0.1 + noise).tolist()}, label="b")]
    (line,) = differences(entries)
    assert (line.label, line.checkpoint, line.method, line.score, line.faces) == (
        "b",
        "− a",
        "Contribution",
        "auroc",
        20,
    )
    assert line.value.value == pytest.approx(0.1 + noise.mean())
    assert line.value.high - line.value.low < 0.02  # paired: what faces differ by is not in it
    assert line.value.groups == 20
    other = entry({"auroc": one.tolist()}, label="c", group=[f"w{i}" for i in range(20)])
    assert differences([entries[0], other]) == []  # other faces


@pytest.mark.parametrize("nodes", [16, 49, 196])
def test_the_floor_of_rank_correlations_is_that_of_unrelated_maps(nodes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(4000, nodes, generator=generator) for _ in range(2))
    assert rank_floor(nodes) == pytest.approx(float(spearman(one, other).abs().mean()), rel=0.05)


def test_csv_leaves_undefined_values_empty() -> None:
    line = LeaderboardRow("a", "all", "m", "all", "auroc", Interval(0.5, groups=2), 3)
    assert as_csv([line]).splitlines()[1] == "a,all,m,all,all,auroc,0.500000,,,2,3"


def test_the_plot_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    names = [*explainers(), ORACLE]
    ms = {("a", name): float(np.exp(rng.normal(3, 0.5))) for name in names}
    lines = []
    for name in names[1:]:
        for score, value in zip(("auroc_face", "flips"), rng.uniform(0.6, 0.7, 2).tolist(), strict=True):
            lines.append(LeaderboardRow("a", "all", name, "all", score, Interval(value, value - 0.01, value + 0.01), 9))
    lines.append(LeaderboardRow("a", "all", names[0], "all", "flips", Interval(0.5), 9))  # without an interval
    png = draw_leaderboard(lines, ms)
    assert png == draw_leaderboard(lines, ms)
    assert png.startswith(b"\x89PNG")
