"""Worker processes that load crops: who starts whom, and which signal reaches whom.

::

    training (main)
    |-- resource tracker    Python's: cleans up semaphores after a crash
    `-- fork server         Python's: a small process that has imported ``_shared_imports`` and nothing else
        |-- worker 0        forked from the server for ``DataLoader``, with these imports and no CUDA, OpenCV or
        `-- worker 1        wandb threads, which a fork of main would copy half

Ctrl-C, SLURM and ``torchrun`` signal the whole group at once. Main decides what a signal means: it finishes its step,
validates and saves, and needs batches until then. So all others outlive it:

=================  ===========================  ===========================  =====================================
process            SIGINT                       SIGUSR1 (SLURM's warning)    SIGTERM
=================  ===========================  ===========================  =====================================
main               ends after the step          saves, is queued again       ends after the step
resource tracker   ignored (by Python)          blocked (``_start_tracker``) ignored (by Python)
fork server        ignored (by Python)          blocked (``fork_server``)    blocked (``fork_server``)
worker             ignored (``start_worker``)   ignored (``start_worker``)   ends if main sent it, else ignored
=================  ===========================  ===========================  =====================================

When main ends in order, ``DataLoader`` sends its workers SIGTERM. When main is killed, each worker sees its end by
itself (``_end_with_parent``), and fork server and tracker end with the last process that holds their pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import resource_tracker
from typing import Any, Final

import cv2
import torch

from resgat_pl.core.errors import ResGATError

_shared_imports: Final = ["resgat_pl.data.loading.fork_server", "resgat_pl.data.loading.dataset"]


def share_imports(*more: str) -> None:
    """Let the fork server import what workers need, once for all of them; effective before the first worker starts.

    Args:
        *more: Modules besides those that every worker needs.
    """
    _shared_imports.extend(name for name in more if name not in _shared_imports)
    multiprocessing.get_context("forkserver").set_forkserver_preload(_shared_imports)


def _start_tracker() -> None:
    """Start the resource tracker so that no SIGUSR1 to the whole group ends it.

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
        workers: Worker processes; 0 loads in the caller's own.
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
    """Set up a worker: torch gives each one thread, OpenCV would start one per core in each of them.

    It ends when main does. With forkserver torch's own watch does not see that: it looks at the fork server, which in
    turn lives for as long as a worker does.
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
    """End on main's SIGTERM, by which it ends its workers before it waits for them; on no other."""
    parent = multiprocessing.parent_process()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != (parent.pid if parent else 0):
        pass
    _end(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _end(1)


def _end(status: int) -> None:
    """End at once, but for a moment in which a worker that is ending anyway may unregister its semaphores.

    Cut off between their removal and that, Python's resource tracker would warn of semaphores that are not there.
    """
    threading.main_thread().join(0.5)
    os._exit(status)


def first_failure(mine: ResGATError | None) -> ResGATError | None:
    """The error of the first process that has one; the same on all processes.

    A process that raised alone would leave the others waiting for it; and a machine may lack what others have.
    """
    everywhere: list[ResGATError | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everywhere, mine)
    return next((failure for failure in everywhere if failure is not None), None)
