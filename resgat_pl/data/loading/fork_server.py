"""Imported by the process that loading processes are forked from, and by nothing else: importing it changes signals.

A terminal and SLURM send signals to all processes. Were this one to end, loading processes would end after it, and the
training could not finish its step and validation.
"""

from __future__ import annotations

import os
import signal

_TOLD = {signal.SIGTERM, signal.SIGUSR1}  # SIGINT it ignores by itself; it ends with the training

signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD))
