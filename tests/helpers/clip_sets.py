"""Crops of short clips, pairs of a genuine one and a fake that is altered in part, without any video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from resgat_pl.core.types import VIDEO_KEY, video_key
from resgat_pl.data.manifest.table import Manifest, rows_to_table

SIDE = 64
SPLITS = ("train", "train", "val", "test")


def write_clips(folder: Path, pairs: int = 8, frames: int = 5, altered: range = range(2, 4)) -> Path:
    """Write ``pairs`` of clips; the altered frames of the fakes have a bright corner."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pairs):
        base = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (SIDE, SIDE))
        for label in (0, 1):
            for frame in range(frames):
                picture = np.clip(base + rng.integers(-9, 10, base.shape), 0, 255).astype(np.uint8)
                touched = bool(label) and frame in altered
                if touched:
                    picture[:20, :20] = 255
                name = f"{number}_{label}_{frame}.png"
                cv2.imwrite(str(folder / name), picture)
                rows.append(_row(number, label, frame, name, touched))
    table = rows_to_table(rows).sort_by([(name, "ascending") for name in (*VIDEO_KEY, "track", "frame_index")])
    Manifest(folder, table, {"version": 1}).write()
    return folder


def _row(number: int, label: int, frame: int, name: str, touched: bool) -> dict[str, Any]:
    return {
        "dataset": "clips",
        "method": "part" if label else "original",
        "compression": "",
        "video": f"{number:03d}",
        "identities": [f"p{number}"],
        "part": "",
        "split": SPLITS[number % len(SPLITS)],
        "label": label,
        "track": 0,
        "frame_index": frame,
        "time": frame / 25,
        "box": [0, 0, SIDE, SIDE],
        "sharpness": 1.0,
        "crop_path": name,
        "mask_path": None,
        "altered": touched,
        "landmarks": [0.373, 0.416, 0.627, 0.416, 0.5, 0.568, 0.374, 0.679, 0.626, 0.679],
        "source_video": video_key("clips", "original", "", f"{number:03d}") if label else None,
    }
