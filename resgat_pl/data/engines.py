"""Who does the work: processes of this machine, a Dask cluster, or a Ray cluster.

An engine maps a function over items and yields the results as they complete. It decides nothing about the results, so
it is no part of what identifies them.

Local processes are joblib's (loky). For the clusters joblib has backends too, but a task whose worker dies again and
again leaves ``Parallel`` waiting for ever under its Dask backend (joblib 1.6, distributed 2026.8), and its Ray backend
runs on actors, which are not replaced; their own task interfaces repeat the task elsewhere and give up with an error.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import cv2

from resgat_pl.errors import ConfigError, EngineError, ResGATError

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
        keep what is expensive to make.

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
        jobs: Local processes; a cluster has workers of its own.

    Raises:
        ConfigError: The engine is not installed, or the options do not go together.
        EngineError: The cluster does not answer.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}, must be at least 1")
    if name == "local":
        if address is not None:
            raise ConfigError(f"--address {address} names a cluster: add --engine dask or --engine ray")
        yield _Processes(jobs)
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
        cv2.setNumThreads(1)  # the workers are the parallelism
        _unpacked.function = pickle.loads(packed)  # noqa: S301 - made by this program, on this cluster
        _unpacked.packed = packed
    return _unpacked.function(item)


class _Processes:
    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], probe: Probe) -> Iterator[Result]:
        jobs = min(self.jobs, len(items))
        if jobs <= 1:
            yield from map(function, items)
            return
        from joblib import Parallel, delayed  # here: it takes a while, and one process needs none of it
        from joblib.externals.loky import get_reusable_executor

        call = delayed(partial(_call, pickle.dumps(function)))
        pool = Parallel(
            jobs,
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,  # what is in a batch with a task that kills its worker is lost with it
            initializer=_start_process,
            initargs=(os.getpid(),),
        )
        results = pool(call(item) for item in items)
        try:
            yield from results
        except BrokenProcessPool as error:
            reason = str(error).splitlines()[0]
            raise EngineError(
                f"A worker process died, killed by the system or by a decoder ({reason}). "
                f"{_KEPT}, with fewer --jobs if memory ran out."
            ) from None
        finally:
            results.close()
            get_reusable_executor(reuse=True).shutdown(wait=True)  # joblib would keep the processes for five minutes


def _start_process(parent: int) -> None:
    # A worker whose parent was killed would wait for work for minutes.
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class _Dask:
    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], probe: Probe) -> Iterator[Result]:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        self._check(probe)
        futures = self.client.map(partial(_call, pickle.dumps(function)), items, pure=False)
        try:
            for future in as_completed(futures, loop=self.client.loop):
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
