"""Checkpoints that Lightning itself loads go through the reader that runs no code, too."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.errors import WeightsError
from resgat_pl.nn.checkpoint_file import take_content


class SafeReading(CheckpointIO):
    """Another ``CheckpointIO``, except that it reads with ``take_content`` and removes single files of the run only.

    Lightning passes ``weights_only=None`` on to torch, which an environment variable turns into False.

    Args:
        inner: Writes, and removes what lies behind URLs.
        folders: Gives those in which this run may remove a file.
    """

    def __init__(self, inner: CheckpointIO, folders: Callable[[], Collection[str]]) -> None:
        self.inner = inner
        self.folders = folders

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Leave it to ``inner``."""
        self.inner.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, onto the CPU.

        Raises:
            WeightsError: It is missing, damaged, or holds code.
        """
        return take_content(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file of this run; Lightning removes whatever a checkpoint said, with all that is in it."""
        name = str(path)
        if name.rpartition("/")[0] in self.folders() and "://" in name:
            self.inner.remove_checkpoint(path)
        elif "://" in name or Path(name).absolute().parent not in {Path(each).absolute() for each in self.folders()}:
            rank_zero_warn(f"{name} is not removed: it is not in the folder of this run's checkpoints.")
        elif Path(name).is_file() or Path(name).is_symlink():
            Path(name).unlink()

    def teardown(self) -> None:
        """Leave it to ``inner``."""
        self.inner.teardown()


class SafeLoading(Callback):
    """Puts ``SafeReading`` around whatever reads and writes a run's checkpoints."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do so before anything is read."""
        strategy = trainer.strategy
        if not isinstance(strategy.checkpoint_io, SafeReading):
            strategy.checkpoint_io = SafeReading(strategy.checkpoint_io, lambda: _folders(trainer))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look whether training can go on from a checkpoint.

        Raises:
            WeightsError: It holds a detector, but no state of a training.
        """
        if trainer.state.fn == TrainerFn.FITTING and "optimizer_states" not in checkpoint:
            raise WeightsError(
                f"{trainer.ckpt_path} holds a detector, but not the state of its training, so that training cannot go "
                "on from it. Give the .ckpt file that it was made of."
            )


def _folders(trainer: Trainer) -> list[str]:
    """Where this run's checkpoints are, and the one that a spawned process passes its weights on by."""
    savers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    return [str(callback.dirpath) for callback in savers if callback.dirpath] + [str(trainer.default_root_dir)]
