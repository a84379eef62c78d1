"""Imported by the fork server and by nothing else, since importing it changes signals; see ``workers``.

Were the server to end on a signal to the whole group, its workers would end after it.
"""

from __future__ import annotations

import os
import signal

_SIGNALS = {signal.SIGTERM, signal.SIGUSR1}  # SIGINT it ignores by itself; it ends with main

signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS))
