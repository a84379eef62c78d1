"""Metrics that a user adds: the same on any number of processes, and refused before a training where they fail."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAUROC, BinaryConfusionMatrix, BinaryMatthewsCorrCoef

from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.metrics.extra import ExtraMetrics, metric_names
from resgat_pl.evaluation.metrics.torch_metrics import detection_metrics

RNG = np.random.default_rng(0)


class Last(Metric):
    """Depends on the order, and synchronises wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, probability: Tensor, label: Tensor) -> None:
        self.value = probability[-1] + label[0]

    def compute(self) -> Tensor:
        return self.value


class Failing(Last):
    def update(self, probability: Tensor, label: Tensor) -> None:
        raise KeyError("no such thing")


class Text(Last):
    def compute(self) -> Any:
        return "much"


def test_they_are_computed_of_frames_beside_our_own() -> None:
    extra = ExtraMetrics([BinaryAUROC(), BinaryMatthewsCorrCoef(), BinaryMatthewsCorrCoef(threshold=0.8)])
    metrics = detection_metrics(extra).clone(prefix="val/")
    logit, label, row = torch.randn(40), torch.arange(40) % 2, torch.arange(40)
    untouched = row >= 36
    for part in (slice(0, 25), slice(20, 40)):  # five samples come twice
        metrics.update(logit[part], label[part], row[part], row[part] // 4, row[part] // 2, untouched[part])
    values = metrics.compute()
    assert {"val/BinaryAUROC", "val/BinaryMatthewsCorrCoef", "val/BinaryMatthewsCorrCoef_2"} < set(values)
    assert float(values["val/BinaryAUROC"]) == pytest.approx(float(values["val/frame_auroc"]))
    alone = BinaryMatthewsCorrCoef()(logit[:36].sigmoid(), label[:36])
    assert float(values["val/BinaryMatthewsCorrCoef"]) == pytest.approx(float(alone))
    metrics.reset()
    metrics.update(logit, label, row, row, row, None)
    assert float(metrics.compute()["val/BinaryAUROC"]) == pytest.approx(float(BinaryAUROC()(logit.sigmoid(), label)))


def test_nothing_is_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = ExtraMetrics([Last()])
    monkeypatch.setattr("torch.distributed.is_available", lambda: True)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    assert float(extra(np.array([0.25, 0.5]), np.array([1, 0]))["Last"]) == 1.5


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Failing(), r"model\.metrics: Failing cannot be computed .*KeyError: 'no such thing'.*\(N,\) floats"),
        (BinaryConfusionMatrix(), r"BinaryConfusionMatrix gives \(2, 2\); it must give one number"),
        (Text(), "Text gives str"),
    ],
)
def test_what_is_no_number_is_refused_at_once(metric: Metric, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExtraMetrics([metric])


def test_names() -> None:
    assert metric_names(["a.B", "B", "c.D", "B"]) == ["B", "B_2", "D", "B_3"]
    assert ExtraMetrics().names == []
    assert ExtraMetrics()(RNG.random(3), np.zeros(3, np.int64)) == {}


def test_one_class_and_copies(recwarn: pytest.WarningsRecorder) -> None:
    extra = ExtraMetrics([BinaryAUROC()])
    assert float(extra(RNG.random(4), np.zeros(4, np.int64))["BinaryAUROC"]) == 0
    assert not recwarn.list
    for again in (copy.deepcopy(extra), pickle.loads(pickle.dumps(extra))):  # noqa: S301 - its own
        assert float(again(np.array([0.1, 0.9]), np.array([0, 1]))["BinaryAUROC"]) == 1
