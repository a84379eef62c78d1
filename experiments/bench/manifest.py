"""What a manifest of millions of rows costs: seconds until the first batch is asked for, megabytes a loading process.

The manifest is generated in the shape of DFDC (5 fakes an original, 80 crops a video), which does not count. All videos
lead to the same few small images, so that reading files says nothing about a disk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Row, report

CROPS_A_VIDEO = 80
STEP = 9
"""Frames from one crop of a video to the next."""
MEGA = 1_000_000
WORKERS = 2


def generate(folder: Path, rows: int) -> None:
    """Write a manifest of about ``rows`` rows, and the images that they name."""
    from resgat_pl.data.manifest.schema import SCHEMA

    (folder / "crops").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for track, frame in product(range(2), range(CROPS_A_VIDEO // 2)):
        picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(folder / "crops" / f"{track}_{STEP * frame:06d}.jpg"), picture)
    count = rows // CROPS_A_VIDEO
    names = [f"{number:010x}" for number in np.unique(rng.integers(0, 2**40, 2 * count))[:count].tolist()]
    originals = names[::6]
    fakes = sorted(set(names) - set(originals))
    videos = [("dfdc", name, originals[place % len(originals)]) for place, name in enumerate(fakes)]
    videos += [("original", name, name) for name in originals]
    part = {name: 50 * place // len(originals) for place, name in enumerate(originals)}
    for place in range(50):
        (folder / "crops" / f"dfdc_train_part_{place}").mkdir()
    for _, name, source in videos:  # each crop has a path of its own, though the files are the same
        (folder / "crops" / f"dfdc_train_part_{part[source]}" / name).symlink_to("..")
    schema = SCHEMA.with_metadata({"resgat": json.dumps({"version": 1})})
    with pq.ParquetWriter(folder / "manifest.parquet", schema, compression="zstd") as file:
        for start in range(0, len(videos), 10_000):
            some = videos[start : start + 10_000]
            file.write_table(_rows(some, [part[source] for _, _, source in some], rng).cast(schema))


def _rows(videos: list[tuple[str, str, str]], parts: list[int], rng: np.random.Generator) -> pa.Table:
    from resgat_pl.data.manifest.schema import SCHEMA

    size = len(videos) * CROPS_A_VIDEO
    owner = pa.array(np.repeat(np.arange(len(videos)), CROPS_A_VIDEO))
    frame = np.tile(np.arange(CROPS_A_VIDEO // 2, dtype=np.int32) * STEP, 2 * len(videos))
    sides = ["train" if part < 40 else "val" if part < 45 else "test" for part in parts]
    fake = [method != "original" for method, _, _ in videos]
    of_video: dict[str, list[Any]] = {
        "dataset": ["dfdc"] * len(videos),
        "method": [method for method, _, _ in videos],
        "compression": [""] * len(videos),
        "video": [name for _, name, _ in videos],
        "source_video": [f"dfdc/original/-/{v[2]}" if f else None for v, f in zip(videos, fake, strict=True)],
        "identities": [[source] for _, _, source in videos],
        "part": [f"dfdc_train_part_{part}" for part in parts],
        "split": sides,
        "label": [int(value) for value in fake],
    }
    files = [f"/{track}_{STEP * frame:06d}.jpg" for track, frame in product(range(2), range(CROPS_A_VIDEO // 2))]
    folders = [f"crops/dfdc_train_part_{part}/{v[1]}" for v, part in zip(videos, parts, strict=True)]
    of_row = {
        "track": np.tile(np.repeat(np.arange(2, dtype=np.int16), CROPS_A_VIDEO // 2), len(videos)),
        "frame_index": frame,
        "time": frame / np.float32(30),
        "box": pa.FixedSizeListArray.from_arrays(pa.array(rng.integers(0, 900, 4 * size, dtype=np.int32)), 4),
        "landmarks": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(10 * size, dtype=np.float32)), 10),
        "sharpness": rng.random(size, dtype=np.float32),
        "crop_path": [folder + file for folder in folders for file in files],
    }
    columns = []
    for field in SCHEMA:
        if field.name in of_video:
            columns.append(pa.array(of_video[field.name], field.type).take(owner))
        else:
            values = of_row.get(field.name)
            columns.append(pa.nulls(size, field.type) if values is None else pa.array(values).cast(field.type))
    return pa.table(columns, SCHEMA)


def start(folder: Path, results: Connection) -> None:
    """In a separate process: set up, ask for the first batch, wait for it and look at the loading processes."""
    import resource

    import torch

    from resgat_pl.data.datamodule import FaceDataModule
    from resgat_pl.evaluation.provenance import of_data

    torch.set_num_threads(1)
    before = psutil.Process().memory_full_info().uss
    started = time.perf_counter()
    data = FaceDataModule(folder, image_size=64, batch_size=32, num_workers=WORKERS)
    data.prepare_data()
    data.setup("fit")
    batches = iter(data.train_dataloader())
    asked = time.perf_counter() - started
    for _ in range(30):
        next(batches)
    # the fork server is a child too; its own children are the loading processes
    below = psutil.Process().children(recursive=True)
    used = [child.memory_full_info().uss / MEGA for child in below if child.ppid() != os.getpid()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGA
    own = (psutil.Process().memory_full_info().uss - before) / MEGA
    del batches
    started = time.perf_counter()
    of_data(data)
    results.send((asked, used, own, peak, time.perf_counter() - started))


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name) / "crops"
        generate(folder, arguments.rows)
        size = f"{arguments.rows:,} rows, {(folder / 'manifest.parquet').stat().st_size / MEGA:,.0f} MB"
        runs = []
        for _ in range(arguments.rounds):
            receive, send = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("spawn").Process(target=start, args=(folder, send))
            process.start()
            send.close()
            runs.append(receive.recv())
            process.join()
        asked = [run[0] for run in runs]
        yield Row(
            "set-up to first batch asked for", "absolute", statistics.median(asked), "≤", 15, "s", min(asked),
            max(asked), size,
        )  # fmt: skip
        used = [value for run in runs for value in run[1]]
        yield Row(
            "memory of one loading process (USS)", "absolute", max(used), "≤", 300, "MB", min(used), max(used),
            f"{WORKERS} processes, 30 batches of 32",
        )  # fmt: skip
        others = (
            ("main process, USS on top of imports", 2, "MB"),
            ("main process, peak of resident memory", 3, "MB"),
            ("hashes and counts for the provenance", 4, "s"),
        )
        for what, place, unit in others:
            values = [run[place] for run in runs]
            yield Row(what, "absolute", max(values), unit=unit, low=min(values), high=max(values))


def options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark has."""
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where to put the manifest for the while (0.5 GB); else TMPDIR")


if __name__ == "__main__":
    sys.exit(report(rows, __doc__, options))
