"""Extraction killed at any moment: the same command ends with the same bytes, and nothing torn has a final name."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.fragment import fragment_path
from resgat_pl.data.manifest.table import Manifest

from ..helpers.folders import MEGABYTES, OPTIONS, SMALL, tree
from .conftest import Ledger


def session(number: int) -> list[int]:
    """Processes of a session, also those that lost their parent."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == number and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def kill_at(root: Path, out: Path, store: str, rng: random.Random, whole_group: bool, jobs: int) -> bool:
    """Start an extraction and kill it at a random moment; whether it was still at work."""
    command: list[Any] = [sys.executable, "-m", "resgat_pl", "extract", root, out, "--store", store, "--jobs", jobs]
    command += [*OPTIONS, "--shard_megabytes", MEGABYTES]
    videos = 42
    wanted, late = rng.randint(0, videos), rng.uniform(0, 0.1)
    with (out.parent / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True)
    until = time.monotonic() + 120
    fragments = out / "fragments"
    while process.poll() is None and time.monotonic() < until:
        if fragments.is_dir() and sum(1 for path in fragments.glob("*.parquet")) >= wanted:
            break
        time.sleep(0.002)
    time.sleep(late)
    alive = process.poll() is None
    if whole_group or not alive:
        for number in session(process.pid):
            os.kill(number, signal.SIGKILL)
    else:
        process.kill()
    process.wait(timeout=60)
    return alive


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["files", pytest.param("shards", marks=pytest.mark.long)])
def test_a_killed_extraction_ends_with_the_same_bytes(
    ffpp_root: Path,
    ffpp_crops: Path,
    shard_crops: Path,
    store: Any,
    tmp_path: Path,
    tries: Callable[[int, int], int],
    ledger: Ledger,
) -> None:
    undisturbed = tree(ffpp_crops if store == "files" else shard_crops)
    rng = random.Random(f"killed {store}")  # noqa: S311 - moments, no secrets
    count = lost = recovered = 0
    while count < tries(1, 25):
        folder = tmp_path / f"{count}"
        folder.mkdir(exist_ok=True)
        out = folder / "crops"
        jobs, whole_group = 1 + count % 2, count % 4 < 2
        if not kill_at(ffpp_root, out, store, rng, whole_group, jobs):
            shutil.rmtree(folder)  # it was done already: no try
            continue
        count += 1
        torn = [name for name, data in tree(out).items() if not whole(name, data, undisturbed, out)]
        # at once, while workers that lost their parent may still be there
        extract(ffpp_root, out, extraction=SMALL, jobs=jobs, store=store, shard_megabytes=MEGABYTES)
        same = tree(out) == undisturbed
        lost += bool(torn) or not same
        recovered += not torn and same
        assert not torn
        assert tree(out).keys() == undisturbed.keys()
        assert same
    ledger(f"extraction killed (SIGKILL), resumed, store {store}", tries=count, lost=lost, recovered=recovered)


def whole(name: str, data: bytes, undisturbed: dict[str, bytes], out: Path) -> bool:
    """Whether a file of a killed run is one that may be read; what has a temporary name never is."""
    if any(part.startswith(".") for part in Path(name).parts):
        return True
    if name.endswith(".tar") and name.startswith("fragments"):
        with tarfile.open(out / name) as tar:
            members = [(member.size, tar.extractfile(member)) for member in tar]
            return bool(members) and all(file is not None and len(file.read()) == size for size, file in members)
    return name in undisturbed and undisturbed[name] == data


@pytest.mark.parametrize("store", ["files", pytest.param("shards", marks=pytest.mark.long)])
def test_a_fragment_is_renamed_after_what_it_lists_is_on_the_disk(
    ffpp_root: Path, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be tried; the order of the calls that it would come between can be read."""
    calls: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def synced(handle: int) -> None:
        calls.append(("fsync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def moved(how: Any) -> Any:
        def move(path: Path, target: Any) -> Any:
            if path.is_dir():
                calls.extend(("renamed", f"{target}/{inner.name}") for inner in path.iterdir())
                calls.extend(("source", str(inner)) for inner in path.iterdir())
            else:
                calls.extend([("renamed", str(target)), ("source", str(path))])
            return how(path, target)

        return move

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", moved(rename))
    monkeypatch.setattr(Path, "replace", moved(replace))
    out = tmp_path / "crops"
    root = Path(shutil.copytree(ffpp_root, tmp_path / "root"))
    for path in sorted(root.rglob("c23/videos/*.mp4"))[12:]:
        path.unlink()
    extract(root, out, extraction=SMALL, store=store, shard_megabytes=MEGABYTES)

    done: dict[str, int] = {}
    for number, (kind, name) in enumerate(calls):
        if kind == "renamed":
            done[name] = number
    for number, (kind, name) in enumerate(calls):  # each was synced before it was renamed
        if kind == "source":
            assert ("fsync", name) in calls[:number], name
    files = set(tree(out))
    assert files <= {str(Path(name).relative_to(out)) for name in done if name.startswith(str(out))}
    manifest = Manifest.read(out)
    keys = [video.key for video in manifest.videos()]
    if store == "files":
        for row, video in enumerate(manifest.video_codes.tolist()):
            crop = manifest.crop(row)
            name_is_stored = calls.index(("fsync", str(crop.parent.parent)), done[str(crop)])
            assert name_is_stored < done[str(fragment_path(out, keys[video]))]
