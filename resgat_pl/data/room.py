"""What is told when there is no room left for results."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from resgat_pl.data.locations import is_remote
from resgat_pl.errors import StorageError

_REFUSED: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def is_refusal(error: BaseException | None) -> bool:
    """Whether an error says that nothing more can be stored: a disk or quota that is full, or a read-only one."""
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _REFUSED)


@contextmanager
def storing(out: Path, bar: Any = None) -> Iterator[None]:
    """Tell of a full disk once: where, how far the work is, and how much room the rest needs.

    Args:
        out: Where results are written.
        bar: The progress (tqdm) of what is done here, if it has one.

    Raises:
        StorageError: In place of an ``OSError``, and of a worker's ``StorageError``.
    """
    free = _free(out)
    try:
        yield
    except (OSError, StorageError) as error:
        message = str(not_stored(error, out) if isinstance(error, OSError) else error)
        if bar is not None:
            message += f" {bar.n:,} of {bar.total:,} videos are done and kept."
            now, done, left = _free(out), bar.n - bar.initial, bar.total - bar.n
            if free is not None and now is not None and done and free > now:
                needed = (free - now) / done * left
                message += f" The others need about {_megabytes(needed)}; {_megabytes(now)} are free."
        raise StorageError(f"{message} Once that is mended, the same command continues.") from None


def not_stored(error: OSError, out: Path | str = "The result") -> StorageError:
    """What could not be written, and why; ``out`` where the error does not know."""
    return StorageError(f"{error.filename or out} cannot be written: {error.strerror or error}.")


def _free(out: Path) -> int | None:
    try:
        return None if is_remote(out) else shutil.disk_usage(out).free
    except OSError:
        return None


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
