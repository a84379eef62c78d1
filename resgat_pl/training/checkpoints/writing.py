"""Writing a run's checkpoints and numbers so that a full disk or a kill costs nothing that was there before."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from resgat_pl.core.disk_full import is_disk_full, no_shared_memory, storage_error
from resgat_pl.core.errors import StorageError
from resgat_pl.core.storage import is_remote, locate, make_folder, write_atomic

METRICS: Final = ExperimentWriter.NAME_METRICS_FILE
_UNFINISHED: Final = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""As ``write_atomic`` names what it has not finished."""
_OLD: Final = 3600.0  # seconds


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its final name, waits for the disk, and renames it.

    Lightning writes it into the system's folder for temporary files and moves it: from another disk that is a copy
    onto the final name, over the checkpoint that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; what lies behind a URL is left to Lightning.

        Raises:
            OSError: It cannot be written; a checkpoint of that name is as it was.
        """
        target = locate(path)
        if is_remote(target) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        make_folder(target.parent)
        buffer = io.BytesIO()  # torch tells of a full disk by an error that does not say so
        torch.save(checkpoint, buffer)
        write_atomic(target, buffer.getbuffer())


class CheckpointRoom(Callback):
    """Sees to it that checkpoints are written whole, and that there is room for them before hours are spent."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put ``AtomicCheckpointIO`` in the place of Lightning's own; another that was configured is left alone."""
        strategy = trainer.strategy
        if type(strategy.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io = AtomicCheckpointIO()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for room; remove what a killed run left where this one goes on.

        Raises:
            StorageError: There is less than the first checkpoints take.
        """
        problem = _too_little_room(trainer, pl_module) if trainer.is_global_zero else None
        problem = trainer.strategy.broadcast(problem)  # who raises alone leaves the others waiting
        if problem is not None:
            raise StorageError(problem)
        if trainer.is_global_zero and trainer.ckpt_path is not None:
            last = locate(str(trainer.ckpt_path))
            own = {Path(callback.dirpath).absolute() for callback in _savers(trainer) if callback.dirpath}
            if not is_remote(last):
                _sweep(last.parent, 0.0 if last.parent.absolute() in own else _OLD)


@contextmanager
def storing_run(trainer: Trainer) -> Iterator[None]:
    """Tell of a full or read-only disk once: what could not be written, what is kept, and how to go on.

    Raises:
        StorageError: In place of an ``OSError`` of that kind.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error) or no_shared_memory(error) is not None:
            raise
        last = _last(trainer)
        remedy = (
            f"What was written before is intact: make room, and go on with the same command and --ckpt_path {last}"
            if last is not None
            else "No checkpoint was written yet: make room, and start the same command again."
        )
        raise StorageError(f"{storage_error(error, trainer.default_root_dir)} {remedy}") from None


def _last(trainer: Trainer) -> str | None:
    """The latest checkpoint to go on from, if this run trains."""
    folders = [Path(callback.dirpath) for callback in _savers(trainer) if callback.dirpath]
    found = [folder / "last.ckpt" for folder in folders if (folder / "last.ckpt").is_file()]
    return str(found[0]) if found else (str(trainer.ckpt_path) if trainer.ckpt_path else None)


def _sweep(folder: Path, age: float) -> None:
    """Remove what killed runs left half-written; in the folder of another run, which may live, only what is old.

    Args:
        folder: A local folder.
        age: Seconds.
    """
    for path in folder.glob(".*.tmp"):
        if not _UNFINISHED.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            continue  # another program's
        try:
            if time.time() - path.stat().st_mtime >= age:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def _savers(trainer: Trainer) -> list[ModelCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def _too_little_room(trainer: Trainer, module: LightningModule) -> str | None:
    """What is wrong with the disk, as far as can be told before the start."""
    savers = [callback for callback in _savers(trainer) if callback.dirpath]
    if trainer.fast_dev_run or not savers:  # type: ignore[attr-defined]  # Lightning adds it in a function
        return None
    folder = locate(str(savers[0].dirpath))
    if is_remote(folder):
        return None
    while not folder.exists():
        folder = folder.parent
    size = sum(value.nbytes for value in module.state_dict().values() if isinstance(value, torch.Tensor))
    trained = sum(value.nbytes for value in module.parameters() if value.requires_grad)
    moments = 2 if any("Adam" in type(optimizer).__name__ for optimizer in trainer.optimizers) else 0
    needed = (size + moments * trained) * len(savers)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return None
    return (
        f"{folder} has {free / 1e6:,.0f} MB free, and the first {len(savers)} checkpoints take about "
        f"{needed / 1e6:,.0f} MB. Make room, or name another disk with --trainer.default_root_dir."
    )
