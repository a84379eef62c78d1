"""Crops of drawn faces with a manifest, for the parts of the benchmark that read pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from resgat_pl.core.types import VIDEO_KEY
from resgat_pl.data.manifest.table import Manifest, rows_to_table
from resgat_pl.data.synth.clip import generator
from resgat_pl.data.synth.drawn import draw_clip


def write_crops(folder: Path, count: int, image_format: Literal["png", "jpg"], side: int = 224) -> Manifest:
    """Write ``count`` rows of 64 different pictures, real and fake in turn, the last tenth of the validation split."""
    frames = draw_clip([generator(0, "someone")], generator(0, "bench"), 64, side).frames
    noise = np.random.default_rng(0).integers(-4, 5, frames.shape)  # a camera's, without which files are too small
    frames = np.clip(frames + noise, 0, 255).astype(np.uint8)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}.{image_format}"), frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    rows = [
        {
            "dataset": "bench",
            "method": "original" if number % 2 == 0 else "fake",
            "compression": "",
            "video": f"{number:06d}",
            "identities": [],
            "part": "",
            "split": "train" if number < 0.9 * count else "val",
            "label": number % 2,
            "track": 0,
            "frame_index": 0,
            "box": [0, 0, side, side],
            "sharpness": 1.0,
            "crop_path": f"{number % len(frames)}.{image_format}",
        }
        for number in range(count)
    ]
    table = rows_to_table(rows).sort_by([(name, "ascending") for name in VIDEO_KEY])
    manifest = Manifest(folder, table, {"version": 1})
    manifest.write()
    return manifest
