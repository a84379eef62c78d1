"""Checks of weight averaging: the weights that are validated, explained and stored must be the same.

Lightning's ``WeightAveraging`` puts the averaged weights in place for a validation and takes them out again before
other callbacks see its end; into a checkpoint it writes the averaged ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.lightning_internals import averages, callbacks_of, checkpoint_savers, swap_weights

_EPOCHS_LOOKED_AT = 1000


def check_averaging(trainer: Trainer) -> None:
    """Refuse averages with which checkpoints would hold other weights than were validated.

    Raises:
        ConfigError: The average changes between validation and checkpoint, or checkpoints are to leave it out.
    """
    averaging = _averaging(trainer)
    if not averaging:
        return
    if len(averaging) > 1:
        raise ConfigError(
            f"{' and '.join(type(callback).__name__ for callback in averaging)} both average weights, and each would "
            "validate the other's: leave one out of trainer.callbacks."
        )
    (callback,) = averaging
    name = type(callback).__name__
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else _EPOCHS_LOOKED_AT
    at = [epoch for epoch in range(min(epochs, _EPOCHS_LOOKED_AT)) if callback.should_update(epoch_idx=epoch)]
    if at:
        raise ConfigError(
            f"{name} averages at the end of an epoch (the first time after epoch {at[0]}), after its validation: "
            "best.ckpt would hold other weights than were validated. Let it average after steps: for "
            "EMAWeightAveraging update_starting_at_step in the place of update_starting_at_epoch."
        )
    if any(saver.save_weights_only for saver in checkpoint_savers(trainer)):
        raise ConfigError(
            f"checkpoint.save_weights_only is true, and {name} adds its average to whole checkpoints only: the "
            "stored weights would be others than were validated. Leave save_weights_only out."
        )


@contextmanager
def validated_weights(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Put the weights in place that were validated, where a callback has taken them out again."""
    averaging = [callback for callback in _averaging(trainer) if averages(callback)]
    fitting = trainer.state.fn == "fit"
    for callback in averaging if fitting else []:
        swap_weights(callback, module)
    try:
        yield
    finally:
        for callback in averaging if fitting else []:
            swap_weights(callback, module)


def fingerprint(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float64 sum of each parameter: equal for equal weights, and for no others in practice."""
    return {name: value.detach().double().sum() for name, value in weights.items()}


def check_same(validated: Mapping[str, Tensor], stored: Mapping[str, Any], trainer: Trainer) -> None:
    """Make sure that a checkpoint holds the weights that were validated.

    Args:
        validated: Their ``fingerprint``.
        stored: State dict of the checkpoint.
        trainer: Whose callbacks are named.

    Raises:
        ConfigError: It holds others.
    """
    found = fingerprint({name: stored[name] for name in validated if isinstance(stored.get(name), Tensor)})
    here = torch.stack([value.cpu() for value in validated.values()])
    there = torch.stack([found[name].cpu() if name in found else here.new_tensor(torch.nan) for name in validated])
    if torch.allclose(here, there, rtol=1e-9, atol=1e-9):
        return
    others = [type(one).__name__ for one in callbacks_of(trainer) if not type(one).__module__.startswith("resgat_pl")]
    raise ConfigError(
        "A callback puts other weights into the checkpoint than were validated: metrics, threshold and temperature "
        f"are not theirs. Leave it out of trainer.callbacks (there are {', '.join(others)}); "
        "lightning.pytorch.callbacks.EMAWeightAveraging averages so that they are."
    )


def _averaging(trainer: Trainer) -> list[WeightAveraging]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, WeightAveraging)]
