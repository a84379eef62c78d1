"""Callbacks that average weights: metrics, heat-maps and checkpoints are of the same ones, or it is refused."""

from __future__ import annotations

import copy
import functools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule

from ...helpers.command import metrics
from ...helpers.tiny_runs import TABLE, tiny

EMA = ("--trainer.callbacks", "lightning.pytorch.callbacks.EMAWeightAveraging", "--trainer.callbacks.decay", 0.5)
SWA = ("--trainer.callbacks", "lightning.pytorch.callbacks.StochasticWeightAveraging", "--trainer.callbacks.swa_lrs",
       0.01, "--trainer.callbacks.swa_epoch_start", 1)  # fmt: skip


def command(name: str, root: Path, crops: Path, *more: object) -> Any:
    return tiny(name, root, crops, *TABLE, "--trainer.limit_train_batches", 4, *more)


@pytest.mark.long
@pytest.mark.parametrize(
    ("averaging", "kept"), [pytest.param(EMA, "best", id="EMA"), pytest.param(SWA, "last", id="SWA")]
)
def test_what_is_validated_is_explained_and_kept(
    averaging: tuple[object, ...], kept: str, ffpp_crops: Path, tmp_path: Path
) -> None:
    done = command("fit", tmp_path / "fit", ffpp_crops, *averaging, "--trainer.max_epochs", 1 + (averaging is SWA))
    assert done.status == 0, done.errors
    assert not [text for text in done.warned if "WeightAveraging" in text]
    path = tmp_path / "fit" / "checkpoints" / f"{kept}.ckpt"
    content = read_file(path)
    assert command("validate", tmp_path / "val", ffpp_crops, "--ckpt_path", path).status == 0
    trained, again = metrics(tmp_path / "fit"), metrics(tmp_path / "val" / "validate")
    assert {name: trained[name] for name in again if name != "step"} == pytest.approx(
        {name: value for name, value in again.items() if name != "step"} | {"epoch": trained["epoch"]}, abs=1e-6
    )
    assert "explain/logit" in again
    if averaging is EMA:  # and these are others than those that the last step left
        current, averaged = content["current_model_state"], content["state_dict"]
        assert not torch.equal(current["net.head.weight"], averaged["net.head.weight"])


@pytest.mark.long
def test_an_average_resumes(ffpp_crops: Path, tmp_path: Path) -> None:
    """Two epochs at once, and one after the other: the same average, and the same weights below it."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert command("fit", whole, ffpp_crops, *EMA, "--trainer.max_epochs", 2).status == 0
    assert command("fit", parts, ffpp_crops, *EMA, "--trainer.max_epochs", 1).status == 0
    more = ("--trainer.max_epochs", 2, "--ckpt_path", "last")
    assert command("fit", parts, ffpp_crops, *EMA, *more).status == 0
    one, other = (read_file(root / "checkpoints" / "last.ckpt") for root in (whole, parts))
    for entry in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, other[entry][name]) for name, value in one[entry].items())


class Second(EMAWeightAveraging):
    """Of another name, without which Lightning refuses it."""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--trainer.callbacks.update_starting_at_epoch", 0), "EMAWeightAveraging averages at the end of an epoch"),
        (("--checkpoint.save_weights_only", "true"), "save_weights_only is true, and EMAWeightAveraging"),
        (("--trainer.callbacks+", f"{__name__}.Second"), "EMAWeightAveraging and Second both average weights"),
    ],
)
def test_what_cannot_be_right_is_refused(
    more: tuple[object, ...], message: str, ffpp_crops: Path, tmp_path: Path
) -> None:
    done = command("fit", tmp_path, ffpp_crops, *EMA, *more)
    assert done.status == 2
    assert message in done.errors
    assert not list(tmp_path.rglob("*.ckpt"))


class Another(Callback):
    """An average of somebody else's, validated and then taken out again."""

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._change(pl_module, 0.5)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._change(pl_module, 2)

    def _change(self, module: Any, factor: float) -> None:
        for parameter in module.parameters():
            parameter.data.mul_(factor)


def test_other_weights_than_validated_are_not_kept(ffpp_crops: Path, tmp_path: Path) -> None:
    done = command("fit", tmp_path, ffpp_crops, "--trainer.callbacks", f"{__name__}.Another")
    assert done.status == 2
    assert "A callback puts other weights into the checkpoint than were validated" in done.errors
    assert "Another" in done.errors


@pytest.mark.long
def test_validation_within_an_epoch_keeps_what_it_saw(ffpp_crops: Path, tmp_path: Path) -> None:
    """Two steps after the validation are in the epoch's last weights, and not in best.ckpt."""
    done = command("fit", tmp_path, ffpp_crops, "--trainer.val_check_interval", 2, "--trainer.limit_train_batches", 3,
                   "--trainer.check_val_every_n_epoch", 1, "--trainer.max_epochs", 1)  # fmt: skip
    assert done.status == 0, done.errors
    folder = tmp_path / "checkpoints"
    assert [read_file(folder / f"{name}.ckpt")["global_step"] for name in ("best", "last")] == [2, 3]


def test_a_copy_for_an_average_holds_nothing_of_the_run() -> None:
    """The makers that the command line builds refer to its parser, the trainer, and processes that cannot be copied."""
    lock = threading.Lock()
    module = ResGATModule(
        ResGAT(attention="gatv2", encoder="resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64),
        functools.partial(lambda held, weights: torch.optim.SGD(weights, lr=0.1), lock),
        functools.partial(lambda held, one: torch.optim.lr_scheduler.ConstantLR(one), lock),
    )
    copied = copy.deepcopy(module)
    assert copied.optimizer is module.optimizer
    assert copied.net is not module.net
    assert isinstance(copied.optimizer(copied.parameters()), torch.optim.SGD)
