"""Signal handlers for training: the first signal is remembered, a second one stops the process."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Final

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_SAME_SECONDS: Final = 2.0
"""A signal repeated within this time is the same one: sent to the group, and passed on by a parent."""


class StopSignals:
    """Remembers SIGTERM, SIGUSR1 or Ctrl-C until training can stop between two steps.

    Attributes:
        received: Number of the first signal, 0 for none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._received_at = 0.0
        self._handlers_before: dict[int, Any] = {}

    def install(self) -> None:
        """Replace the handlers; outside the main thread, where Python allows none, nothing is done."""
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                before = signal.signal(number, self.handle)
                self._handlers_before.setdefault(number, before)

    def remove(self) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._handlers_before.items():
            if handler is not None:  # None is one that Python does not know
                signal.signal(number, handler)
        self._handlers_before.clear()

    def handle(self, number: int, frame: object) -> None:
        """Remember the first signal; end the process on a second one."""
        now = time.monotonic()
        if number == self.received and now - self._received_at < _SAME_SECONDS:
            return
        if self.received:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received, self._received_at = number, now
