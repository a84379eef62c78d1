"""A persistent worker subprocess with crash isolation and a timeout, for work that can die or hang, such as decoding.

An ``IsolatedProcess`` stays from one item to the next, so that a detector is loaded once, and is replaced when it died
or was ended. What it yields arrives as it comes. Not a ``multiprocessing`` process: those of a Dask worker are daemons,
which may have no children, and a started one would import the user's main module again.
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

Item = TypeVar("Item")
Message = TypeVar("Message")

_READY, _MESSAGE, _DONE, _ERROR = range(4)
_IDLE_SECONDS: Final = 120
"""Without work for so long a process ends; the next item starts another. A cluster's workers live for days."""
_START_SECONDS: Final = 300


class ProcessDiedError(Exception):
    """The process died during the work; the text says of what."""


class ProcessTimeoutError(Exception):
    """The work took longer than its limit; the process was ended."""


class IsolatedProcess(Generic[Item, Message]):
    """Calls a function in a process of its own, for one item after the other.

    Args:
        function: Takes an item and yields messages. It is unpacked once in each process, so it can keep what is
            expensive to make.
        threads: Threads of OpenCV there; None leaves its default.
    """

    def __init__(self, function: Callable[[Item], Iterable[Message]], threads: int | None = None) -> None:
        self._function = function
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None
        self._is_ready = False
        self._closed = threading.Event()
        self._end_of_all: finalize[..., Any] | None = None

    def run(self, item: Item, limit: float = float("inf")) -> Iterator[Message]:
        """Yield what the function yields for an item.

        Args:
            item: What to work on.
            limit: Seconds that may be spent waiting for it.

        Raises:
            ProcessDiedError: The process died. The next call starts another.
            ProcessTimeoutError: ``limit`` was exceeded.
            EngineError: The process cannot be started, or the cell was closed.
            Exception: Whatever the function raised.
        """
        data = pickle.dumps(item)
        for is_last in (False, True):
            link = self._open()
            is_whole = False
            try:
                with suppress(BrokenPipeError):  # waiting for the answer tells why
                    link.send_bytes(data)
                for kind, value in self._answers(link, limit):
                    if kind == _MESSAGE:
                        yield value
                        continue
                    is_whole = True
                    if kind == _ERROR:
                        error, trace = value
                        raise error from _ThereError(trace)
                    return
            except _EndedError as ended:
                if is_last or not ended.was_idle:  # else it has ended for want of work a moment ago
                    raise ProcessDiedError(ended.reason) from None
            finally:
                if not is_whole:
                    self._end()

    def start(self) -> None:
        """Start the process, without waiting for it."""
        if self._closed.is_set():
            raise EngineError("The work was given up.")
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        packed = _packed(self._function)
        # -P: what lies in the current folder is no module of this program.
        command = [sys.executable, "-P", "-m", "resgat_pl.core.isolated_process"]
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        environment = {"OPENCV_LOG_LEVEL": "OFF", **os.environ, "PYTHONPATH": path}  # the summary says what is damaged
        try:
            here, there = socket.socketpair()
            with there:
                self._process = subprocess.Popen(  # noqa: S603 - this program itself, without a shell
                    [*command, str(there.fileno()), str(os.getpid())],
                    pass_fds=[there.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=environment,
                )
        except OSError as error:
            raise EngineError(f"A process for decoding cannot be started ({error}): use fewer --jobs.") from None
        self._link = Connection(here.detach())
        self._is_ready = False
        self._end_of_all = finalize(self, _end, self._process, self._link)
        with suppress(BrokenPipeError):  # told by whoever waits for it
            self._link.send_bytes(packed)
            self._link.send(self._threads)
        if self._closed.is_set():  # by another thread, just now
            self._end()

    def close(self) -> None:
        """End the process; may be called from another thread, whose work then fails."""
        self._closed.set()
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _open(self) -> Connection:
        """The way to a process that has answered."""
        self.start()
        link, process = self._link, self._process
        if link is None or process is None:
            raise EngineError("The work was given up.")
        if not self._is_ready:
            try:
                kind, value = link.recv() if link.poll(_START_SECONDS) else (_ERROR, None)
            except (EOFError, ConnectionError):
                kind, value = _ERROR, None
            if kind == _ERROR:
                self._end()
                if self._closed.is_set():
                    raise EngineError("The work was given up.")
                if value is not None:
                    raise value[0] from _ThereError(value[1])
                raise EngineError(
                    f"A process for decoding cannot be started (exit status {process.returncode}); its own message is "
                    "above. Usually memory or processes have run out: use fewer --jobs."
                )
            self._is_ready = True
        return link

    def _answers(self, link: Connection, limit: float) -> Iterator[tuple[int, Any]]:
        fresh, left = True, limit
        while True:
            began = time.monotonic()
            try:
                if not link.poll(None if left == float("inf") else max(0.0, left)):
                    raise ProcessTimeoutError(f"took longer than {limit:g} s")
                answer = link.recv_bytes()
            except (EOFError, ConnectionError):
                raise _EndedError(*self._cause(fresh)) from None
            left -= time.monotonic() - began
            fresh = False
            yield pickle.loads(answer)  # noqa: S301 - from a process of this program

    def _cause(self, fresh: bool) -> tuple[str, bool]:
        """Why the process ended, and whether that was for want of work."""
        if self._closed.is_set():
            raise EngineError("The work was given up.")
        process = self._process
        status = -1 if process is None else process.wait()
        if status >= 0:
            return f"the decoder ended by itself (exit status {status})", fresh and status == 0
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = "unknown"
        if -status == signal.SIGKILL:
            return f"the decoder was killed (signal {-status}, {name}), usually because memory had run out", False
        return f"the decoder died (signal {-status}, {name})", False

    def _end(self) -> None:
        if self._end_of_all is not None:
            self._end_of_all()
        self._end_of_all = self._process = self._link = None


class _EndedError(Exception):
    def __init__(self, reason: str, was_idle: bool) -> None:
        self.reason = reason
        self.was_idle = was_idle


class _ThereError(Exception):
    """The traceback of an error in the other process."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def _end(process: subprocess.Popen[bytes], link: Connection) -> None:
    link.close()
    process.kill()
    process.wait()


def _packed(function: Callable[..., Any]) -> bytes:
    """Pickle a function, with the code of its classes where the other process could not import them."""
    try:
        data = pickle.dumps(function)
        if b"__main__" not in data:
            return data
    except (pickle.PicklingError, AttributeError, TypeError):
        pass
    import cloudpickle

    return bytes(cloudpickle.dumps(function))


def _serve(number: int, parent: int) -> None:
    """What the process does: unpack the function, then call it for each item that comes."""
    # Keyboards and batch systems tell all processes; the parent decides what becomes of this one, and kills it then.
    for told in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(told, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    link = Connection(number)
    try:
        packed = link.recv_bytes()
        threads = link.recv()
        function = pickle.loads(packed)  # noqa: S301 - from the parent
        if threads is not None:
            import cv2

            cv2.setNumThreads(threads)
    except Exception as error:
        link.send((_ERROR, _portable(error)))
        return
    link.send((_READY, None))
    while link.poll(_IDLE_SECONDS):
        try:
            item = pickle.loads(link.recv_bytes())  # noqa: S301 - from the parent
        except (EOFError, ConnectionError):
            return
        answer: tuple[int, Any] = (_DONE, None)
        try:
            for message in function(item):
                _tell(link, (_MESSAGE, message))
        except Exception as error:
            answer = (_ERROR, _portable(error))
        _tell(link, answer)


def _tell(link: Connection, answer: tuple[int, Any]) -> None:
    try:
        link.send(answer)
    except ConnectionError:
        os._exit(1)  # nobody listens any more


def _portable(error: Exception) -> tuple[Exception, str]:
    """An error that can be sent, and its traceback."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # some libraries' errors can be packed but not unpacked
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, trace


def _exit_with(parent: int) -> None:
    # Hanging in a decoder, this process would not notice that nobody listens any more.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
