"""Crops of drawn faces with their landmarks, and manifests of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table
from resgat_pl.data.synth.clip import generator
from resgat_pl.data.synth.drawn import draw_clip

SIDE = 128


@cache
def drawn_face(person: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A crop ``(side, side, 3)`` and its landmarks ``(5, 2)`` in [0, 1], as an extraction gives them."""
    name = str(person)
    clip = draw_clip([generator(5, "person", name)], generator(5, "clip", name), frames=1, size=256)
    points = clip.landmarks[0, 0]
    half = 2.1 * float(np.linalg.norm(points[1] - points[0]))
    x, y = points.mean(axis=0) - half
    matrix = np.array([[side / (2 * half), 0, -x * side / (2 * half)], [0, side / (2 * half), -y * side / (2 * half)]])
    crop = cv2.warpAffine(clip.frames[0], matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8), ((points - (x, y)) / (2 * half)).astype(np.float32)


def drawn_crops(
    folder: Path, splits: Sequence[str | None], frames: int = 1, side: int = SIDE, people: int | None = None
) -> Manifest:
    """Write genuine crops and their manifest: a video of a different person in each split that is listed.

    Args:
        folder: For crops and manifest.
        splits: Split of each video; None is in none.
        frames: Crops of each video, which are alike.
        side: Of a crop in px.
        people: Number of people; None gives each video a different one.
    """
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for video, split in enumerate(splits):
        person = video if people is None else video % people
        crop, landmarks = drawn_face(person, side)
        for frame in range(frames):
            name = f"{video:03d}_{frame}.png"
            cv2.imwrite(str(folder / name), np.roll(crop, frame, axis=1)[..., ::-1])
            rows.append(
                {"dataset": "folder", "method": "original", "compression": "", "video": f"{video:03d}",
                 "identities": [f"p{person}"], "part": "", "split": split, "label": 0, "track": 0, "frame_index": frame,
                 "box": [0, 0, side, side], "landmarks": landmarks.ravel().tolist(), "sharpness": 1.0,
                 "crop_path": name, "altered": False}
            )  # fmt: skip
    manifest = merge(folder, [rows_to_table(rows)], {"extraction": {"margin": 1.3}, "synthetic": "drawn"})
    manifest.write()
    return manifest
