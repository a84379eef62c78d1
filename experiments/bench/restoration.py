"""The benchmark of explanations on pairs: seconds for 200 fakes with their genuine counterparts.

MobileNetV2 to stride 16 at 160 px (10×10 nodes) with random weights, ``Contribution`` and the four baselines: restoring
every node alone, restoration, implantation, random and central nodes, silence, thresholds, sanity checks. Once with
self-blends, whose pixels are those of the genuine face beside the mask, and once with pairs that differ everywhere, as
after compression: pictures that come out alike are judged once, which saves much of the first and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from checkpoints import save_untrained
from measure import Row, report

from resgat_pl.core.types import VIDEO_KEY, video_key
from resgat_pl.data.manifest.table import Manifest, rows_to_table
from resgat_pl.data.synth.clip import generator
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.explain.benchmark.command import benchmark_explainers
from resgat_pl.nn.resgat import ResGAT

PAIRS = 200
SIDE = 160
LIMIT = 300
"""Seconds that 200 pairs may take on two cores."""


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this part."""
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs; the time of 200 is worked out from fewer")


def write_pairs(folder: Path, count: int, everywhere: bool) -> Path:
    """Write ``count`` test pairs and a tenth as many for validation: a fake is its genuine face with a patch changed.

    Args:
        folder: Where to.
        count: Pairs in the test split.
        everywhere: Whether the fake also has noise of its own in every pixel.
    """
    folder.mkdir(parents=True)
    faces = draw_clip([generator(0, "someone")], generator(0, "bench"), 32, SIDE).frames
    rng, rows = np.random.default_rng(0), []
    for number in range(count + count // 10):
        real = np.clip(faces[number % len(faces)] + rng.integers(-4, 5, faces[0].shape), 0, 255).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        centre = tuple(int(place) for place in rng.integers(SIDE // 3, 2 * SIDE // 3, 2))
        cv2.ellipse(mask, centre, (30, 22), 0, 0, 360, 255, -1)
        fake = np.where(mask[:, :, None] > 0, cv2.GaussianBlur(real, (0, 0), 2), real)
        if everywhere:
            fake = np.clip(fake + rng.integers(-2, 3, fake.shape), 0, 255).astype(np.uint8)
        for label, picture in enumerate((real, fake)):
            name = f"{number}_{label}.png"
            cv2.imwrite(str(folder / name), picture[:, :, ::-1])
            rows.append(_row(number, label, name, "test" if number < count else "val"))
        cv2.imwrite(str(folder / f"{number}_mask.png"), mask)
    table = rows_to_table(rows).sort_by([(name, "ascending") for name in VIDEO_KEY])
    Manifest(folder, table, {"version": 1}).write()
    return folder


def _row(number: int, label: int, name: str, split: str) -> dict[str, object]:
    method = "blend" if label else "original"
    return {
        "dataset": "bench",
        "method": method,
        "compression": "",
        "video": f"{number:06d}",
        "identities": [f"p{number}"],
        "part": "",
        "split": split,
        "label": label,
        "track": 0,
        "frame_index": 0,
        "box": [0, 0, SIDE, SIDE],
        "sharpness": 1.0,
        "crop_path": name,
        "mask_path": f"{number}_mask.png" if label else None,
        "landmarks": [0.373, 0.416, 0.627, 0.416, 0.5, 0.568, 0.374, 0.679, 0.626, 0.679],
        "source_video": video_key("bench", "original", "", f"{number:06d}") if label else None,
    }


def write_checkpoint(path: Path) -> Path:
    """Write an untrained detector that calls nearly everything fake, so that all fakes are explained."""
    torch.manual_seed(0)
    net = ResGAT("gatv2", "mobilenet_v2", encoder_stage=3, heads=4, hidden=32, image_size=SIDE)
    save_untrained(net, path, threshold=1e-6)
    return path


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Both kinds of pairs, one run each."""
    os.environ["WANDB_MODE"] = "disabled"
    with tempfile.TemporaryDirectory() as name:
        checkpoint = write_checkpoint(Path(name) / "net.ckpt")
        for what, everywhere in (("self-blends", False), ("pairs that differ everywhere", True)):
            crops = write_pairs(Path(name) / what.replace(" ", "_"), arguments.pairs, everywhere)
            started, worked = time.monotonic(), time.process_time()
            benchmark_explainers(
                str(checkpoint),
                crops,
                crops / "out",
                ["Contribution"],
                faces=arguments.pairs,
                allow_leakage=True,
                private=True,
            )
            seconds = time.monotonic() - started
            about = f"{arguments.pairs} pairs in {seconds:.0f} s, {time.process_time() - worked:.0f} s of CPU"
            about += f"; {SIDE} px, {torch.get_num_threads()} threads"
            yield Row(
                f"restoration benchmark of {PAIRS} {what}",
                "",
                seconds / arguments.pairs * PAIRS,
                "≤",
                LIMIT,
                "s",
                detail=f"MobileNetV2, stride 16; Contribution and baselines; {about}",
            )


if __name__ == "__main__":
    sys.exit(report(rows, __doc__, options))
