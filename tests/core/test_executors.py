from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, EngineError
from resgat_pl.core.executors import open_engine
from resgat_pl.core.storage import sync_folder, write_atomic
from resgat_pl.data.crop_store import writer as crop_writer
from resgat_pl.data.extraction import command as extracting
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.crop_video import Extraction
from resgat_pl.data.extraction.jobs import Part, families_of, parse_part, requests_of, videos_of_part
from resgat_pl.data.layouts.detect import detect_layout

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


def nothing() -> str:
    return ""


@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_give_every_result_and_stop_at_an_error(jobs: int) -> None:
    with open_engine("local", jobs=jobs) as engine:
        assert sorted(engine.run(double, range(7), nothing)) == [0, 2, 4, 6, 8, 10, 12]
        assert list(engine.run(double, [], nothing)) == []
        with pytest.raises(ConfigError, match="three"):
            list(engine.run(fail_at_three, range(7), nothing))


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
    with open_engine("local", jobs=jobs) as engine, pytest.raises(ConfigError, match="three"):
        list(engine.run(Slow(), range(3, 9), nothing))
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


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("distributed")
    port, log = free_port(), tmp_path_factory.mktemp("dask")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    with (log / "scheduler.log").open("w") as output:
        process = subprocess.Popen(
            [*command, "--no-dashboard"], cwd=log, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT
        )
        yield f"tcp://127.0.0.1:{port}"
        stop(process)


