"""Crops as files against crops in shards: the same epoch, decoded and collated in one process, warm and cold cache.

Drawn crops of 224 px stand for faces (random blobs under noise, about as large as PNG as those of real videos). Cold
means that the kernel was asked to forget the files beforehand (``posix_fadvise``): it may keep some, and a local disk
answers faster than the network disks for which shards are made, where each opened file costs a request of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from measure import Row, interleave, ratio_row, report

from resgat_pl.data.crop_store.reader import Member, crop_of, shards_of
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import WholeFrame
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import TrainSampler
from resgat_pl.data.loading.shard_order import ShardSampler
from resgat_pl.data.loading.shard_reads import Run, RunCache
from resgat_pl.data.manifest.table import Manifest

VIDEOS = 6
"""Of each class."""
FRAMES = 64
SIDE = 224
SHARD_MEGABYTES = 8
BATCH = 32
BUFFER = 200


def draw(root: Path) -> None:
    """Write image folders of drawn pictures in the layout real/ and fake/."""
    rng = np.random.default_rng(0)
    for label in ("real", "fake"):
        for video in range(VIDEOS):
            folder = root / label / f"{video:03}"
            folder.mkdir(parents=True)
            base = cv2.resize(rng.integers(0, 255, (12, 12, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            for frame in range(FRAMES):
                noise = rng.normal(0, 5, (SIDE, SIDE, 3))
                image = np.clip(base + noise, 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{frame:04}.png"), image)


class Epoch:
    """One epoch of a folder of crops, in the next epoch's order at each call."""

    def __init__(self, crops: Path) -> None:
        manifest = Manifest.read(crops)
        self.faces = FaceCrops(manifest, np.arange(len(manifest)), SIDE)
        shards = shards_of(manifest)
        sampler: TrainSampler | ShardSampler = (
            TrainSampler(self.faces, 1, 0, 0, "shuffled")
            if shards is None
            else ShardSampler(self.faces, shards, 1, 0, BATCH, buffer=BUFFER)
        )
        self.loader = ResumableLoader(self.faces, sampler, BATCH, 0)
        self.number = 0

    def __call__(self) -> None:
        """Decode and collate it."""
        self.loader.sampler.set_epoch(self.number)
        self.number += 1
        seen = sum(len(batch["row"]) for batch in self.loader)
        if seen != len(self.faces):
            raise RuntimeError(f"{seen} crops of {len(self.faces)}")

    def random(self) -> None:
        """Every crop at random, bytes only."""
        for row in np.random.default_rng(0).permutation(len(self.faces)).tolist():
            crop_of(self.faces.manifest, row).read_bytes()

    def stream(self) -> None:
        """Every crop in the order of an epoch, with its neighbours, bytes only."""
        sampler = self.loader.sampler
        if isinstance(sampler, ShardSampler):
            cache = RunCache(sampler.cached(0))
            for request in map(self.faces.request, sampler):
                cache.read(cast("Member", request.crop), cast("Run", request.run))


def files_of(folder: Path) -> Iterator[Path]:
    """What training reads."""
    return (path for path in folder.rglob("*") if path.suffix in {".png", ".tar"})


def forget(folder: Path) -> None:
    """Ask the kernel to drop a folder's files from its cache."""
    for path in files_of(folder):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def compare(what: str, ours: Callable[[], object], theirs: Callable[[], object], crops: int, rounds: int) -> Row:
    """Time from files / from shards, warm."""
    return _row(f"{what}, warm cache", interleave(ours, theirs, rounds=rounds), crops)


def cold(
    what: str,
    shards: Path,
    ours: Callable[[], object],
    files: Path,
    theirs: Callable[[], object],
    crops: int,
    rounds: int,
) -> Row:
    """Time from files / from shards, after the cache was dropped; dropping is not timed."""
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for taken, folder, action in ((times[0], shards, ours), (times[1], files, theirs)):
            forget(folder)
            started = time.perf_counter()
            action()
            taken.append(time.perf_counter() - started)
    return _row(f"{what}, cold cache", times, crops)


def _row(what: str, times: list[list[float]], crops: int) -> Row:
    speeds = [f"{crops / statistics.median(own):,.0f}" for own in times]
    return ratio_row(what, "from files", times, "≥", None, f"{speeds[0]} against {speeds[1]} crops/s")


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Every row of the table."""
    cv2.setNumThreads(1)
    # by convention on a disk, where /tmp may be memory
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        draw(folder / "root")
        extraction = Extraction(frames="all", size=SIDE, detector=WholeFrame())
        files, shards = folder / "files", folder / "shards"
        extract(folder / "root", files, extraction=extraction, store="files")
        shutil.copytree(files, shards)
        extract(folder / "root", shards, extraction=extraction, store="shards", shard_megabytes=SHARD_MEGABYTES)
        one, other = Epoch(files), Epoch(shards)
        count = len(one.faces)
        for what, ours, theirs in (
            ("an epoch from shards", other, one),
            ("all bytes from shards, in the order of an epoch", other.stream, one.random),
            ("all bytes from shards, in random order", other.random, one.random),
        ):
            yield compare(what, ours, theirs, count, arguments.rounds)
            yield cold(what, shards, ours, files, theirs, count, arguments.rounds)
        numbers = [len(list(files_of(path))) for path in (files, shards)]
        yield Row(
            "files to open in an epoch", "", numbers[1], unit="files", detail=f"{numbers[0]:,} as files of their own"
        )
        sizes = [sum(path.stat().st_size for path in files_of(path)) for path in (files, shards)]
        detail = f"{count:,} crops of {sizes[0] / count / 1000:.0f} kB; headers and JSON included"
        yield Row("bytes of the shards", "of the files", sizes[1] / sizes[0], detail=detail)


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
