"""Temperatures: that they are found, that they mean what they say, and that checkpoints keep them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from resgat_pl.core.types import Validation
from resgat_pl.evaluation.metrics.calibration import HOTTEST, calibrated, calibrated_score, fit_temperature
from resgat_pl.evaluation.metrics.torch_metrics import DetectionMetrics, video_scores
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule

Frames = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def frames(seed: int, videos: int = 30, overlap: float = 1.0) -> Frames:
    """Logits, labels and codes of videos of one to four frames; the first two are of either class."""
    rng = np.random.default_rng(seed)
    rows = []
    for video in range(videos):
        label = int(rng.integers(2)) if video > 1 else video
        rows += [(rng.normal(2 * label - 1, overlap), label, video) for _ in range(rng.integers(1, 5))]
    logit, label_, video_ = zip(*rows, strict=True)
    return np.array(logit), np.array(label_, np.int64), np.array(video_, np.int64)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_of_the_data_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 3, 40_000)
    label = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit / temperature))).astype(np.int64)
    found = fit_temperature(logit, label, np.arange(len(logit)))
    assert found == pytest.approx(temperature, rel=0.05)
    chance = calibrated(logit, found)
    for low in (0.1, 0.4, 0.7):  # of the files scored 0.4 to 0.5, so many are fake
        there = (chance >= low) & (chance < low + 0.1)
        assert label[there].mean() == pytest.approx(chance[there].mean(), abs=0.03)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_no_other_temperature_has_less_loss(seed: int) -> None:
    logit, label, video = frames(seed)
    found = fit_temperature(logit, label, video)
    if found is None:
        return
    videos = [len(np.unique(video[label == kind])) for kind in (0, 1)]
    target = np.where(label == 1, (videos[1] + 1) / (videos[1] + 2), 1 / (videos[0] + 2))
    weight = 1 / np.bincount(video)[video]

    def loss(temperature: float) -> float:
        p = 1 / (1 + np.exp(-logit / temperature))
        return float(-(weight * (target * np.log(p) + (1 - target) * np.log1p(-p))).sum())

    assert all(loss(found) <= loss(found * factor) for factor in (0.5, 0.98, 1.02, 2))


@given(st.integers(0, 10_000), st.floats(0.2, 5))
@settings(deadline=None, max_examples=50)
def test_it_scales_with_the_logits_and_knows_no_order(seed: int, factor: float) -> None:
    logit, label, video = frames(seed)
    found = fit_temperature(logit, label, video)
    order = np.random.default_rng(seed).permutation(len(logit))
    again = fit_temperature(factor * logit[order], label[order], video[order])
    if found is not None and again is not None:
        assert again == pytest.approx(factor * found, rel=1e-4)


def test_a_video_weighs_the_same_however_long_it_is() -> None:
    logit, label, video = frames(3)
    found = fit_temperature(logit, label, video)
    assert found is not None
    long = np.flatnonzero(video == 1).repeat(50)
    more = np.concatenate([np.flatnonzero(video != 1), long])
    assert fit_temperature(logit[more], label[more], video[more]) == pytest.approx(found, rel=1e-6)
    assert fit_temperature(logit[more], label[more], np.arange(len(more))) != pytest.approx(found, rel=1e-2)


def test_a_small_set_without_a_mistake_does_not_make_sure() -> None:
    logit, label = np.array([-8.0, -9, 8, 9]), np.array([0, 0, 1, 1])
    found = fit_temperature(logit, label, np.arange(4))
    assert found is not None
    assert calibrated(logit, found)[2] == pytest.approx(0.75, abs=0.05)  # Platt's (2 + 1) / (2 + 2)


@pytest.mark.parametrize(
    ("logit", "label"),
    [
        ([1.0, 2.0], [1, 1]),
        ([1.0, 2.0], [0, 0]),
        ([], []),
        ([2.0, -2.0, 2.0, -2.0], [0, 1, 0, 1]),  # worse than guessing
        ([0.0, 0.0], [0, 1]),
        ([float("nan"), 1.0], [0, 1]),
        ([-1e-6, 1e-6], [0, 1]),  # T would lie beyond what is believed
    ],
)
def test_where_there_is_none(logit: list[float], label: list[int]) -> None:
    assert fit_temperature(np.array(logit), np.array(label, np.int64), np.arange(len(label))) is None
    assert HOTTEST == 100


def test_without_a_temperature_nothing_changes() -> None:
    logit = np.array([-2.0, 0, 3], np.float32)
    assert calibrated(logit, None) == pytest.approx(1 / (1 + np.exp(-logit.astype(float))))
    assert calibrated(logit, 2.0)[2] == pytest.approx(1 / (1 + np.exp(-1.5)))
    assert calibrated(logit, 2.0).dtype == np.float64


def test_the_metric_fits_it_at_each_level() -> None:
    logit, label, video = frames(5)
    rows, codes = torch.arange(len(logit)), torch.tensor(video)
    z, y = torch.tensor(logit), torch.tensor(label)
    by_frame, by_video = DetectionMetrics("frame"), DetectionMetrics("video")
    for metric in (by_frame, by_video):
        metric.update(z, y, rows, codes, codes)
        metric.compute()
    assert by_frame.temperature == pytest.approx(fit_temperature(logit.astype(np.float32), label, video))
    scores, first, *_ = video_scores(z.double().sigmoid().numpy(), video, video)
    wanted = fit_temperature(np.log(scores / (1 - scores)), label[first], np.arange(len(first)))
    assert by_video.temperature == pytest.approx(wanted)
    assert by_video.temperature != pytest.approx(by_frame.temperature, rel=0.05), "frames and videos are two matters"


def test_the_metric_counts_the_videos_and_their_faces() -> None:
    metric = DetectionMetrics("video")
    video = torch.tensor([5, 5, 5, 5, 9, 9, 2, 2])
    track = torch.tensor([0, 1, 1, 2, 3, 3, 4, 4])
    label = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
    metric.update(torch.randn(8), label, torch.arange(8), video, track)
    metric.compute()
    assert metric.validation == Validation(real=2, fake=1, fewest_faces=1, most_faces=3)
    assert metric.validation.text == "2 genuine and 1 fake videos of 1 to 3 faces each, which are few"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 100))
@settings(deadline=None)
def test_a_calibrated_score_rises_with_the_score(one: float, two: float, temperature: float) -> None:
    first, second = calibrated_score(one, temperature), calibrated_score(two, temperature)
    assert (first <= second) if one <= two else (first >= second)
    assert 0 <= first <= 1
    assert calibrated_score(one, None) == one
    assert calibrated_score(0.5, temperature) == 0.5


def test_training_that_goes_on_keeps_it() -> None:
    module = ResGATModule(ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64))
    module.temperature, module.video_temperature = 1.5, 0.7
    module.validation = Validation(12, 30, 1, 2)
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    again = ResGATModule(ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64))
    again.on_load_checkpoint(content)
    assert (again.temperature, again.video_temperature) == (1.5, 0.7)
    assert again.validation == Validation(12, 30, 1, 2)
    for name in ("video_temperature", "validation"):
        del content["resgat"][name]  # as earlier versions wrote it
    again.on_load_checkpoint(content)
    assert (cast("float", again.temperature), again.video_temperature) == (1.5, None)
    assert again.validation is None


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_validation_of_one_class_or_of_a_sanity_check_chooses_nothing(label: float) -> None:
    module = ResGATModule(ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64))
    trainer: Any = SimpleNamespace(
        checkpoint_callbacks=[], early_stopping_callbacks=[], lr_scheduler_configs=[], sanity_checking=True
    )
    module._trainer = trainer
    module.log = lambda *_, **__: None  # type: ignore[method-assign]  # needs a whole Trainer

    def validate(labels: torch.Tensor) -> dict[str, Any]:
        codes = torch.arange(len(labels))
        module.val_metrics.update(torch.randn(len(labels)) + 2 * labels, labels, codes, codes, codes)
        module.val_loss.update(labels)
        module.on_validation_epoch_end()
        content: dict[str, Any] = {}
        module.on_save_checkpoint(content)
        return dict(content["resgat"])

    nothing = {"thresholds": None, "temperature": None, "video_temperature": None}
    sanity = validate(torch.arange(16.0) % 2)
    assert {name: sanity[name] for name in nothing} == nothing
    assert sanity["validation"] is None
    trainer.sanity_checking = False
    alone = validate(torch.full((16,), label))
    assert {name: alone[name] for name in nothing} == nothing
    assert (alone["validation"]["real"], alone["validation"]["fake"]) == ((16, 0) if label == 0 else (0, 16))
    both = validate(torch.arange(40.0) % 2)
    assert set(both["thresholds"]) == {"frame", "video"}
    assert both["validation"] == Validation(20, 20).plain()
