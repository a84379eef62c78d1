from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resgat_pl.core.errors import ConfigError, EngineError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError

ROOT = Path(__file__).parents[2]


def work(order: str) -> Iterator[int]:
    """Does what the order says, and yields the process that did it."""
    if order == "end":
        os._exit(0)
    mark = Path(order.removeprefix("end once "))
    if order.startswith("end once") and not mark.exists():
        mark.touch()
        os._exit(0)
    yield os.getpid()
    match order:
        case "crash":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(600)
        case "bug":
            raise KeyError("a bug")
        case "odd bug":
            raise OddError(1, 2)
        case "mistake":
            raise ConfigError("your mistake")
        case "much":
            yield from range(20_000)


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedProcess[str, int]]:
    monkeypatch.syspath_prepend(ROOT)  # where the other process finds this module
    isolated: IsolatedProcess[str, int] = IsolatedProcess(work)
    yield isolated
    isolated.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_one_process_is_kept_and_its_messages_come_in_order(isolated: IsolatedProcess[str, int]) -> None:
    first, *numbers = isolated.run("much")
    assert numbers == list(range(20_000))
    assert list(isolated.run("")) == [first]
    assert first != os.getpid()


@pytest.mark.parametrize(
    ("order", "cause"),
    [
        ("crash", r"died \(signal 11, SIGSEGV\)"),
        ("kill", r"killed \(signal 9, SIGKILL\), usually because memory"),
        ("exit", r"ended by itself \(exit status 7\)"),
    ],
)
def test_a_death_is_reported_and_the_next_item_gets_a_new_process(
    isolated: IsolatedProcess[str, int], order: str, cause: str
) -> None:
    (first,) = isolated.run("")
    before = descriptors()
    with pytest.raises(ProcessDiedError, match=cause):
        list(isolated.run(order))
    (second,) = isolated.run("")
    assert second != first
    assert not Path(f"/proc/{first}").exists()
    assert descriptors() == before


def test_a_hang_ends_at_the_limit(isolated: IsolatedProcess[str, int]) -> None:
    (first,) = isolated.run("")
    began = time.monotonic()
    with pytest.raises(ProcessTimeoutError, match=r"longer than 0\.5 s"):
        list(isolated.run("hang", 0.5))
    assert time.monotonic() - began < 30
    assert not Path(f"/proc/{first}").exists()
    assert list(isolated.run("")) != [first]


def test_what_is_done_with_the_messages_takes_nothing_of_the_limit(isolated: IsolatedProcess[str, int]) -> None:
    list(isolated.run(""))
    for _ in isolated.run("", 2):
        time.sleep(2.2)


def test_errors_come_back_with_their_traceback_and_the_process_stays(isolated: IsolatedProcess[str, int]) -> None:
    (first,) = isolated.run("")
    with pytest.raises(KeyError, match="a bug") as caught:
        list(isolated.run("bug"))
    assert "in work" in str(caught.value.__cause__)
    with pytest.raises(ConfigError, match="your mistake"):
        list(isolated.run("mistake"))
    with pytest.raises(RuntimeError, match="OddError"):
        list(isolated.run("odd bug"))
    assert list(isolated.run("")) == [first]


def test_left_half_read_it_starts_afresh(isolated: IsolatedProcess[str, int]) -> None:
    messages = isolated.run("much")
    first = next(messages)
    messages.close()  # type: ignore[attr-defined] # it is a generator
    again, *numbers = isolated.run("much")
    assert again != first
    assert len(numbers) == 20_000


def test_a_process_that_ended_for_want_of_work_is_replaced_once(
    isolated: IsolatedProcess[str, int], tmp_path: Path
) -> None:
    (first,) = isolated.run("")
    os.kill(first, signal.SIGKILL)
    while isolated._child is not None and isolated._child.poll() is None:
        time.sleep(0.01)
    (second,) = isolated.run("")
    assert second != first
    # ended with status 0 before the first message, as for want of work just when the item came
    mark = tmp_path / "mark"
    assert list(isolated.run(f"end once {mark}")) != [second]
    with pytest.raises(ProcessDiedError, match="by itself"):
        list(isolated.run("end"))


def test_closed_from_another_thread_the_work_fails_at_once(isolated: IsolatedProcess[str, int]) -> None:
    list(isolated.run(""))
    threading.Timer(0.3, isolated.close).start()
    began = time.monotonic()
    with pytest.raises(EngineError, match="given up"):
        list(isolated.run("hang"))
    assert time.monotonic() - began < 60
    with pytest.raises(EngineError, match="given up"):
        list(isolated.run(""))


def test_forgotten_it_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    isolated: IsolatedProcess[str, int] = IsolatedProcess(work)
    (process,) = isolated.run("")
    del isolated
    gc.collect()
    assert not Path(f"/proc/{process}").exists()


def test_a_function_that_cannot_be_unpacked_there_is_a_bug_not_a_death() -> None:
    class Refuses:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, ("raise ImportError('lacks this')",)

        def __call__(self, _: str) -> Iterator[int]:
            yield 1

    with pytest.raises(ImportError, match="lacks this"):
        list(IsolatedProcess(Refuses()).run(""))


def test_functions_of_a_script_are_taken_along(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('not this one')")  # what lies in the current folder
    (tmp_path / "script.py").write_text(
        "from resgat_pl.core.isolated_process import IsolatedProcess\n"
        "class Twice:\n"
        "    def __call__(self, number):\n"
        "        import os\n"
        "        yield 2 * number, os.getpid()\n"
        "((number, process),) = IsolatedProcess(Twice(), 1).run(21)\n"
        "import os\n"
        "print(number, process != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "42 True\n", done.stderr
