from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.callbacks.adversarial import AdversarialTraining
from resgat_pl.training.module import ResGATModule

from ...helpers.loss_steps import paired_batch, small_net
from ...helpers.tiny_runs import tiny


def changed(callback: AdversarialTraining, module: ResGATModule) -> torch.Tensor:
    batch = paired_batch(4)
    before = batch["image"].clone()
    trainer: Any = None
    callback.on_train_batch_start(trainer, module, batch, 0)
    return (batch["image"] - before).abs().flatten(1).amax(dim=1)


def test_a_share_of_the_pictures_is_attacked_and_the_loss_rises() -> None:
    torch.manual_seed(0)
    module = ResGATModule(small_net())
    found = changed(AdversarialTraining(share=0.5, eps=4), module)
    assert 0 < int((found > 0).sum()) < len(found)
    assert float(found.max()) == pytest.approx(4 / 255, abs=1e-6)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not changed(AdversarialTraining(share=0), module).any()
    assert not changed(AdversarialTraining(eps=0), module).any()


def test_modes_and_statistics_stay() -> None:
    module = ResGATModule(small_net())
    module.train()
    before = {name: value.clone() for name, value in module.net.state_dict().items()}
    changed(AdversarialTraining(share=1.0), module)
    assert module.net.training
    assert all(torch.equal(value, before[name]) for name, value in module.net.state_dict().items())


def test_numbers_out_of_range() -> None:
    for given in ({"share": 2}, {"eps": -1}, {"steps": 0}):
        with pytest.raises(ConfigError, match="need a share from 0 to 1"):
            AdversarialTraining(**given)  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize("name", ["AdversarialTraining", "AttentionDropZoom"])
def test_a_resumed_run_draws_the_same(ffpp_crops: Path, tmp_path: Path, name: str) -> None:
    """Two epochs at once, and one after the other from last.ckpt: the same weights to the bit."""
    callbacks = f'[{{"class_path": "resgat_pl.training.callbacks.{name}"}}]'
    options = ("--trainer.callbacks", callbacks, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 2)
    for folder, epochs, more in (("whole", 2, ()), ("parts", 1, ()), ("parts", 2, ("--ckpt_path", "last"))):
        done = tiny("fit", tmp_path / folder, ffpp_crops, *options, "--trainer.max_epochs", epochs, *more)
        assert done.status == 0, done.errors
    weights = [torch.load(tmp_path / f / "checkpoints" / "last.ckpt")["state_dict"] for f in ("whole", "parts")]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
