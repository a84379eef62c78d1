"""Videos that kill the decoder, hang it, or use up memory: they are named, and all others are cut, on every engine."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import Face, RGBImage, WholeFrame
from resgat_pl.data.manifest.table import Manifest

from ..core.test_executors import scheduler, workers  # noqa: F401 - fixtures
from ..helpers.folders import stamps, tree
from .conftest import Ledger
from .corpus import picture

DEADS = {10: "signal 11, SIGSEGV", 20: "signal 9, SIGKILL", 30: "signal 6, SIGABRT", 40: "longer than 5 s"}
DEADS |= {50: "exit status 3", 60: "not enough memory", 70: "a weird shape"}
"""Grey level of a picture → what is reported of it."""


class Deadly(WholeFrame):
    """Dies of some grey levels, as a decoder does of some files."""

    def detect(self, image: RGBImage) -> list[Face]:
        match int(image[0, 0, 0]):
            case 10:
                ctypes.string_at(0)
            case 20:
                os.kill(os.getpid(), signal.SIGKILL)
            case 30:
                os.abort()
            case 40:
                time.sleep(600)
            case 50:
                os._exit(3)
            case 60:
                raise MemoryError("not enough memory")
            case 70:
                raise ValueError("a weird shape")
            case 80:
                raise KeyError("a bug of ours")
        return super().detect(image)


SMALL = Extraction(frames=1, size=32, detector=Deadly())


def grey(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(np.full((24, 24, 3), level, np.uint8), "PNG"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Deadly pictures among good ones; a fake of one whose original kills."""
    for number in range(12):
        grey(tmp_path / "root" / ("real", "fake")[number % 2] / f"good{number}.png", 100 + number)
    for level in DEADS:
        grey(tmp_path / "root" / "fake" / f"dead{level}.png", level)
    grey(tmp_path / "root" / "real" / "pair.png", 10)
    grey(tmp_path / "root" / "fake" / "pair.png", 110)
    return tmp_path / "root"


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("two", marks=pytest.mark.long),
        *(pytest.param(e, marks=pytest.mark.faults) for e in ("one", "dask")),
    ],
)
def test_deadly_videos_are_named_and_all_others_cut(
    engine: str, root: Path, tmp_path: Path, ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    options: dict[str, Any] = {"jobs": 2 if engine == "two" else 1}
    if engine == "dask":
        pytest.importorskip("distributed")
        request.getfixturevalue("workers")
        options = {"engine": "dask", "address": request.getfixturevalue("scheduler")}
    summary = extract(root, tmp_path / "out", extraction=SMALL, video_timeout=5, **options)
    causes = {key.rpartition("/")[2]: reason for key, reason in summary.skipped.items()}
    wrong = {level: causes.get(f"dead{level}") for level, cause in DEADS.items() if cause not in causes[f"dead{level}"]}
    assert not wrong
    assert all(f"{name}.png: " in reason for name, reason in causes.items())
    assert set(causes) == {"pair", *(f"dead{level}" for level in DEADS)}
    assert len(Manifest.read(tmp_path / "out")) == 13
    ledger("decoder that dies, hangs or raises", tries=len(DEADS), lost=len(wrong), recovered=len(DEADS) - len(wrong))
    assert [
        child.cmdline() for child in psutil.Process().children() if "resgat_pl.core.isolated_process" in child.cmdline()
    ] == []


@pytest.mark.faults
def test_what_is_tried_again(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("dead*.png"):
        if path.stem not in {"dead20", "dead40"}:
            path.unlink()
    out = tmp_path / "out"
    assert len(extract(root, out, extraction=SMALL, video_timeout=2).skipped) == 3
    before = stamps(out / "fragments")
    assert len(extract(root, out, extraction=SMALL, video_timeout=1).skipped) == 3
    assert (
        len(before.items() ^ stamps(out / "fragments").items()) == 2 * 2
    )  # those that died; what took too long is not tried with as little time or less
    began = time.monotonic()
    skipped = extract(root, out, extraction=SMALL, video_timeout=4).skipped
    assert time.monotonic() - began > 4
    assert any("longer than 4 s" in reason for reason in skipped.values())


def test_a_fake_is_aligned_once_its_original_can_be_read(root: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    once = Extraction(frames=1, size=32, detector=Once(mark))
    for path in root.rglob("dead*.png"):
        path.unlink()
    mark.touch()
    summary = extract(root, tmp_path / "out", extraction=once)
    assert list(summary.skipped) == ["folder/original/-/pair"]
    assert "gave no face" in summary.notes["folder/fake/-/pair"]
    mark.unlink()
    assert not extract(root, tmp_path / "out", extraction=once).skipped
    extract(root, tmp_path / "clean", extraction=once)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


class Once(WholeFrame):
    """Dies of a grey level while there is a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def detect(self, image: RGBImage) -> list[Face]:
        if image[0, 0, 0] == 10 and self.mark.exists():
            os._exit(1)
        return super().detect(image)


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.faults), 2])
def test_a_bug_is_no_cause(jobs: int, root: Path, tmp_path: Path) -> None:
    for path in root.rglob("dead*.png"):
        path.unlink()
    grey(root / "real" / "bug.png", 80)
    with pytest.raises(KeyError, match="a bug of ours") as caught:
        extract(root, tmp_path / "out", extraction=SMALL, jobs=jobs)
    assert "in detect" in str(caught.value.__cause__)  # where it happened, in the other process


@pytest.mark.faults
def test_an_interrupt_ends_a_hang_at_once(root: Path, tmp_path: Path) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    for path in root.rglob("*.png"):
        grey(path, 40)
    threading.Timer(
        4, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]
    ).start()  # as a terminal does
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        extract(root, tmp_path / "out", extraction=SMALL, jobs=2)
    assert time.monotonic() - began < 60
    assert list((tmp_path / "out" / "fragments").glob("*.parquet")) == []


def test_files_that_may_not_be_read_are_named(root: Path, tmp_path: Path, ledger: Ledger) -> None:
    for path in root.rglob("*.png"):
        if path.stem.startswith(("dead", "pair")):
            path.unlink()
    shutil.copy(root / "real" / "good0.png", root / "fake" / "video.mp4")
    closed = {"good1": root / "fake" / "good1.png", "video": root / "fake" / "video.mp4"}
    for path in closed.values():
        path.chmod(0)
    command = [sys.executable, "-m", "resgat_pl", "extract", root, tmp_path / "out", "--extraction.frames", "1"]
    command += ["--extraction.size", "32", "--extraction.detector", "resgat_pl.data.faces.detection.WholeFrame"]
    if os.geteuid() == 0:  # who may read everything, unless that is taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root may read every file")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    subprocess.run(list(map(str, command)), check=True, timeout=120)
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert {key.rpartition("/")[2] for key in skipped} == set(closed)
    assert all("Permission denied" in reason for reason in skipped.values()), skipped
    assert len(Manifest.read(tmp_path / "out")) == 11
    ledger("unreadable file (no permission)", tries=2, lost=0, recovered=2)


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_two_thousand_clips_leave_memory_and_descriptors_flat(ffpp_root: Path, tmp_path: Path, ledger: Ledger) -> None:
    clip = min((ffpp_root / "original_sequences").rglob("*.mp4"))
    for number in range(2000):
        path = tmp_path / "root" / ("real", "fake")[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(clip, path)
    command = [sys.executable, "-m", "resgat_pl", "extract", tmp_path / "root", tmp_path / "out", "--jobs", "2"]
    command += ["--extraction.frames", "1", "--extraction.size", "32"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
        samples: list[tuple[int, dict[int, tuple[int, int]]]] = []
        while process.poll() is None:
            time.sleep(0.5)
            done = sum(name.endswith(".parquet") for name in names(tmp_path / "out" / "fragments"))
            samples.append((done, measured(process.pid)))
    assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert len(Manifest.read(tmp_path / "out")) == 2000
    # Until then the decoder's heap fills: 163 MB after 400 clips, 181 after 1,700, 192 after 2,500, 199 after 5,800.
    early = [found for done, found in samples if 800 <= done < 1000]
    late = [found for done, found in samples if 1800 <= done < 2000]
    pids = set.intersection(*(set(found) for found in (*early, *late)))
    assert len(pids) == 3  # the command and two that cut; none was replaced on the way
    growth = {pid: memory(late, pid) / memory(early, pid) for pid in pids}
    # the fewest: a file that is being read or written is no leak
    more = {pid: min(found[pid][1] for found in late) - min(found[pid][1] for found in early) for pid in pids}
    lost = sum(growth[pid] > 1.1 or more[pid] > 0 for pid in pids)
    ledger("2,000 clips: memory and descriptors from clip 800 on", tries=3, lost=lost, recovered=3 - lost)
    assert lost == 0, (growth, more)


def names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names are enough


def measured(parent: int) -> dict[int, tuple[int, int]]:
    """Resident bytes and open descriptors of a process and those it started."""
    found = {}
    for process in [psutil.Process(parent), *psutil.Process(parent).children()]:
        try:
            found[process.pid] = (process.memory_info().rss, process.num_fds())
        except psutil.Error:  # it has just ended
            continue
    return found


def memory(samples: list[dict[int, tuple[int, int]]], pid: int) -> float:
    return float(np.median([found[pid][0] for found in samples]))
