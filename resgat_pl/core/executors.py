"""Executors for the work on videos: threads of this machine, or the workers of an existing Dask cluster.

Both are a ``concurrent.futures.Executor``, so that ``run_all`` needs no distinction. The results do not depend on it.

Threads are enough on this machine: work that can crash or hang is done in an ``IsolatedProcess`` that each thread
starts and reuses, on a cluster too. joblib has a Dask backend, but a task whose worker dies again and again leaves its
``Parallel`` waiting for ever (joblib 1.6, distributed 2026.8); Dask's own tasks are repeated on other workers and fail
with an error in the end.
"""

from __future__ import annotations

import pickle
import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar, get_args

from resgat_pl.core.errors import ConfigError, EngineError
from resgat_pl.core.isolated_process import pickle_function

EngineName = Literal["local", "dask"]

Item = TypeVar("Item")
Result = TypeVar("Result")

NO_RAY = (
    "--engine ray: Ray is not supported any more. Use a Dask cluster (--engine dask --address tcp://HOST:8786), or an "
    "array of batch jobs that each do a part (--part 3/50) and a last one with --merge."
)
_CONNECT_SECONDS = 10
_WORKERS_SECONDS = 30
_START = "Start a cluster (dask scheduler; on each machine: dask worker tcp://HOST:8786 --nthreads 1 --nworkers auto)"
_STORED = "What was finished is stored: run the same command again"


@contextmanager
def open_executor(engine: EngineName = "local", address: str | None = None, jobs: int = 1) -> Iterator[Executor]:
    """Start the threads of this machine, or connect to a cluster.

    Args:
        engine: ``local``, or ``dask`` for an existing cluster.
        address: The Dask scheduler's, e.g. ``tcp://host:8786``.
        jobs: Threads of this machine, each with a separate process for decoding; a cluster has its own workers.

    Raises:
        ConfigError: The engine is unknown or not installed, or the options do not go together.
        EngineError: The cluster does not answer, or has no workers.
    """
    # Options that contradict each other.
    if engine not in get_args(EngineName):
        raise ConfigError(NO_RAY if str(engine) == "ray" else f"--engine is {engine}, must be local or dask")
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}, must be at least 1")
    if engine == "local" and address is not None:
        raise ConfigError(f"--address {address} names a cluster: add --engine dask")
    if engine == "dask" and jobs > 1:
        raise ConfigError(
            f"--jobs {jobs} are processes of this machine; with --engine dask the cluster's workers do the work. "
            "Leave one of the two out."
        )

    # The executor.
    if engine == "local":
        with ThreadPoolExecutor(jobs, thread_name_prefix="resgat") as threads:
            yield threads
        return
    with _connect(address) as client:
        executor = client.get_executor(pure=False)
        executor.client = client  # for ``check_workers``
        yield executor


def check_workers(executor: Executor, probe: Callable[[], str]) -> None:
    """Run a check on every worker of a cluster, not on threads of this machine.

    Args:
        executor: Of ``open_executor``.
        probe: Returns what the worker lacks, or empty text.

    Raises:
        EngineError: Names the worker and what it lacks.
    """
    client: Any = getattr(executor, "client", None)
    if client is None:
        return
    for worker, answer in client.run(probe, on_error="return").items():
        if isinstance(answer, ModuleNotFoundError):
            problem = f"lacks a package ({answer}): install resgat-pl there in the version that is installed here"
        elif isinstance(answer, BaseException):
            problem = f"failed ({type(answer).__name__}: {answer})"
        else:
            problem = answer
        if problem:
            raise EngineError(f"The Dask worker {worker} {problem}.")


def run_all(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` of every item, in the order in which they complete.

    Each worker thread unpickles the function once and calls its copy for one item at a time, so that a copy can hold
    what is expensive to make. On this machine ``close()`` of the copies, where they have one, is called at the end,
    also while they run if the work was given up.

    Raises:
        EngineError: The workers died, or the cluster was lost.
    """
    call = _ThreadCopies(pickle_function(function))
    pending = {executor.submit(call, item) for item in items}
    try:
        for future in as_completed(pending):
            yield future.result()
            pending.discard(future)  # a cluster stores the result of each task that is referred to
    except Exception as error:
        if hasattr(executor, "client") and (lost := _cluster_error(error)) is not None:
            raise lost from None
        raise
    finally:
        with suppress(Exception):  # the cluster may be the reason for being here
            for future in pending:
                future.cancel()
        call.close()


_of_thread = threading.local()


class _ThreadCopies:
    """A pickled function of which each thread calls a separate copy: detectors cannot be shared by threads."""

    def __init__(self, pickled: bytes, token: str = "") -> None:
        self._pickled = pickled
        self._token = token or secrets.token_hex(8)  # the same for the pickled copies that a cluster makes of this
        self._copies: list[Any] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _ThreadCopies, (self._pickled, self._token)

    def __call__(self, item: Any) -> Any:
        if getattr(_of_thread, "token", None) != self._token:
            _of_thread.function = pickle.loads(self._pickled)  # noqa: S301 - made by this program, on this cluster
            _of_thread.token = self._token
            with self._lock:
                self._copies.append(_of_thread.function)
        if self._is_closed:
            raise EngineError("The work was given up.")
        return _of_thread.function(item)

    def close(self) -> None:
        """Close the copies of this process: a thread would otherwise wait for its process, for minutes if that hangs.

        A thread that is about to make its copy sees that it is too late.
        """
        self._is_closed = True
        with self._lock:
            copies = [*self._copies]
        for copy in copies:
            if hasattr(copy, "close"):
                copy.close()


@contextmanager
def _connect(address: str | None) -> Iterator[Any]:
    """A client of the scheduler at ``address``, which has workers."""
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("--engine dask needs Dask: pip install 'resgat-pl[dask]'") from None
    if address is None:
        raise ConfigError(f"--engine dask needs the scheduler's --address, e.g. tcp://127.0.0.1:8786. {_START}.")
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"No Dask scheduler answers at {address} within {_CONNECT_SECONDS} s ({type(error).__name__}). {_START}, "
            "or correct --address."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError:
            raise EngineError(
                f"The Dask scheduler at {address} has no workers after {_WORKERS_SECONDS} s. Start some: "
                f"dask worker {address} --nthreads 1"
            ) from None
        yield client


def _cluster_error(error: Exception) -> EngineError | None:
    """An error of the cluster in words; None if the work itself raised it."""
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return EngineError(
            f"A video killed the workers that tried it, one after another ({error}). {_STORED}; if it dies again, "
            "give the workers more memory or look into their logs."
        )
    if isinstance(error, CancelledError | OSError):
        return EngineError(
            f"The Dask cluster was lost during the work ({type(error).__name__}: {error}). {_STORED} once it is back."
        )
    return None
