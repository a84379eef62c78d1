"""Who does the work: this machine, a Dask cluster, or a Ray cluster.

An engine maps a function over items and yields the results as they complete. It decides nothing about the results, so
it is no part of what identifies them.

On this machine the function is called in threads: the work itself is done in a process that each call keeps beside it
and that may die without taking anything along (``cells``), on clusters too. joblib has backends for the clusters, but a
task whose worker dies again and again leaves ``Parallel`` waiting for ever under its Dask backend (joblib 1.6,
distributed 2026.8), and its Ray backend runs on actors, which are not replaced; their own task interfaces repeat the
task elsewhere and give up with an error.
"""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Literal, Protocol, TypeVar

from resgat_pl.core.errors import ConfigError, EngineError, ResGATError

EngineName = Literal["local", "dask", "ray"]

Item = TypeVar("Item")
Result = TypeVar("Result")

Probe = Callable[[], str]
"""Run on a worker before the work: what it cannot see, or empty text."""

_CONNECT_SECONDS = 10
_WORKERS_SECONDS = 30
_KEPT = "What was finished is kept: run the same command again"


class Engine(Protocol):
    """Something that can work."""

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], probe: Probe) -> Iterator[Result]:
        """Yield ``function(item)`` of every item, in the order in which they complete.

        ``function`` is unpacked once a worker thread and called there for many items, one at a time, so that it can
        keep what is expensive to make. On this machine its ``close()``, where it has one, is called at the end, from
        another thread while it is at work if that was given up.

        Raises:
            EngineError: The workers died, cannot be reached, or do not see what the work needs.
        """
        ...


@contextmanager
def open_engine(name: EngineName, address: str | None = None, jobs: int = 1) -> Iterator[Engine]:
    """Start or reach an engine.

    Args:
        name: ``local``, or an existing cluster of ``dask`` or ``ray``.
        address: Of the cluster, e.g. ``tcp://host:8786`` (Dask), ``host:6379`` or ``auto`` (Ray).
        jobs: How many to work with on this machine; a cluster has workers of its own.

    Raises:
        ConfigError: The engine is not installed, or the options do not go together.
        EngineError: The cluster does not answer.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}, must be at least 1")
    if name == "local":
        if address is not None:
            raise ConfigError(f"--address {address} names a cluster: add --engine dask or --engine ray")
        yield _Threads(jobs)
        return
    if jobs > 1:
        raise ConfigError(
            f"--jobs {jobs} are processes of this machine; with --engine {name} the cluster's workers do the work. "
            "Leave one of the two out."
        )
    with (_dask if name == "dask" else _ray)(address) as engine:
        yield engine


_unpacked = threading.local()


def _call(packed: bytes, item: Any) -> Any:
    """Call a pickled function, unpacked once a thread: detectors cannot be shared by threads."""
    if getattr(_unpacked, "packed", None) != packed:
        _unpacked.function = pickle.loads(packed)  # noqa: S301 - made by this program, on this cluster
        _unpacked.packed = packed
    return _unpacked.function(item)


class _Threads:
    """Threads that each keep a process for what may die or hang: the function's own, see ``cells``."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], probe: Probe) -> Iterator[Result]:
        jobs = min(self.jobs, len(items))
        packed = pickle.dumps(function) if jobs > 1 else b""
        copies = [pickle.loads(packed) for _ in range(jobs)] if jobs > 1 else [function]  # noqa: S301 - made here
        free: SimpleQueue[Callable[[Item], Result]] = SimpleQueue()
        for copy in copies:
            free.put(copy)

        def call(item: Item) -> Result:
            mine = free.get()
            try:
                return mine(item)
            finally:
                free.put(mine)

        pool = ThreadPoolExecutor(max(1, jobs), thread_name_prefix="extract")
        try:
            for future in as_completed({pool.submit(call, item) for item in items}):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for copy in copies:
                # Given up, a thread would otherwise wait for its process, minutes if that hangs.
                getattr(copy, "close", _nothing)()
            pool.shutdown(wait=True)


