"""Stops training on NaN or infinity before a checkpoint is written, and names the crops of the batch.

Reading a number from a GPU makes the program wait for it, so losses stay there and are read a few dozen at a time;
before every checkpoint, validation and result they are read at once. An infinite *gradient* is no error: in 16-bit
training the loss scaler provokes them, skips the step, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from resgat_pl.core.errors import NonFiniteError
from resgat_pl.training.lightning_internals import all_ranks, data_module, highest, log_folder, newest_checkpoint

EVERY: Final = 50
"""Batches after which losses are read, on a GPU or with several processes; as often as Lightning logs by default."""
BATCH_FILE: Final = "non_finite_batch.txt"
"""In the log folder, all crops of the batch; the message shows the first."""
_SHOWN: Final = 8


class _Batch(NamedTuple):
    """A batch whose numbers were not finite; ``number`` is twice its place for its loss, one more for the weights."""

    number: int
    rank: int
    place: str
    rows: list[int]


class _Watch:
    """Batches that are not checked yet: place, rows and a flag of each, on the device where they were made."""

    def __init__(self) -> None:
        self.bad: _Batch | None = None
        self.last: tuple[int, str, Tensor] | None = None
        self._pending: list[tuple[int, str, Tensor, Tensor]] = []
        self._count = 0

    def add(self, place: str, rows: Tensor, values: Tensor) -> None:
        self._count += 1
        self.last = (self._count, place, rows)
        self._pending.append((*self.last, torch.isfinite(values.detach()).all()))

    @property
    def is_due(self) -> bool:
        return len(self._pending) >= EVERY

    def look(self, rank: int) -> None:
        """Read the flags, all at once; store the first batch that is not finite."""
        pending, self._pending = self._pending, []
        if not pending or self.bad is not None:
            return
        fine = torch.stack([flag for *_, flag in pending]).tolist()
        for (count, place, rows, _), ok in zip(pending, fine, strict=True):
            if not ok:
                self.bad = _Batch(2 * count, rank, place, rows.tolist())
                return


class NonFiniteGuard(Callback):
    """Stops with ``NonFiniteError`` when a loss, an output or a weight is NaN or infinite, on all processes alike.

    Nothing that is not finite gets into a checkpoint: weights and losses are checked before each is written, so that
    the last one stays good. The message names it, and the crops of the first batch that went wrong.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[NonFiniteGuard()], logger=False, accelerator="cpu")
    """

    def __init__(self) -> None:
        super().__init__()
        self._training, self._evaluation = _Watch(), _Watch()
        self._error: NonFiniteError | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the weights that training starts from."""
        self._check(trainer, pl_module, self._training)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss; read it at once where that costs nothing."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor) or not isinstance(batch, Mapping):
            return
        place = f"epoch {trainer.current_epoch}, batch {batch_idx}, step {trainer.global_step}"
        self._training.add(place, batch["row"], loss)
        if self._training.is_due or (loss.device.type == "cpu" and trainer.world_size == 1):
            self._check(trainer, None, self._training)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the epoch's last losses and weights."""
        self._check(trainer, pl_module, self._training)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the weights, rather than score what they have become."""
        self._check(trainer, pl_module, self._training)

    on_test_start = on_validation_start
    on_predict_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note the outputs; nothing collective, for processes may have different numbers of batches."""
        if isinstance(outputs, Mapping):
            stage = f"epoch {trainer.current_epoch}, " if _fitting(trainer) else ""
            stage += trainer.state.stage.value if trainer.state.stage else ""
            self._evaluation.add(f"{stage} batch {batch_idx}", outputs["row"], outputs["logit"])
            if self._evaluation.is_due:
                self._evaluation.look(trainer.global_rank)

    on_test_batch_end = on_validation_batch_end
    on_predict_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the outputs, before they are scored or written."""
        self._check(trainer, None, self._evaluation)

    on_test_epoch_end = on_validation_epoch_end
    on_predict_epoch_end = on_validation_epoch_end

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let nothing into a checkpoint that is not finite; called on all processes, before the file is opened."""
        self._check(trainer, pl_module, self._training)

    def _check(self, trainer: Trainer, weights: LightningModule | None, watch: _Watch) -> None:
        """Raise the same error on all processes if anything was not finite on any; all must call it alike.

        Raises:
            NonFiniteError: Names the crops, and the last good checkpoint.
        """
        if self._error is not None:  # again, on the way out: the others may be gone
            raise self._error
        watch.look(trainer.global_rank)
        mine = watch.bad
        broken = [] if weights is None or mine is not None else _not_finite(weights)
        if broken:
            count, place, rows = watch.last or (0, "before the first step", torch.zeros(0, dtype=torch.int64))
            # later than the batch's own loss, which another process may have seen go wrong
            mine = _Batch(
                2 * count + 1, trainer.global_rank, f"{place}, weights {', '.join(broken[:3])}", rows.tolist()
            )
        found = _first_of_all_ranks(mine, trainer)
        if found:
            self._error = _error(trainer, found)
            raise self._error


def _fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING


def _not_finite(module: LightningModule) -> list[str]:
    """Names of the weights and statistics that are not finite."""
    state = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    fine = torch.stack([value.isfinite().all() for value in state.values()]).tolist()
    return [name for name, ok in zip(state, fine, strict=True) if not ok]


def _first_of_all_ranks(mine: _Batch | None, trainer: Trainer) -> list[_Batch]:
    """The batches that went wrong first, of all processes; the same list on each."""
    if highest(trainer, int(mine is not None)) == [0]:
        return []
    found = [batch for batch in all_ranks(trainer, mine) if batch is not None]
    # A NaN on one process is in the weights of all one step later: only the first is the cause.
    return [batch for batch in found if batch.number == min(other.number for other in found)]


def _error(trainer: Trainer, found: list[_Batch]) -> NonFiniteError:
    places = "; ".join(dict.fromkeys(batch.place for batch in found))
    ranks = f" on rank {', '.join(str(batch.rank) for batch in found)}" if trainer.world_size > 1 else ""
    names = _crops(trainer, [row for batch in found for row in batch.rows])
    folder = log_folder(trainer)
    message = f"A number is not finite (NaN or infinite): {places}{ranks}."
    if names:
        more = ""
        if len(names) > _SHOWN:
            more = f" … (all {len(names)}: {folder / BATCH_FILE})"
            if trainer.is_global_zero:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / BATCH_FILE).write_text("\n".join(names) + "\n")
        message += f" Crops of the batch: {', '.join(names[:_SHOWN])}{more}."
    if _fitting(trainer):
        message += f" {_last_good(trainer)}"
    else:
        source = f"The checkpoint is {trainer.ckpt_path}. " if trainer.ckpt_path else ""
        message += f" {source}Try --trainer.precision 32, or an earlier checkpoint."
    return NonFiniteError(message)


def _crops(trainer: Trainer, rows: list[int]) -> list[str]:
    data = data_module(trainer)
    return [] if data is None else [str(data.manifest.crop(row)) for row in rows]


def _last_good(trainer: Trainer) -> str:
    last = newest_checkpoint(trainer)
    remedy = (
        "clip gradients (--trainer.gradient_clip_val 1) or compute in --trainer.precision 32; or start again with a "
        "lower learning rate. If it is always these crops, look at them."
    )
    if last is None:
        return f"No checkpoint had been written yet. To go on, {remedy}"
    return f"The last good checkpoint is {last}. To go on from it (--ckpt_path {last}), {remedy}"
