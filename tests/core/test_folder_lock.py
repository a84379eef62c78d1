"""One command at a time in a folder, and what becomes of the lock."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resgat_pl.core.errors import ConfigError, StorageError
from resgat_pl.core.folder_lock import LOCK_NAME, folder_lock
from resgat_pl.core.storage import locate

HOLD = """
import sys, time
from pathlib import Path
from resgat_pl.core.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with folder_lock(out):
        for shared in (False, True):
            with pytest.raises(ConfigError, match=r"new/out.* when that has ended"), folder_lock(out, shared=shared):
                pytest.fail("two at once")
    assert not list(out.iterdir())
    with folder_lock(out):
        pass


def test_those_that_share_keep_others_out_until_the_last_has_ended(tmp_path: Path) -> None:
    with folder_lock(tmp_path, shared=True):
        with folder_lock(tmp_path, shared=True), pytest.raises(ConfigError), folder_lock(tmp_path):
            pytest.fail("two at once")
        with pytest.raises(ConfigError), folder_lock(tmp_path):
            pytest.fail("one is left")
    with folder_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_many_that_wait_come_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that they wait for is removed again and again, and locks nothing then."""
    inside, most, turns = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(25):
            with folder_lock(tmp_path, wait=True):
                inside += 1
                most = max(most, inside)
                turns += 1
                threading.Event().wait(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, turns) == (1, 100)
    assert not list(tmp_path.iterdir())
    assert f"another command is at work in {tmp_path}; this one waits" in capsys.readouterr().err


def test_a_killed_command_locks_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(ConfigError), folder_lock(tmp_path):
                pytest.fail("two at once")
        finally:
            process.kill()
            process.wait(30)
    assert (tmp_path / LOCK_NAME).is_file()
    with folder_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_copy_of_the_handle_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As processes have that were forked during the work."""
    with folder_lock(tmp_path):
        (handle,) = [entry for entry in Path("/proc/self/fd").iterdir() if _is_lock(entry, tmp_path)]
        copy = os.dup(int(handle.name))
    try:
        with folder_lock(tmp_path):
            pass
    finally:
        os.close(copy)


def _is_lock(handle: Path, folder: Path) -> bool:
    try:
        return handle.readlink() == folder / LOCK_NAME
    except OSError:  # that of the listing itself
        return False


def test_a_link_is_not_followed_and_a_store_not_locked(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"\.lock cannot be written"), folder_lock(tmp_path):
        pytest.fail("followed")
    assert not (tmp_path / "elsewhere").exists()
    with folder_lock(locate("memory://crops")), folder_lock(locate("memory://crops")):
        pass


def test_a_lock_that_cannot_be_had_is_an_error_and_one_that_the_disk_does_not_know_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([errno.ESTALE, errno.ENOTSUP, errno.ENOLCK, errno.EIO])

    def flock(handle: int, kind: int) -> None:
        raise OSError(code := next(codes), os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with folder_lock(tmp_path), folder_lock(tmp_path):  # once more after the file was removed elsewhere; then without
        assert not (tmp_path / LOCK_NAME).exists()
    with pytest.raises(StorageError, match="cannot be written"), folder_lock(tmp_path):
        pytest.fail("without a lock")
    assert (tmp_path / LOCK_NAME).exists()  # which may be another's
