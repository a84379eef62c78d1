"""The one message of a run whose disk is full or read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Trainer

from resgat_pl.core.disk_full import is_disk_full, no_shared_memory, storage_error
from resgat_pl.core.errors import StorageError
from resgat_pl.training.lightning_internals import newest_checkpoint


@contextmanager
def reporting_full_disk_in_run(trainer: Trainer) -> Iterator[None]:
    """Report a full or read-only disk once: what could not be written, what is unchanged, and how to continue.

    Raises:
        StorageError: In place of an ``OSError`` of that kind.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error) or no_shared_memory(error) is not None:
            raise
        last = newest_checkpoint(trainer)
        remedy = (
            f"What was written before is intact: free some space, and give the same command with --ckpt_path {last}"
            if last is not None
            else "No checkpoint was written yet: free some space, and start the same command again."
        )
        raise StorageError(f"{storage_error(error, trainer.default_root_dir)} {remedy}") from None
