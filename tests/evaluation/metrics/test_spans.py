"""Named spans, their overlap with the altered ones, and the threshold that names them."""

from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.evaluation.metrics.spans import (
    ScoredFace,
    best_run,
    choose_threshold,
    frame_auroc,
    mean_interval,
    overlap,
)


def face(score: list[float], altered: list[int], fake: bool = True, clip: int = 0) -> ScoredFace:
    """−1 in ``altered`` is unknown."""
    known = np.array(altered) >= 0
    return ScoredFace(np.array(score, float), np.array(altered) == 1, known, fake, clip)


def test_best_run_is_the_best_of_all_runs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        score = rng.normal(size=7)
        named = best_run(score, 0.2)
        sums = {
            (first, last): float((score[first:last] - 0.2).sum()) for first in range(7) for last in range(first + 1, 8)
        }
        most = max(sums.values())
        assert float((score[named] - 0.2).sum()) == pytest.approx(max(most, 0.0))
        places = np.flatnonzero(named)
        assert not len(places) or len(places) == places[-1] - places[0] + 1, "neighbours"


def test_overlap_leaves_unknown_frames_out() -> None:
    assert overlap(face([0, 2, 2, 2], [0, 1, 1, -1]), 1.0) == 1.0
    assert overlap(face([0, 2, 2, 2], [0, 1, 1, 0]), 1.0) == pytest.approx(2 / 3)
    assert overlap(face([0, 0], [0, 0], fake=False), 1.0) == 1.0
    assert overlap(face([0, 2], [0, 0], fake=False), 1.0) == 0.0


def test_threshold_counts_genuine_faces() -> None:
    fakes = [face([0.0, 3.0, 3.0, 0.0], [0, 1, 1, 0]), face([1.0, 5.0, 1.0, 1.0], [0, 1, 0, 0])]
    alone = choose_threshold(fakes)
    assert alone is not None
    assert all(overlap(one, alone) == 1.0 for one in fakes)
    loud = [face([2.0, 2.0, 2.0, 2.0], [0, 0, 0, 0], fake=False)]
    both = choose_threshold([*fakes, *loud])
    assert both is not None and both >= 2.0
    assert choose_threshold(loud) is None
    assert choose_threshold([face([0.0, 1.0], [1, 1])]) is None, "altered throughout"


def test_frame_auroc() -> None:
    assert frame_auroc(face([0, 1, 2, 3], [0, 0, 1, 1])) == 1.0
    assert frame_auroc(face([3, 9, 2, 0], [0, -1, 1, 1])) == 0.0
    assert np.isnan(frame_auroc(face([0, 1], [1, 1])))


def test_intervals_resample_genuine_clips() -> None:
    values = [0.0, 1.0] * 20
    apart = mean_interval(values, list(range(40)))
    together = mean_interval(sorted(values), [number // 4 for number in range(40)])
    assert apart.value == together.value == 0.5
    assert (apart.groups, together.groups) == (40, 10)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert not mean_interval([0.0, 1.0] * 9, [number // 2 for number in range(18)]).known, "nine clips are too few"
    assert not mean_interval([1.0] * 40, list(range(40))).known, "all resamples are alike"
    certain = mean_interval([1.0] * 40, list(range(40)), proportion=True)
    assert 0.9 < certain.low < 0.95 and certain.high == 1
