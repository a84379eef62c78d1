"""Errors for a full or read-only disk: detect them, and say where, how far, and how much is missing."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from resgat_pl.core.errors import StorageError
from resgat_pl.core.storage import is_remote

_SHARED: Final = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
_SHARED_WORDS: Final = re.compile(
    r"unable to (?:allocate|open|resize|mmap|write to)[^\n]*(?:shared memory|shm|torch_)[^\n]*No space left"
    r"|killed by signal: Bus error|out of shared memory|insufficient shared memory"
)
"""Messages of torch, in this process or in one that loads for it, and of Python."""
_LEAST_SHARED: Final = 1 << 20
"""Free bytes below which a lack of space, in an error that names no file, is one of shared memory."""
_REFUSED: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def is_disk_full(error: BaseException | None) -> bool:
    """Recognise an error of a disk or quota that is full, or of a read-only one."""
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _REFUSED)


def no_shared_memory(error: BaseException) -> str | None:
    """The remedy for an error of full shared memory; None for other errors.

    Batches go from loading processes to the training through ``/dev/shm``, of which a container has 64 MB unless it is
    started with more.
    """
    if isinstance(error, OSError) and error.errno is not None:
        is_full = error.errno == errno.ENOSPC and error.filename is None and (_free(_SHARED) or 0) < _LEAST_SHARED
        is_full = (is_full or str(error.filename).startswith(f"{_SHARED}/")) and _SHARED.is_dir()
    else:
        is_full = isinstance(error, RuntimeError) and _SHARED_WORDS.search(str(error)) is not None
    if not is_full:
        return None
    size = shutil.disk_usage(_SHARED).total if _SHARED.is_dir() else 0
    return (
        f"Shared memory ({_SHARED}, {_megabytes(size)} in all) is full: batches go through it from loading processes "
        "to the training. Start the container with more (docker run --shm-size 2g, or --ipc host; in Kubernetes an "
        f"emptyDir of medium Memory on {_SHARED}), or load in the training's own process (--data.num_workers 0, or "
        "fewer or a smaller --data.batch_size)."
    )


@contextmanager
def reporting_full_disk(out: Path, bar: Any = None) -> Iterator[None]:
    """Report a full disk once: where, how far the work is, and how much free space the rest needs.

    Args:
        out: Where results are written.
        bar: The progress (tqdm) of the work, if it has one.

    Raises:
        StorageError: In place of an ``OSError``, and of a worker's ``StorageError``.
    """
    free = _free(out)
    try:
        yield
    except (OSError, StorageError) as error:
        message = str(storage_error(error, out) if isinstance(error, OSError) else error)
        if bar is not None:
            message += f" {bar.n:,} of {bar.total:,} videos are done and stored."
            now, done, left = _free(out), bar.n - bar.initial, bar.total - bar.n
            if free is not None and now is not None and done and free > now:
                needed = (free - now) / done * left
                message += f" The others need about {_megabytes(needed)}; {_megabytes(now)} are free."
        raise StorageError(f"{message} Once that is fixed, the same command continues.") from None


def storage_error(error: OSError, out: Path | str = "The result") -> StorageError:
    """An error that names the file, or else ``out``, and the reason."""
    return StorageError(f"{error.filename or out} cannot be written: {error.strerror or error}.")


def _free(out: Path) -> int | None:
    try:
        return None if is_remote(out) else shutil.disk_usage(out).free
    except OSError:
        return None


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