def start_worker(address: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    return subprocess.Popen(
        [*command, "--no-dashboard", "--death-timeout", "60"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def workers(scheduler: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    from distributed import Client

    started = [start_worker(scheduler, tmp_path) for _ in range(2)]
    with Client(scheduler, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
    yield started
    for process in started:
        stop(process)


@pytest.mark.usefixtures("workers")
def test_dask_gives_the_bytes_of_one_process(
    scheduler: str, ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the crops go is named as seen from here, and the workers stand elsewhere
    command = ["extract", str(ffpp_root), "crops", *OPTIONS, "--engine", "dask", "--address", scheduler]
    assert main(command) == 0
    assert files(tmp_path / "crops") == files(ffpp_crops)
    assert is_current(ffpp_root, tmp_path / "crops", None, SMALL)  # the engine is no part of what was asked


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
    with open_engine("dask", scheduler) as engine:
        with pytest.raises(ConfigError, match="three"):
            list(engine.run(fail_at_three, range(7), nothing))
        with pytest.raises(EngineError, match=r"worker .* does not see /data"):
            list(engine.run(double, range(7), lambda: "does not see /data"))


def test_dask_without_workers(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resgat_pl.core.executors._WORKERS_SECONDS", 0.5)
    with open_engine("dask", scheduler) as engine, pytest.raises(EngineError, match="has no workers"):
        list(engine.run(double, range(7), nothing))


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_that_does_not_answer(
    engine: str, ffpp_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    monkeypatch.setattr("resgat_pl.core.executors._CONNECT_SECONDS", 1)
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    command = ["extract", str(ffpp_root), str(tmp_path / "out"), "--engine", engine, "--address", address]
    assert main(command) == 2
    assert time.monotonic() - began < 15
    message = capsys.readouterr().err
    assert address in message
    assert "Start a cluster" in message
    assert not (tmp_path / "out").exists()


def test_ray_gives_the_bytes_of_one_process(ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'resgat-pl[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        extract(ffpp_root, tmp_path, extraction=SMALL, engine="ray")
    finally:
        ray.shutdown()
    assert files(tmp_path) == files(ffpp_crops)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "dask"], "--address"),
        (["--address", "tcp://h:1"], "add --engine"),
        (["--engine", "dask", "--address", "tcp://h:1", "--jobs", "4"], "Leave one of the two out"),
        (["--jobs", "0"], "at least 1"),
        (["--shard", "0/4"], "NUMBER/TOTAL"),
        (["--shard", "5/4"], "NUMBER/TOTAL"),
        (["--shard", "x"], "SLURM_ARRAY_TASK_ID"),
        (["--shard", "1/0"], "NUMBER/TOTAL"),
        (["--shard", "1/4", "--merge"], "when all shards are done"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, ffpp_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", str(ffpp_root), str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("engine", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed(engine: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(ConfigError, match=rf"pip install 'resgat-pl\[{engine}\]'"),
        open_engine(engine, "tcp://h:1"),  # type: ignore[arg-type]
    ):
        pass


# --- shares


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=60), total=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_shares_are_everything_once_and_even(sizes: list[int], total: int) -> None:
    families = {f"v{i}": [f"v{i}/{j}" for j in range(size)] for i, size in enumerate(sizes)}
    shares = [videos_of_part(families, Part(number, total)) for number in range(1, total + 1)]
    assert Counter(key for share in shares for key in share) == Counter(k for keys in families.values() for k in keys)
    for keys in families.values():
        assert sum(bool(share & set(keys)) for share in shares) == 1
    loads = sorted(len(share) for share in shares)
    assert loads[-1] - loads[0] <= max(sizes)
    again = dict(sorted(families.items(), reverse=True))
    assert [videos_of_part(again, Part(number, total)) for number in range(1, total + 1)] == shares


def test_an_original_stands_before_its_fakes(ffpp_root: Path) -> None:
    records = {record.key: record for record in detect_layout(ffpp_root).index(ffpp_root).records}
    families = families_of(records)
    assert sorted(key for keys in families.values() for key in keys) == sorted(records)
    for name, keys in families.items():
        assert keys[0] == name
        assert {records[key].original for key in keys[1:]} <= {name}
    assert len(families) == 14
    assert len(pickle.dumps(extracting.jobs_of(records, families, requests_of(records, {}), records))) < 2000 * 42


def test_shards_and_a_merge_give_the_bytes_of_one_run(
    ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["extract", str(ffpp_root), str(tmp_path), *OPTIONS]
    for number, jobs in ((3, "1"), (1, "2")):
        assert main([*command, "--shard", f"{number}/3", "--jobs", jobs]) == 0
        out = capsys.readouterr().out
        assert f"shard {number}/3 is done" in out
        assert f"resgat extract {ffpp_root} {tmp_path}" in out
        assert out.rstrip().endswith("--merge")
        assert not (tmp_path / "manifest.parquet").exists()
        assert not (tmp_path / "summary.json").exists()
    before = files(tmp_path)
    assert main([*command, "--merge"]) == 2
    message = capsys.readouterr().err
    missing = 42 - sum(name.startswith("fragments/") for name in before)
    assert f"{missing} videos (ffpp/" in message
    assert "of 42 not cut yet" in message
    assert files(tmp_path) == before  # a merge cuts nothing
    (tmp_path / "fragments" / ".half.tmp").write_bytes(b"of a shard that still runs")
    assert main([*command, "--shard", "2/3"]) == 0
    assert (tmp_path / "fragments" / ".half.tmp").exists()
    assert main([*command, "--merge"]) == 0
    assert files(tmp_path) == files(ffpp_crops)


def test_a_merge_does_not_wait_for_videos_that_cannot_be_read(ffpp_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(ffpp_root, tmp_path / "root"))
    next((root / "original_sequences").rglob("*.mp4")).write_bytes(b"")
    for number in (1, 2):
        summary = extract(root, tmp_path / "out", extraction=SMALL, shard=f"{number}/2")
        assert summary.manifest is None
    merged = extract(root, tmp_path / "out", extraction=SMALL, merge=True)
    assert len(merged.skipped) == 1


def test_parse_share() -> None:
    assert parse_part(" 3/50 ") == Part(3, 50)
    assert str(Part(3, 50)) == "3/50"


# --- a full disk


def test_a_full_disk_is_told_once_and_the_same_command_continues(
    ffpp_root: Path,
    ffpp_crops: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = 30

    def sync(folder: Path, files: bool = False) -> None:
        nonlocal room
        room -= files
        if room < 0:
            raise OSError(28, "No space left on device", str(folder))
        sync_folder(folder, files)

    command = ["extract", str(ffpp_root), str(tmp_path), *OPTIONS]
    with monkeypatch.context() as patch:
        patch.setattr(crop_writer, "sync_folder", sync)
        assert main(command) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("resgat: error: ")
    assert str(tmp_path) in message
    assert "No space left on device" in message
    assert "of 42 videos are done and kept" in message
    assert "the same command continues" in message
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "fragments").glob("*.parquet")}
    assert kept
    assert main(command) == 0
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert files(tmp_path) == files(ffpp_crops)


@pytest.mark.parametrize("name", ["manifest.parquet", "summary.json"])
def test_a_disk_that_is_full_at_the_end(
    name: str, ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resgat_pl.core import storage as locations

    shutil.copytree(ffpp_crops, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()

    def write(path: Path, data: bytes, durable: bool = False) -> None:
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        write_atomic(path, data, durable)

    for module in (extracting, locations):
        monkeypatch.setattr(module, "write_atomic", write)
    assert main(["extract", str(ffpp_root), str(tmp_path), *OPTIONS]) == 2
