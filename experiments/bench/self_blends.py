"""Self-blends made while training: pairs a second of one core, and what they add to the loading of a pair.

The crops are of a drawn face; a pair is a genuine crop and its self-blend, with mask, after one camera. Seconds are
those of the processor, which other work on the machine lengthens less. The last row says how many cores keep up with a
GPU step that takes 1,000 crops a second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from measure import Row, interleave, ratio_row, report

from resgat_pl.data.crop_store.reader import picture
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import TrainSampler
from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.data.self_blends.crops import SelfBlendedCrops
from resgat_pl.data.self_blends.families import FAMILIES
from resgat_pl.data.synth.clip import generator
from resgat_pl.data.synth.drawn import draw_clip

SIDE = 224
CROPS = 64
BATCH = 16
PAIRS = 96
"""Pairs of a round."""
TARGET = 60
STEP = 1000
"""Crops a second of the GPU step that is kept up with."""


def crops(folder: Path) -> Manifest:
    """A manifest of genuine crops, with landmarks."""
    clip = draw_clip([generator(0, "someone")], generator(0, "bench"), CROPS, SIDE)
    noise = np.random.default_rng(0).integers(-4, 5, clip.frames.shape)  # a camera's
    frames = np.clip(clip.frames + noise, 0, 255).astype(np.uint8)
    rows = []
    for number, (frame, points) in enumerate(zip(frames, clip.landmarks[0], strict=True)):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
        rows.append(
            {"dataset": "bench", "method": "original", "compression": "", "video": f"{number:03d}", "identities": [],
             "part": "", "split": "train", "label": 0, "track": 0, "frame_index": 0, "box": [0, 0, SIDE, SIDE],
             "landmarks": (points / SIDE).ravel().tolist(), "sharpness": 1.0, "crop_path": f"{number}.png"}
        )  # fmt: skip
    return merge(folder, [rows_to_table(rows)], {})


def rate(blend: SelfBlend, manifest: Manifest, rounds: int) -> list[float]:
    """Pairs a second of one thread, one value a round, other seeds in each."""
    faces = [picture(manifest.crop(row)) for row in range(CROPS)]
    points = np.array(manifest.table.column("landmarks").to_pylist(), np.float32).reshape(-1, 5, 2)
    found = []
    for turn in range(rounds + 1):
        started = time.process_time()
        for number in range(PAIRS):
            blend(faces[number % CROPS], points[number % CROPS], turn * PAIRS + number)
        found.append(PAIRS / (time.process_time() - started))
    return found[1:]


def rate_row(what: str, values: list[float], target: float | None, detail: str) -> Row:
    """A row of pairs a second."""
    sense: Literal["≥"] | None = None if target is None else "≥"
    middle = statistics.median(values)
    return Row(what, "absolute", middle, sense, target, "pairs/s a core", min(values), max(values), detail)


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        manifest = crops(Path(name))
        detail = f"{SIDE} px, {PAIRS} pairs a round, one thread"
        for source in ("video", "photo"):
            values = rate(SelfBlend(source=source), manifest, arguments.rounds)
            yield rate_row(f"self-blends of a {source}, all families", values, TARGET, detail)
        for family in FAMILIES:
            values = rate(SelfBlend({family: 1}), manifest, arguments.rounds)
            yield rate_row(f"family {family}", values, None, detail)

        # Against the same crops read twice, without any self-blend.
        train = manifest.rows_of("train")
        blended = SelfBlendedCrops(manifest, train, SIDE, SelfBlend())
        plain = FaceCrops(manifest, np.tile(train, 2), SIDE)
        epoch = iter(range(10**6))

        def pairs() -> None:
            sampler = TrainSampler(blended, 1, 0, next(epoch), "paired")
            for _ in ResumableLoader(blended, sampler, 2 * BATCH, 0):
                pass

        def read() -> None:
            for _ in ResumableLoader(plain, TrainSampler(plain, 1, 0, next(epoch), "shuffled"), 2 * BATCH, 0):
                pass

        times = interleave(pairs, read, rounds=arguments.rounds)
        loaded = f"{CROPS} pairs of batches of {BATCH}, read, blended and collated by one process"
        yield ratio_row("loading of pairs", "the same crops read twice", times, "≤", None, loaded)
        seconds = []
        for _ in range(arguments.rounds):
            started = time.process_time()
            pairs()
            seconds.append(time.process_time() - started)
        cores = [STEP * taken / (2 * CROPS) for taken in seconds]
        what = f"loading processes for a step of {STEP:,} crops/s"
        detail = f"{2 * CROPS / statistics.median(seconds):.0f} crops/s each"
        yield Row(what, "absolute", statistics.median(cores), None, None, "cores", min(cores), max(cores), detail)


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
