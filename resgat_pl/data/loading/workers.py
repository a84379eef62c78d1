"""Worker processes that load crops: who starts them, and which signal reaches whom."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import resource_tracker
from typing import Any, Final

import cv2
import torch

_shared_imports: Final = ["resgat_pl.data.loading.fork_server", "resgat_pl.data.loading.dataset"]


def share_imports(*more: str) -> None:
    """Let the process that loading processes are forked from import what they need, once for all of them.

    It has an effect before the first loading process is started.

    Args:
        *more: Modules besides those that every loading process needs.
    """
    _shared_imports.extend(name for name in more if name not in _shared_imports)
    multiprocessing.get_context("forkserver").set_forkserver_preload(_shared_imports)


def _start_tracker() -> None:
    """Start Python's process that keeps count of semaphores so that no SIGUSR1 to the whole group ends it.

    Its successor would print a traceback for each semaphore that it does not know.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # which it inherits
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def loading(workers: int) -> dict[str, Any]:
    """Options of a ``DataLoader`` of crops.

    Args:
        workers: Loading processes; 0 loads in the caller's own.
    """
    if workers:
        share_imports()
        _start_tracker()
    return {
        "num_workers": workers,
        "pin_memory": torch.cuda.is_available(),
        "persistent_workers": workers > 0,
        # forkserver: forking a process that holds CUDA, OpenCV or wandb threads can deadlock.
        "multiprocessing_context": "forkserver" if workers else None,
        "worker_init_fn": start_worker,
    }


def start_worker(number: int) -> None:
    """Set up a loading process: torch gives each one thread, OpenCV would start one a core in each of them.

    It ends when the process that it loads for does. With forkserver torch's own watch does not see that: it looks at
    the fork server, which in turn lives for as long as a loading process does.
    """
    cv2.setNumThreads(0)
    # Signals go to the whole group; the training finishes its step, and needs batches for that.
    for ignored in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(ignored, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where SIGTERM to the whole group ends loading processes
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for threads to come as well
        threading.Thread(target=_end_on_signal, daemon=True, name="end-on-signal").start()
    threading.Thread(target=_end_with_parent, daemon=True, name="end-with-parent").start()


def _end_on_signal() -> None:
    """End on the parent's SIGTERM, by which it ends those that it loads with and then waits for them; on no other."""
    parent = multiprocessing.parent_process()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != (parent.pid if parent else 0):
        pass
    os._exit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
