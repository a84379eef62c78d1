"""A small disk for a test: a separate tmpfs, which can be filled, set read-only and enlarged."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The machines of continuous integration let their user do it; on anybody else's nothing is asked of sudo.
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"] if os.environ.get("CI") and shutil.which("sudo") else None


class SmallDisk:
    """A mounted tmpfs.

    Attributes:
        path: Where it is mounted.
    """

    def __init__(self, path: Path, megabytes: float) -> None:
        self.path = path
        path.mkdir()
        if AS_ROOT is None or shutil.which("mount") is None:
            pytest.skip("a small disk can only be mounted by root")
        options = f"size={int(megabytes * 1024)}k,mode=700,uid={os.geteuid()},gid={os.getegid()}"
        command = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")

    def remount(self, options: str) -> None:
        """Change it: ``size=20m``, ``ro`` or ``rw``."""
        subprocess.run([*(AS_ROOT or []), "mount", "-o", f"remount,{options}", str(self.path)], check=True)

    def fill(self, leave: int = 0) -> None:
        """Take all free space but so many bytes."""
        free = shutil.disk_usage(self.path).free
        with (self.path / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - leave, 1))

    def relieve(self) -> None:
        """Give the space back."""
        (self.path / "ballast").unlink()

    @contextmanager
    def refusing(self, how: str) -> Iterator[None]:
        """Be ``full`` or ``read-only`` for a while."""
        self.fill() if how == "full" else self.remount("ro")
        yield
        self.relieve() if how == "full" else self.remount("rw")

    def close(self) -> None:
        """Unmount it, whatever is still open there."""
        subprocess.run([*(AS_ROOT or []), "umount", "-l", str(self.path)], check=True)
