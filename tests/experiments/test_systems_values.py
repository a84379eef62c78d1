"""Numbers of ``make systems`` under resamples, and the files behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from systems_values import around, evaluated, faces_of, packed, ratio, stored, unpacked

from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import POOLED, Predictions


def predictions() -> Predictions:
    rng = np.random.default_rng(0)
    label = np.tile([0, 1, 1], 20)
    probability = np.clip(0.35 * label + rng.random(60) * 0.6, 0, 1)
    method = np.array(["original", "Deepfakes", "FaceSwap"] * 20, object)
    return Predictions(probability, label, method, np.arange(60), np.repeat(np.arange(20), 3))


def test_precision_and_recall_are_those_of_counting() -> None:
    found = predictions()
    table = evaluated({"video": found}, {"video": 0.4})
    for method in (POOLED, "FaceSwap"):
        some = (found.label == 0) | (found.method == method) | (method == POOLED)
        called, fake = found.probability[some] > 0.4, found.label[some] == 1
        values = table["video", method].resamples
        assert values["precision"][0] == pytest.approx((called & fake).sum() / called.sum())
        assert values["recall"][0] == pytest.approx((called & fake).sum() / fake.sum())
        assert values["precision"].shape == values["auroc"].shape


def test_precision_is_resampled_like_the_other_metrics() -> None:
    """F1 of each resample follows from precision and recall of the same resample."""
    values = evaluated({"video": predictions()}, {"video": 0.4})["video", POOLED].resamples
    p, r = values["precision"], values["recall"]
    np.testing.assert_allclose(2 * p * r / (p + r), values["f1_fake_at_val"])


def test_a_ratio_leaves_out_what_is_undefined() -> None:
    found = ratio(np.array([1.0, np.nan, 3.0]), np.array([2.0, 5.0, 2.0]), np.array([0, 1, 1]), 2)
    assert found.values[0] == 1.0
    assert found.clips == 2
    assert set(np.round(found.values[1:], 3)) == {0.5, 1.0, 1.5}


def test_predictions_come_back_from_their_file(tmp_path: Path) -> None:
    found, made = predictions(), []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return packed({"frame": found, "video": found})

    for _ in range(2):
        back = unpacked(stored(tmp_path / "a" / "b.npz", make))
        for one, other in zip(back["video"], found, strict=True):
            assert np.array_equal(one, other)
    assert made == [1], "what is stored is not computed again"


def test_faces_of_a_timeline(tmp_path: Path) -> None:
    head = "dataset,method,compression,video,track,frame_index,time,altered,label,score"
    fake = [f"ffpp,Deepfakes,c23,a_b,0,{at},0,{state},1,{at}" for at, state in ((2, "True"), (0, "False"), (1, ""))]
    real = [f"ffpp,original,c23,a,0,{at},0,,0,-{at}" for at in range(2)]
    file = tmp_path / "frames.csv"
    file.write_text("\n".join([head, *fake, *real]) + "\n")
    codes = {("ffpp", "Deepfakes", "c23", "a_b"): 4, ("ffpp", "original", "c23", "a"): 4}
    one, other = faces_of(file, codes)
    assert one.score.tolist() == [0.0, 1.0, 2.0]
    assert one.altered.tolist() == [False, False, True]
    assert one.known.tolist() == [True, False, True]
    assert (one.in_part, one.fake, one.clip) == (True, True, 4)
    assert (other.fake, other.known.tolist()) == (False, [True, True])


def test_without_common_resamples_the_widest_ends_count() -> None:
    found = around([Interval(0.5, 0.4, 0.6, 20), Interval(0.7, 0.65, 0.8, 30)])
    assert found == Interval(pytest.approx(0.6), 0.4, 0.8, 20)
    assert not around([Interval(0.5, 0.4, 0.6, 20), Interval(0.7)]).known
