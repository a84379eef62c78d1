from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn import metrics as reference
from torch import Tensor

from resgat_pl.core.types import Level
from resgat_pl.evaluation.metrics.binary import METRICS, best_threshold, measure
from resgat_pl.evaluation.metrics.torch_metrics import DetectionMetrics, detection_metrics, video_scores


def random_frames(seed: int, videos: int = 12) -> dict[str, Tensor]:
    """Frames of videos with one to three faces, in random order."""
    rng = np.random.default_rng(seed)
    rows = []
    track = 0
    for video in range(videos):
        label = int(rng.integers(2)) if video > 1 else video
        for _ in range(rng.integers(1, 4)):
            rows += [(float(rng.normal(0, 3)), label, video, track) for _ in range(rng.integers(1, 5))]
            track += 1
    order = rng.permutation(len(rows))
    logit, label_, video_, track_ = (np.array(column)[order] for column in zip(*rows, strict=True))
    return {
        "logit": torch.tensor(logit, dtype=torch.float32),
        "label": torch.tensor(label_, dtype=torch.float32),
        "row": torch.arange(len(rows)),
        "video": torch.tensor(video_),
        "track": torch.tensor(track_),
    }


def by_hand(frames: dict[str, Tensor], level: Level) -> tuple[list[float], list[int]]:
    """The definition, spelt out: mean over a track, maximum over a video's tracks."""
    values = {name: tensor.tolist() for name, tensor in frames.items()}
    values["probability"] = [1 / (1 + math.exp(-logit)) for logit in values["logit"]]
    if level == "frame":
        return values["probability"], [int(label) for label in values["label"]]
    tracks: dict[int, dict[int, list[float]]] = {}
    labels: dict[int, int] = {}
    for p, y, v, t in zip(*(values[n] for n in ("probability", "label", "video", "track")), strict=True):
        tracks.setdefault(v, {}).setdefault(t, []).append(p)
        labels[v] = int(y)
    return [max(sum(ps) / len(ps) for ps in tracks[v].values()) for v in labels], list(labels.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_equals_scikit_learn(seed: int) -> None:
    frames = random_frames(seed)
    metrics = detection_metrics()
    metrics.update(**frames)
    found = metrics.compute()
    for level in ("frame", "video"):
        probability, label = by_hand(frames, level)
        called = [int(p > 0.5) for p in probability]
        expected = {
            "f1_fake": reference.f1_score(label, called, zero_division=0),
            "f1_real": reference.f1_score(label, called, pos_label=0, zero_division=0),
            "auroc": reference.roc_auc_score(label, probability),
            "accuracy": reference.accuracy_score(label, called),
            "balanced_accuracy": reference.balanced_accuracy_score(label, called),
            "ap": reference.average_precision_score(label, probability),
            "log_loss": reference.log_loss(label, probability),
        }
        expected |= {
            name: value
            for name, value in measure(np.array(probability), np.array(label)).items()
            if name in {"eer", "ece"}  # scikit-learn has none; test_binary has its own
        }
        assert expected.keys() == set(METRICS)
        for name, value in expected.items():
            assert found[f"{level}_{name}"].dtype == torch.float64
            assert float(found[f"{level}_{name}"]) == pytest.approx(value, abs=1e-6), (level, name)
        wanted = best_threshold(np.array(probability), np.array(label))
        assert metrics[level].best_threshold == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_batches_order_and_repetition_do_not_matter(seed: int, batches: int) -> None:
    frames = random_frames(seed)
    whole, parts = detection_metrics(), detection_metrics()
    whole.update(**frames)
    count = len(frames["row"])
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    order = torch.cat([order, order[: count // 3]])  # what a padding sampler would repeat
    for part in order.chunk(batches):
        parts.update(**{name: values[part] for name, values in frames.items()})
    a, b = whole.compute(), parts.compute()
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
    for level in ("frame", "video"):
        assert whole[level].best_threshold == parts[level].best_threshold
        assert whole[level].temperature == parts[level].temperature


def test_one_class_is_undefined_not_a_crash() -> None:
    frames = random_frames(0)
    frames["label"] = torch.zeros_like(frames["label"])
    metrics = detection_metrics()
    metrics.update(**frames)
    found = metrics.compute()
    assert found["frame_auroc"].isnan()
    assert found["video_auroc"].isnan()
    undefined = {name for name in METRICS if found[f"frame_{name}"].isnan()}
    assert undefined == {"auroc", "ap", "eer", "balanced_accuracy"}
    assert found["frame_f1_fake"] == 0
    for metric in metrics.values():
        assert metric.best_threshold is metric.temperature is None, "nothing was chosen"
    assert metrics["video"].validation.fake == 0


def test_a_fake_second_face_makes_the_video_fake() -> None:
    video, track = np.array([9, 4, 4, 4, 4]), np.array([2, 0, 0, 1, 1])
    found = video_scores(np.array([0.2, 0.1, 0.1, 0.9, 0.7]), video, track)
    assert found.probability == pytest.approx([0.8, 0.2])
    assert video[found.first].tolist() == [4, 9]
    assert found.tracks.tolist() == [2, 1]
    assert found.track_probability == pytest.approx([0.1, 0.8, 0.2])
    assert track[found.track_first].tolist() == [0, 1, 2]


def test_prefix_and_clones_do_not_share_state() -> None:
    base = detection_metrics()
    val, test = base.clone(prefix="val/"), base.clone(prefix="test/")
    val.update(**random_frames(0))
    assert set(val.compute()) == {f"val/{level}_{name}" for level in ("frame", "video") for name in METRICS}
    assert not test["frame"].row


def test_the_threshold_decides_what_is_called_fake() -> None:
    frames = random_frames(1)
    probability, label = by_hand(frames, "video")
    for threshold in (0.2, 0.9):
        metric = DetectionMetrics("video", threshold)
        metric.update(**frames)
        wanted = measure(np.array(probability), np.array(label), threshold)
        found = {name.removeprefix("video_"): float(value) for name, value in metric.compute().items()}
        assert found == pytest.approx(wanted, abs=1e-6)
        assert metric.best_threshold == pytest.approx(best_threshold(np.array(probability), np.array(label)))


@pytest.mark.parametrize("level", ["frame", "video"])
@pytest.mark.parametrize(
    ("logit", "label", "loss"),
    [(-30.0, 1, 30.0), (30.0, 0, 30.0), (25.0, 0, 25.0), (30.0, 1, 0.0), (-30.0, 0, 0.0)],
)
def test_log_loss_of_confident_logits_is_exact(level: Level, logit: float, label: int, loss: float) -> None:
    metric = DetectionMetrics(level)
    same = torch.zeros(4, dtype=torch.int64)
    metric.update(torch.full((4,), logit), torch.full((4,), float(label)), torch.arange(4), same, same)
    # a float32 probability would be 1 from a logit of 17 on; a float64 one of 1 - 1e-13 has three digits left
    assert float(metric.compute()[f"{level}_log_loss"]) == pytest.approx(loss, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_certain_predictions_have_a_finite_loss(dtype: torch.dtype) -> None:
    metrics = detection_metrics()
    count = torch.arange(4)
    logit = torch.tensor([6e4, -6e4, float("inf"), -float("inf")], dtype=dtype)
    metrics.update(logit, torch.tensor([0.0, 1.0, 1.0, 0.0]), count, count, count)
    found = metrics.compute()
    assert all(value.isfinite() for value in found.values())
    assert float(found["video_log_loss"]) == pytest.approx(-math.log(np.finfo(np.float64).eps) / 2)


def test_empty_before_the_first_update_and_after_a_reset() -> None:
    metric = DetectionMetrics("frame")
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute() == {}
    assert metric.best_threshold is metric.temperature is None
    metric.update(**random_frames(0))
    assert len(metric.compute()) == len(METRICS)
    metric.reset()
    metric.update(**random_frames(1))
    other = DetectionMetrics("frame")
    other.update(**random_frames(1))
    assert metric.compute() == other.compute()
    assert metric.best_threshold == other.best_threshold
