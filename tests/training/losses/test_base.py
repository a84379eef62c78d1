from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.losses import AuxiliaryLoss, MaskGuidance, Restoration, Silence
from resgat_pl.training.losses.base import loss_classes
from resgat_pl.training.module import ResGATModule

from ...helpers.loss_steps import loss_step, paired_batch, small_net


def test_pairs_are_a_fake_and_the_genuine_crop_behind_it() -> None:
    batch = paired_batch(2)
    assert loss_step(small_net(), batch).pairs.tolist() == [[0, 1], [2, 3]]
    batch["label"] = torch.tensor([1.0, 1.0, 1.0, 0.0])  # the end of an epoch, or another order
    assert loss_step(small_net(), batch).pairs.tolist() == [[2, 3]]


def test_weights_that_switch_a_loss_off_are_refused() -> None:
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="The weight of the loss Silence is"):
            Silence(weight)


def test_classes_of_a_configuration() -> None:
    entry = Namespace(class_path="resgat_pl.training.losses.MaskGuidance", init_args=Namespace(weight=2))
    assert loss_classes([entry, Silence()]) == [MaskGuidance, Silence]


class Sum(AuxiliaryLoss):
    name = "sum"

    def __call__(self, step: Any) -> torch.Tensor:
        return step.found.node.sum()


def test_the_training_adds_each_loss_with_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = small_net(), paired_batch()
    logged: dict[str, float] = {}
    monkeypatch.setattr(ResGATModule, "log", lambda _, name, value, **__: logged.update({name: float(value.detach())}))
    given: Any = batch
    total = ResGATModule(net, losses=[Sum(0.5), Silence(0.25)]).training_step(given, 0)
    assert set(logged) == {"train/loss", "train/sum", "train/silence"}
    expected = logged["train/loss"] + 0.5 * logged["train/sum"] + 0.25 * logged["train/silence"]
    assert float(total.detach()) == pytest.approx(expected)
    alone = ResGATModule(net).training_step(given, 0)
    assert float(alone.detach()) == pytest.approx(logged["train/loss"], rel=1e-5)


def test_a_gradient_reaches_the_encoder_through_every_loss() -> None:
    for loss in (MaskGuidance(target="both"), Restoration(), Silence()):
        net = small_net()
        loss(loss_step(net, paired_batch())).backward()
        first = next(net.parameters())  # the encoder's
        assert first.grad is not None and first.grad.abs().sum() > 0, loss


@pytest.mark.parametrize(
    ("limits", "epoch", "step", "expected"),
    [
        ({"max_epochs": 8}, 6, 60, 0.75),
        ({"max_epochs": -1, "max_steps": 200}, 3, 50, 0.25),
        ({"max_epochs": 8, "max_steps": 100}, 2, 90, 0.9),
        ({"max_epochs": -1}, 5, 50, 1.0),
    ],
)
def test_losses_know_how_much_of_the_training_is_done(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], epoch: int, step: int, expected: float
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(Sum, "__call__", lambda self, given: seen.append(given.progress) or given.found.node.sum())
    monkeypatch.setattr(ResGATModule, "log", lambda *_, **__: None)
    module, given = ResGATModule(small_net(), losses=[Sum(0.5)]), cast("Any", paired_batch())
    module.training_step(given, 0)  # a loop of one's own
    module.trainer = Trainer(**limits, logger=False, enable_checkpointing=False, accelerator="cpu")
    monkeypatch.setattr(ResGATModule, "current_epoch", epoch)
    monkeypatch.setattr(ResGATModule, "global_step", step)
    module.training_step(given, 0)
    assert seen == [1.0, pytest.approx(expected)]
