"""Ranks end together: when one dies, the others say which and end, instead of waiting for it.

For ranks that Lightning starts on one machine, where rank 0 is the parent of the others. Under torchrun and SLURM the
agent, or ``srun --kill-on-bad-exit``, does it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Final

GRACE: Final = 10.0
"""Seconds that a rank has for ending by itself, with its own message, once another one has ended."""
_PARENT: Final = "RESGAT_RANK_ZERO"
_BROKEN = re.compile(r"gloo|nccl|connection|socket|peer|broken pipe", re.IGNORECASE)
_leaving = threading.Event()
_started_by_rank_zero = threading.Event()
_children: list[subprocess.Popen[Any]] = []


def end_together() -> None:
    """Watch the other ranks in place of Lightning, which kills all processes without saying which rank is to blame.

    In a rank that rank 0 started: watch rank 0.
    """
    from lightning.pytorch.strategies.launchers import subprocess_script

    setattr(subprocess_script, "_launch_process_observer", _watch_children)  # noqa: B010 - it is private
    if _rank_zero_lives():
        _started_by_rank_zero.set()
        threading.Thread(target=_watch_parent, daemon=True, name="watch-rank-0").start()
    else:
        os.environ[_PARENT] = str(os.getpid())  # the other ranks inherit it


def leaving() -> None:
    """This rank has an error of its own, and ends when it is done with it: no other is to be watched any more."""
    _leaving.set()


def lost_rank(error: BaseException, wait: float = GRACE) -> str | None:
    """Which rank ended, if that is what an error of this one comes from.

    Args:
        error: What torch raised; gloo and NCCL say that a connection broke, not whose.
        wait: Seconds to wait for the process that broke it to be gone.
    """
    import torch

    if not _BROKEN.search(str(error)) or not torch.distributed.is_initialized():
        return None
    end = time.monotonic() + wait
    while time.monotonic() < end:
        if (told := _ended()) is not None:
            return told
        if _started_by_rank_zero.is_set() and not _rank_zero_lives():
            return "rank 0 ended"
        time.sleep(0.1)
    return None


def note_rank(error: BaseException) -> None:
    """Write into an error of this rank's own, which its traceback shows, on which of several ranks it happened."""
    import torch

    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        error.add_note(f"This happened on rank {torch.distributed.get_rank()}; all ranks end.")


def _rank_zero_lives() -> bool:
    """Whether the process of rank 0 started this one and is alive: of a dead one, children get another parent."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and os.environ.get(_PARENT) == str(os.getppid())


def _ended() -> str | None:
    """Which of the ranks that this one started has failed."""
    for rank, child in enumerate(_children, 1):
        status = child.poll()
        if status is not None and status < 0:
            return f"rank {rank} (process {child.pid}) was killed by {signal.Signals(-status).name}"
        if status:
            return f"rank {rank} (process {child.pid}) ended with status {status}; its message is above"
    return None


def _watch_children(children: list[subprocess.Popen[Any]]) -> None:
    _children[:] = children
    threading.Thread(target=_watch, daemon=True, name="watch-ranks").start()


def _watch() -> None:
    while (told := _ended()) is None:
        if all(child.returncode == 0 for child in _children):
            return
        time.sleep(0.2)
    if not _leaving.wait(GRACE):  # a rank that notices ends with a message of its own, and this thread with it
        _leave(told)


def _watch_parent() -> None:
    while _rank_zero_lives():
        time.sleep(0.2)
    if not _leaving.wait(GRACE):
        _leave("rank 0 ended")


def _leave(told: str) -> None:
    print(f"resgat: error: {told}; this rank waits in vain and ends too.", file=sys.stderr, flush=True)  # noqa: T201 - no one is left to raise it to
    for child in _children:
        child.kill()
    os._exit(1)
