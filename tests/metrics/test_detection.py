from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor

from resgat_pl.metrics.detection import detection_metrics, video_scores
from resgat_pl.types import Level


def random_frames(seed: int, videos: int = 12) -> dict[str, Tensor]:
    """Frames of videos with one to three faces, in random order."""
    rng = np.random.default_rng(seed)
    rows = []
    track = 0
    for video in range(videos):
        label = int(rng.integers(2)) if video > 1 else video
        for _ in range(rng.integers(1, 4)):
            rows += [(float(rng.random()), label, video, track) for _ in range(rng.integers(1, 5))]
            track += 1
    order = rng.permutation(len(rows))
    probability, label_, video_, track_ = (np.array(column)[order] for column in zip(*rows, strict=True))
    return {
        "probability": torch.tensor(probability, dtype=torch.float32),
        "label": torch.tensor(label_, dtype=torch.float32),
        "row": torch.arange(len(rows)),
        "video": torch.tensor(video_),
        "track": torch.tensor(track_),
    }


def by_hand(frames: dict[str, Tensor], level: Level) -> tuple[list[float], list[int]]:
    """The definition, spelt out: mean over a track, maximum over a video's tracks."""
    values = {name: tensor.tolist() for name, tensor in frames.items()}
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
        probability, label = by_hand(frames, level)  # type: ignore[arg-type]  # the two literals
        called = [int(p > 0.5) for p in probability]
        expected = {
            "f1_fake": reference.f1_score(label, called, zero_division=0),
            "f1_real": reference.f1_score(label, called, pos_label=0, zero_division=0),
            "auroc": reference.roc_auc_score(label, probability),
            "accuracy": reference.accuracy_score(label, called),
        }
        for name, value in expected.items():
            assert float(found[f"{level}_{name}"]) == pytest.approx(value, abs=1e-6), (level, name)


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


def test_one_class_is_undefined_not_a_crash() -> None:
    frames = random_frames(0)
    frames["label"] = torch.zeros_like(frames["label"])
    metrics = detection_metrics()
    metrics.update(**frames)
    found = metrics.compute()
    assert found["frame_auroc"].isnan()
    assert found["video_auroc"].isnan()
    assert found["frame_f1_fake"] == 0


def test_a_fake_second_face_makes_the_video_fake() -> None:
    probability, label, video, by_track, tracks = video_scores(
        torch.tensor([0.1, 0.1, 0.9, 0.7, 0.2]),
        torch.tensor([1, 1, 1, 1, 0]),
        torch.tensor([4, 4, 4, 4, 9]),
        torch.tensor([0, 0, 1, 1, 2]),
    )
    assert probability.tolist() == pytest.approx([0.8, 0.2])
    assert label.tolist() == [1, 0]
    assert video.tolist() == [4, 9]
    assert by_track.tolist() == pytest.approx([0.1, 0.8, 0.2])
    assert tracks.tolist() == [0, 1, 2]


def test_prefix_and_clones_do_not_share_state() -> None:
    base = detection_metrics()
    val, test = base.clone(prefix="val/"), base.clone(prefix="test/")
    val.update(**random_frames(0))
    assert set(val.compute()) == {
        f"val/{level}_{name}" for level in ("frame", "video") for name in ("f1_fake", "f1_real", "auroc", "accuracy")
    }
    assert not test["frame"].row
