"""One command at a time on a folder of results: a second one waits, or is refused.

The locks are the operating system's (``flock``, by filelock), so that they end with the process that holds them,
however that ends. The file of a killed command locks nothing; the next command reuses and removes it.
"""

from __future__ import annotations

import errno
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from resgat_pl.core.disk_full import storage_error
from resgat_pl.core.errors import ConfigError, StorageError
from resgat_pl.core.storage import is_remote
from resgat_pl.core.text import printable

LOCK_NAME: Final = ".lock"
"""Present while a command works in the folder; those that share it have ``.lock-`` and a random suffix."""
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})
"""Errors of some network disks, which have no locks."""


@contextmanager
def folder_lock(folder: Path, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Exclude other commands from a folder, except one behind a URL or on a disk without locks.

    Args:
        folder: The folder, made if need be.
        shared: Admit others that share it too, such as batch jobs that each do a part.
        wait: Wait until the others have ended, and say so.

    Raises:
        ConfigError: Another command works there, and ``wait`` is false.
        StorageError: The file that is locked cannot be made.

    Example:
        >>> with folder_lock(Path("results")):
        ...     [path.name for path in Path("results").iterdir()]
        ['.lock']
    """
    if is_remote(folder):
        yield
        return
    with ExitStack() as locks:
        if shared:
            # Nobody holds the folder's own lock for long but those who want it for themselves.
            with _locked(folder / LOCK_NAME, wait):
                locks.enter_context(_locked(folder / f"{LOCK_NAME}-{secrets.token_hex(8)}", wait))
        else:
            locks.enter_context(_locked(folder / LOCK_NAME, wait))
            for path in sorted(folder.glob(f"{LOCK_NAME}-*")):
                locks.enter_context(_locked(path, wait))
        yield


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[None]:
    lock = FileLock(path, mode=0o666, thread_local=False, fallback_to_soft=False)  # left by another user, it opens too
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock, path, wait)
            break
        except OSError as error:
            if error.errno == errno.ESTALE:  # removed by another machine in the meantime
                continue
            if error.errno in _NO_LOCKS:
                with suppress(OSError):
                    path.unlink()
                break
            raise StorageError(
                f"{storage_error(error, path)} Once that is fixed, the same command continues."
            ) from None
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # those who wait see that it is gone, and make another
        with suppress(OSError):
            lock.release()


def _acquire(lock: FileLock, path: Path, wait: bool) -> None:
    try:
        lock.acquire(blocking=False)
        return
    except Timeout:
        if not wait:
            raise ConfigError(
                f"Another command is at work in {path.parent}. Give this one again when that has ended, and it goes on "
                "from there; or name another folder."
            ) from None
    message = f"resgat: another command is at work in {path.parent}; this one waits until that has ended"
    print(printable(message), file=sys.stderr, flush=True)  # noqa: T201 - else it would seem to hang
    lock.acquire()
