"""Checkpoint files that are whole after a kill, run no code when read, and are removed only in this run's folder."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.storage import is_remote, locate, make_folder, write_atomic
from resgat_pl.nn.checkpoint_file import take_content
from resgat_pl.training.lightning_internals import checkpoint_savers

_UNFINISHED: Final = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""The temporary names of ``write_atomic``."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its final name, waits for the disk, and renames it.

    Lightning writes it into the system's folder for temporary files and moves it: from another disk that is a copy
    onto the final name, over the checkpoint that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; what lies behind a URL is left to Lightning.

        Raises:
            OSError: It cannot be written; a checkpoint of that name is unchanged.
        """
        target = locate(path)
        if is_remote(target) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        make_folder(target.parent)
        buffer = io.BytesIO()  # torch's own error does not say that the disk is full
        torch.save(checkpoint, buffer)
        write_atomic(target, buffer.getbuffer())


class SafeCheckpointIO(CheckpointIO):
    """Wraps a ``CheckpointIO``: reads with ``take_content``, and removes only single files in this run's folders.

    Lightning passes ``weights_only=None`` on to torch, which an environment variable turns into False.

    Args:
        inner: Writes, and removes what lies behind URLs.
        folders: Returns the folders in which this run may remove a file.
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
        """Remove a file of this run; Lightning removes any path stored in a checkpoint, also a whole folder."""
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


class SafeCheckpoints(Callback):
    """Makes a Trainer read, write and remove checkpoints by ``SafeCheckpointIO``."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wrap the Trainer's ``CheckpointIO``; one that the user chose goes on writing."""
        strategy = trainer.strategy
        if type(strategy.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io = AtomicCheckpointIO()
        if not isinstance(strategy.checkpoint_io, SafeCheckpointIO):
            strategy.checkpoint_io = SafeCheckpointIO(strategy.checkpoint_io, lambda: _folders(trainer))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the unfinished files that a killed start of this run left in its folder, and no others."""
        if not trainer.is_global_zero or trainer.ckpt_path is None:
            return
        for folder in {saver.dirpath for saver in checkpoint_savers(trainer) if saver.dirpath}:
            for path in Path(folder).glob(".*.tmp"):
                if _UNFINISHED.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    path.unlink(missing_ok=True)


def _folders(trainer: Trainer) -> list[str]:
    """The folders of this run's checkpoints, and the one that a spawned process returns its weights through."""
    savers = checkpoint_savers(trainer)
    return [str(callback.dirpath) for callback in savers if callback.dirpath] + [str(trainer.default_root_dir)]
