from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, EngineError
from resgat_pl.core.executors import check_workers, open_executor, run_all
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.settings import Extraction

SMALL = Extraction(frames=3, size=64)
OPTIONS = ["--extraction.frames", "3", "--extraction.size", "64"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def double(number: int) -> int:
    return 2 * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ConfigError("three")
    return number


def die(_: int) -> int:
    os._exit(1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_give_every_result_and_stop_at_an_error(jobs: int) -> None:
    with open_executor("local", jobs=jobs) as executor:
        assert sorted(run_all(executor, double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
        assert list(run_all(executor, double, [])) == []
        with pytest.raises(ConfigError, match="three"):
            list(run_all(executor, fail_at_three, range(7)))


class Slow:
    """Waits for what never comes, until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, number: int) -> int:
        if number == 3:
            raise ConfigError("three")
        if not self.closed.wait(60):
            raise AssertionError("nobody closed it")
        raise EngineError("given up")

    def __reduce__(self) -> tuple[type[Slow], tuple[()]]:
        return Slow, ()

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("jobs", [2, 3])
def test_an_error_ends_the_others_work(jobs: int) -> None:
    began = time.monotonic()
    with open_executor("local", jobs=jobs) as executor, pytest.raises(ConfigError, match="three"):
        list(run_all(executor, Slow(), range(3, 9)))
    assert time.monotonic() - began < 30


def children(parent: int) -> list[int]:
    """Processes below this one that cut videos."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, above = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_text()
        except OSError:
            continue
        if int(above) == parent and state != "Z" and "resgat_pl.core.isolated_process" in command:
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_with_their_parent(ffpp_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "resgat_pl", "extract", str(ffpp_root), str(tmp_path), *OPTIONS, "--jobs", "2"]
    parent = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while parent.poll() is None and not list((tmp_path / "fragments").glob("*.parquet")):
        time.sleep(0.02)
    workers = children(parent.pid)
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


# --- clusters


@contextmanager
def started(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", *command, "--no-dashboard"]
    with (folder / f"{command[2]}.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**ENVIRONMENT, **environment}, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def scheduler_command(address: str) -> list[str]:
    host, _, port = address.removeprefix("tcp://").partition(":")
    return ["distributed.cli.dask_scheduler", "--host", host, "--port", port]


def worker_command(address: str) -> list[str]:
    return ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "60"]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("distributed")
    address, log = f"tcp://127.0.0.1:{free_port()}", tmp_path_factory.mktemp("dask")
    with started(scheduler_command(address), log, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1"):
        yield address


@pytest.fixture
def workers(scheduler: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    from distributed import Client

    with ExitStack() as stack:
        processes = [stack.enter_context(started(worker_command(scheduler), tmp_path)) for _ in range(2)]
        with Client(scheduler, set_as_default=False, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield processes


@pytest.mark.long
@pytest.mark.usefixtures("workers")
def test_dask_gives_the_bytes_of_one_process(
    scheduler: str, ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the crops go is named as seen from here, and the workers stand elsewhere
    command = ["extract", str(ffpp_root), "crops", *OPTIONS, "--engine", "dask", "--address", scheduler]
    assert main(command) == 0
    assert files(tmp_path / "crops") == files(ffpp_crops)
    assert is_current(ffpp_root, tmp_path / "crops", None, SMALL)  # the engine is no part of what was asked


@pytest.mark.long
def test_dask_goes_on_when_a_worker_is_killed(
    scheduler: str, workers: list[subprocess.Popen[bytes]], ffpp_root: Path, ffpp_crops: Path, tmp_path: Path
) -> None:
    half = len(list((ffpp_crops / "fragments").iterdir())) // 2
    left = []

    def kill() -> None:
        while len(list((tmp_path / "crops" / "fragments").glob("*.parquet"))) < half:
            time.sleep(0.01)
        workers[0].kill()
        left.append(len(list((tmp_path / "crops" / "fragments").glob("*.parquet"))))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    extract(ffpp_root, tmp_path / "crops", extraction=SMALL, engine="dask", address=scheduler)
    killer.join(10)
    assert half <= left[0] < 2 * half
    assert workers[0].poll() == -signal.SIGKILL
    assert workers[1].poll() is None
    assert files(tmp_path / "crops") == files(ffpp_crops)


@pytest.mark.usefixtures("workers")
def test_dask_passes_errors_on_and_gives_up_on_what_kills_every_worker(scheduler: str) -> None:
    with open_executor("dask", scheduler) as executor:
        with pytest.raises(ConfigError, match="three"):
            list(run_all(executor, fail_at_three, range(7)))
        with pytest.raises(EngineError, match=r"worker .* does not see /data"):
            check_workers(executor, lambda: "does not see /data")
        with pytest.raises(EngineError, match=r"killed the workers that tried it.*run the same command again"):
            list(run_all(executor, die, [0]))


def test_dask_without_workers(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resgat_pl.core.executors._WORKERS_SECONDS", 0.5)
    with pytest.raises(EngineError, match="has no workers"), open_executor("dask", scheduler):
        pass


def test_a_cluster_that_does_not_answer(
    ffpp_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("resgat_pl.core.executors._CONNECT_SECONDS", 1)
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    command = ["extract", str(ffpp_root), str(tmp_path / "out"), "--engine", "dask", "--address", address]
    assert main(command) == 2
    assert time.monotonic() - began < 15
    message = capsys.readouterr().err
    assert address in message
    assert "Start a cluster" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_cluster_that_is_lost_during_the_work(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        started(scheduler_command(address), tmp_path) as scheduler,
        started(worker_command(address), tmp_path),
        open_executor("dask", address) as executor,
        pytest.raises(EngineError, match="cluster was lost"),
    ):
        threading.Timer(1, scheduler.kill).start()
        list(run_all(executor, time.sleep, [60, 60]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "dask"], "--address"),
        (["--address", "tcp://h:1"], "add --engine"),
        (["--engine", "dask", "--address", "tcp://h:1", "--jobs", "4"], "Leave one of the two out"),
        (["--jobs", "0"], "at least 1"),
        (["--engine", "ray"], "Use a Dask cluster (--engine dask --address tcp://HOST:8786), or an array of batch"),
        (["--engine=ray", "--address", "auto"], "--part 3/50"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, ffpp_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", str(ffpp_root), str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for engine, message in (("dask", r"pip install 'resgat-pl\[dask\]'"), ("dusk", "must be local or dask")):
        with pytest.raises(ConfigError, match=message), open_executor(engine, "tcp://h:1"):  # type: ignore[arg-type]
            pass


def test_a_function_that_cannot_be_imported_elsewhere_is_sent_whole() -> None:
    factor = 3
    with open_executor(jobs=2) as executor:
        assert sorted(run_all(executor, lambda number: factor * number, range(4))) == [0, 3, 6, 9]
