"""A small disk for a test: a tmpfs of its own, which can be filled, set read-only and enlarged."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")


class SmallDisk:
    """A mounted tmpfs.

    Attributes:
        path: Where it is mounted.
    """

    def __init__(self, path: Path, megabytes: float) -> None:
        self.path = path
        path.mkdir()
        if MOUNT is None or UMOUNT is None or os.geteuid() != 0:
            pytest.skip("a small disk can only be mounted by root")
        options = f"size={int(megabytes * 1024)}k"
        done = subprocess.run([MOUNT, "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")

    def remount(self, options: str) -> None:
        """Change it: ``size=20m``, ``ro`` or ``rw``."""
        assert MOUNT is not None
        subprocess.run([MOUNT, "-o", f"remount,{options}", self.path], check=True)

    def fill(self, leave: int = 0) -> None:
        """Take all its room but so many bytes."""
        free = shutil.disk_usage(self.path).free
        with (self.path / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - leave, 1))

    def relieve(self) -> None:
        """Give the room back."""
        (self.path / "ballast").unlink()

    def close(self) -> None:
        """Take it away, whatever is still open there."""
        assert UMOUNT is not None
        subprocess.run([UMOUNT, "-l", self.path], check=True)
