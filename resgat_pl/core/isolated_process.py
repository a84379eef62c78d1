"""A persistent worker subprocess with crash isolation and a timeout, for work that can die or hang, such as decoding.

Not a ``multiprocessing`` process: those of a Dask worker are daemons, which may have no children, and a started one
would import the user's main module again.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from weakref import finalize

from resgat_pl.core.errors import EngineError

Task = TypeVar("Task")
Output = TypeVar("Output")

_READY, _OUTPUT, _DONE, _ERROR = range(4)
"""First part of each message of the child; the second is None, an output, None, or an error with its traceback."""
_IDLE_SECONDS: Final = 120
"""Without work for so long a child exits; the next task starts another. A cluster's workers live for days."""
_START_SECONDS: Final = 300
_GIVEN_UP: Final = "The work was given up."


class ProcessDiedError(Exception):
    """The process died during the work; the text says of what."""


class ProcessTimeoutError(Exception):
    """The work took longer than its limit; the process was ended."""


class IsolatedProcess(Generic[Task, Output]):
    """Calls a function in a child process, for one task after the other; its outputs arrive as they are yielded.

    The child stays from one task to the next, so that a detector is loaded once, and is replaced when it died::

        idle --start()--> starting --READY--> ready --run(task)--> busy
         ^                    |                 ^                    |
         |                    |                 +---- DONE, ERROR ---+
         |                    |                 |                    |
         |                    v                 v                    v
         +--- next run() --- dead: failed to start; _IDLE_SECONDS without work; crashed, over its limit, or its
                              outputs were not read to the end

    ``close()`` leads to *dead* from everywhere, and nothing leads on from there.

    Args:
        function: Takes a task and yields outputs. It is unpickled once in each child, so it can hold a detector.
        threads: Threads of OpenCV in the child; None leaves its default.

    Example:
        >>> process = IsolatedProcess(str.split)
        >>> list(process.run("in another process"))
        ['in', 'another', 'process']
        >>> process.close()
    """

    def __init__(self, function: Callable[[Task], Iterable[Output]], threads: int | None = None) -> None:
        self._function = function
        self._threads = threads
        self._child: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None
        self._is_ready = False
        self._is_closed = threading.Event()
        self._finalize_child: finalize[..., Any] | None = None

    def run(self, task: Task, limit: float = float("inf")) -> Iterator[Output]:
        """Yield what the function yields for a task.

        Args:
            task: What to work on.
            limit: Seconds that may be spent waiting for it.

        Raises:
            ProcessDiedError: The child died. The next call starts another.
            ProcessTimeoutError: ``limit`` was exceeded.
            EngineError: The child cannot be started, or this was closed.
            Exception: Whatever the function raised.
        """
        data = pickle.dumps(task)
        for is_last_try in (False, True):
            link = self._ready_link()
            is_read_to_end = False
            try:
                with suppress(BrokenPipeError):  # waiting for the answer gives the cause
                    link.send_bytes(data)
                for kind, value in self._messages(link, limit):
                    if kind == _OUTPUT:
                        yield value
                        continue
                    is_read_to_end = True
                    if kind == _ERROR:
                        error, trace = value
                        raise error from _ChildTracebackError(trace)
                    return
            except _ChildExitedError as exited:
                # Idle for too long, a child exits; this task may have come just then.
                if is_last_try or not exited.was_idle:
                    raise ProcessDiedError(exited.reason) from None
            finally:
                if not is_read_to_end:
                    self._end_child()

    def start(self) -> None:
        """Start the child, without waiting for it."""
        if self._is_closed.is_set():
            raise EngineError(_GIVEN_UP)
        if self._child is not None and self._child.poll() is None:
            return
        self._end_child()
        pickled = pickle_function(self._function)

        # -P: what lies in the current folder is no module of this program.
        command = [sys.executable, "-P", "-m", "resgat_pl.core.isolated_process"]
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        # OpenCV stays silent: the summary says what is damaged.
        environment = {"OPENCV_LOG_LEVEL": "OFF", **os.environ, "PYTHONPATH": path}
        try:
            ours, childs = socket.socketpair()
            with childs:
                self._child = subprocess.Popen(  # noqa: S603 - this program itself, without a shell
                    [*command, str(childs.fileno()), str(os.getpid())],
                    pass_fds=[childs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=environment,
                )
        except OSError as error:
            raise EngineError(f"A process for decoding cannot be started ({error}): use fewer --jobs.") from None
        self._link = Connection(ours.detach())
        self._is_ready = False
        self._finalize_child = finalize(self, _kill_child, self._child, self._link)

        with suppress(BrokenPipeError):  # reported by ``_ready_link``
            self._link.send_bytes(pickled)
            self._link.send(self._threads)
        if self._is_closed.is_set():  # by another thread, just now
            self._end_child()

    def close(self) -> None:
        """End the child; may be called from another thread, whose work then fails."""
        self._is_closed.set()
        child = self._child
        if child is not None:
            child.kill()
            child.wait()

    def _ready_link(self) -> Connection:
        """The connection to a child that has said that it is ready."""
        self.start()
        link, child = self._link, self._child
        if link is None or child is None:
            raise EngineError(_GIVEN_UP)
        if self._is_ready:
            return link
        try:
            kind, value = link.recv() if link.poll(_START_SECONDS) else (_ERROR, None)
        except (EOFError, ConnectionError):
            kind, value = _ERROR, None
        if kind == _ERROR:
            self._end_child()
            if self._is_closed.is_set():
                raise EngineError(_GIVEN_UP)
            if value is not None:
                raise value[0] from _ChildTracebackError(value[1])
            raise EngineError(
                f"A process for decoding cannot be started (exit status {child.returncode}); its own message is "
                "above. Usually memory or processes have run out: use fewer --jobs."
            )
        self._is_ready = True
        return link

    def _messages(self, link: Connection, limit: float) -> Iterator[tuple[int, Any]]:
        """Messages of the child; ``limit`` counts the time of waiting, not that of the caller in between."""
        is_first, left = True, limit
        while True:
            began = time.monotonic()
            try:
                if not link.poll(None if left == float("inf") else max(0.0, left)):
                    raise ProcessTimeoutError(f"took longer than {limit:g} s")
                data = link.recv_bytes()
            except (EOFError, ConnectionError):
                raise self._exit_of_child(is_first) from None
            left -= time.monotonic() - began
            is_first = False
            yield pickle.loads(data)  # noqa: S301 - from a process of this program

    def _exit_of_child(self, before_first_message: bool) -> _ChildExitedError:
        """Cause of the child's exit."""
        if self._is_closed.is_set():
            raise EngineError(_GIVEN_UP)
        status = -1 if self._child is None else self._child.wait()
        if status >= 0:
            reason = f"the decoder ended by itself (exit status {status})"
            return _ChildExitedError(reason, was_idle=before_first_message and status == 0)
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = "unknown"
        if -status == signal.SIGKILL:
            return _ChildExitedError(
                f"the decoder was killed (signal {-status}, {name}), usually because memory had run out"
            )
        return _ChildExitedError(f"the decoder died (signal {-status}, {name})")

    def _end_child(self) -> None:
        if self._finalize_child is not None:
            self._finalize_child()
        self._finalize_child = self._child = self._link = None


class _ChildExitedError(Exception):
    def __init__(self, reason: str, was_idle: bool = False) -> None:
        self.reason = reason
        self.was_idle = was_idle


class _ChildTracebackError(Exception):
    """The traceback of an error in the child."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def _kill_child(child: subprocess.Popen[bytes], link: Connection) -> None:
    link.close()
    child.kill()
    child.wait()


def pickle_function(function: Callable[..., Any]) -> bytes:
    """Pickle a function, with the code of its classes where another process could not import them."""
    try:
        data = pickle.dumps(function)
        if b"__main__" not in data:
            return data
    except (pickle.PicklingError, AttributeError, TypeError):
        pass
    import cloudpickle

    return bytes(cloudpickle.dumps(function))


# --- in the child


def _serve(descriptor: int, parent: int) -> None:
    """Unpickle the function, then call it for each task that comes."""
    # Terminals and batch systems signal all processes; the parent decides about this one, and kills it then.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()

    # starting
    link = Connection(descriptor)
    try:
        pickled = link.recv_bytes()
        threads = link.recv()
        function = pickle.loads(pickled)  # noqa: S301 - from the parent
        if threads is not None:
            import cv2

            cv2.setNumThreads(threads)
    except Exception as error:
        link.send((_ERROR, _picklable(error)))
        return
    link.send((_READY, None))

    # ready and busy, by turns
    while link.poll(_IDLE_SECONDS):
        try:
            task = pickle.loads(link.recv_bytes())  # noqa: S301 - from the parent
        except (EOFError, ConnectionError):
            return
        last: tuple[int, Any] = (_DONE, None)
        try:
            for output in function(task):
                _send(link, (_OUTPUT, output))
        except Exception as error:
            last = (_ERROR, _picklable(error))
        _send(link, last)


def _send(link: Connection, message: tuple[int, Any]) -> None:
    try:
        link.send(message)
    except ConnectionError:
        os._exit(1)  # the parent is gone


def _picklable(error: Exception) -> tuple[Exception, str]:
    """An error that can be sent, and its traceback."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # some libraries' errors can be pickled but not unpickled
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, trace


def _exit_with(parent: int) -> None:
    """End this process with its parent: hanging in a decoder, it would not notice a closed connection."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
