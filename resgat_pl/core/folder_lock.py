"""One command at a time on a folder of results: a second one waits, or is refused.

The lock is the operating system's (``flock``), so that it ends with the process that holds it, however that ends. A
file that a killed command leaves locks nothing; the next command takes it over and removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from resgat_pl.core.disk_full import storage_error
from resgat_pl.core.errors import ConfigError, StorageError
from resgat_pl.core.storage import is_remote
from resgat_pl.core.text import printable

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})
"""What some network disks say."""
LOCK_NAME: Final = ".lock"
"""There while a command is at work; no part of the results."""


@contextmanager
def folder_lock(folder: Path, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Keep other commands from a folder; one behind a URL cannot be locked, nor one of a disk without locks.

    Args:
        folder: The folder, made if need be.
        shared: Let others in that share it too, such as batch jobs that each do a part.
        wait: Wait until the others have ended, and say so.

    Raises:
        ConfigError: Another command is at work there, and ``wait`` is false.
        StorageError: The file that is locked cannot be made.
    """
    path = folder / LOCK_NAME
    handle = None if is_remote(folder) else _take(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait)
    try:
        yield
    finally:
        if handle is not None:
            _leave(path, handle)


def _take(path: Path, kind: int, wait: bool) -> int | None:
    """Open and lock the file; None where the disk has no locks."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = _open(path)
        except OSError as error:
            raise _no_lock(error, path) from None
        try:
            _lock(path, handle, kind, wait)
            if _is_at(path, handle):
                return handle
        except ConfigError:
            os.close(handle)
            raise
        except OSError as error:
            os.close(handle)
            if error.errno == errno.ESTALE:  # removed by another machine while this one waited
                continue
            if error.errno not in _NO_LOCKS:
                raise _no_lock(error, path) from None
            with suppress(OSError):
                path.unlink()
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # removed by the one that we waited for, so that it locks nothing: once more


def _no_lock(error: OSError, path: Path) -> StorageError:
    return StorageError(f"{storage_error(error, path)} Once that is mended, the same command continues.")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # a file that another user's killed command left: to lock it, reading is enough
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _lock(path: Path, handle: int, kind: int, wait: bool) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        if not wait:
            raise ConfigError(
                f"Another command is at work in {path.parent}. Give this one again when that has ended, and it goes on "
                "from there; or name another folder."
            ) from None
    told = f"resgat: another command is at work in {path.parent}; this one waits until that has ended"
    print(printable(told), file=sys.stderr, flush=True)  # noqa: T201 - else it would seem to hang
    fcntl.flock(handle, kind)


def _is_at(path: Path, handle: int) -> bool:
    try:
        there, mine = path.lstat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _leave(path: Path, handle: int) -> None:
    """Remove the file unless others share it, and end the lock also for copies of the handle in child processes."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