def _nothing() -> None: ...


class _Dask:
    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], probe: Probe) -> Iterator[Result]:
        from distributed import as_completed as completed
        from distributed.scheduler import KilledWorker

        self._check(probe)
        futures = self.client.map(partial(_call, pickle.dumps(function)), items, pure=False)
        try:
            for future in completed(futures, loop=self.client.loop):
                yield future.result()
                future.release()  # else the cluster keeps what it knows of every task until the end
        except KilledWorker as error:
            raise EngineError(
                f"A video killed the workers that tried it, one after another ({error}). {_KEPT}; if it dies again, "
                "give the workers more memory or look into their logs."
            ) from None
        except (CancelledError, OSError) as error:
            raise EngineError(
                f"The Dask cluster was lost during the work ({type(error).__name__}: {error}). {_KEPT} once it is back."
            ) from None
        finally:
            with suppress(Exception):  # the cluster may be the reason why we are here
                self.client.cancel(futures, force=True)

    def _check(self, probe: Probe) -> None:
        address = self.client.scheduler.address
        try:
            self.client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError:
            raise EngineError(
                f"The Dask scheduler at {address} has no workers after {_WORKERS_SECONDS} s. Start some: "
                f"dask worker {address} --nthreads 1"
            ) from None
        for worker, answer in self.client.run(probe, on_error="return").items():
            if problem := _problem(answer):
                raise EngineError(f"The Dask worker {worker} {problem}.")


def _problem(answer: str | BaseException) -> str:
    if isinstance(answer, ModuleNotFoundError):
        return f"lacks a package ({answer}): install resgat-pl there in the version that is installed here"
    return answer if isinstance(answer, str) else f"failed ({type(answer).__name__}: {answer})"


@contextmanager
def _dask(address: str | None) -> Iterator[Engine]:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("--engine dask needs Dask: pip install 'resgat-pl[dask]'") from None
    start = (
        "Start a cluster (dask scheduler; on each machine: dask worker tcp://HOST:8786 --nthreads 1 --nworkers auto)"
    )
    if address is None:
        raise ConfigError(f"--engine dask needs the scheduler's --address, e.g. tcp://127.0.0.1:8786. {start}.")
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"No Dask scheduler answers at {address} within {_CONNECT_SECONDS} s ({type(error).__name__}). {start}, "
            "or correct --address."
        ) from None
    with client:
        yield _Dask(client)


class _Ray:
    def run(self, function: Callable[[Item], Result], items: Sequence[Item], probe: Probe) -> Iterator[Result]:
        import ray

        # A task whose process or machine dies is tried again elsewhere, three times.
        call = ray.remote(max_retries=3)(_call)
        packed = ray.put(pickle.dumps(function))
        try:
            # Ray runs functions, no other callables, and this one on one machine only.
            if problem := ray.get(ray.remote(lambda: probe()).remote()):  # noqa: PLW0108 - see above
                raise EngineError(f"A Ray worker {problem}.")
            waiting = [call.remote(packed, item) for item in items]
            while waiting:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ResGATError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"The Ray cluster lost a task or was lost ({type(error).__name__}: {error}). {_KEPT}."
            ) from None


@contextmanager
def _ray(address: str | None) -> Iterator[Engine]:
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray: pip install 'resgat-pl[ray]'") from None
    start = "Start a cluster (ray start --head; on each other machine: ray start --address HOST:6379)"
    host, _, port = (address or "auto").removeprefix("ray://").rpartition(":")
    if address and address != "auto":
        # Ray's own attempts take minutes.
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise EngineError(
                f"No Ray cluster answers at {address} ({error}). {start}, or correct --address."
            ) from None
    own = not ray.is_initialized()
    try:
        if own:
            ray.init(address=address or "auto", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EngineError(f"No Ray cluster answers at {address or 'auto'} ({reason}). {start}.") from None
    try:
        yield _Ray()
    finally:
        if own:
            ray.shutdown()
