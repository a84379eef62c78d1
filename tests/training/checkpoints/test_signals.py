"""A second signal ends the process at once; the same one, sent twice within two seconds, does not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from resgat_pl.training.checkpoints.signals import StopSignals

SECOND = """
import os, signal, sys, time
from resgat_pl.training.checkpoints import signals
signals.StopSignals().install()
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)  # the same, passed on by a parent
print("still here", flush=True)
signals._SAME_SECONDS = 0.0
os.kill(os.getpid(), getattr(signal, sys.argv[1]))
print("too long", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_second_signal_ends_at_once(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SECOND, name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-getattr(signal, name), "still here\n"), done.stderr


def test_handlers_are_restored() -> None:
    kinds = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in kinds]
    stop = StopSignals()
    stop.install()
    stop.install()  # in the sanity check, and again when training starts
    assert [signal.getsignal(number) for number in kinds] == [stop.handle] * 3
    stop.handle(signal.SIGUSR1, None)
    assert stop.received == signal.SIGUSR1
    stop.remove()
    assert [signal.getsignal(number) for number in kinds] == before
