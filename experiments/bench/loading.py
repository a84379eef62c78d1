"""Reading and augmenting crops in one process on one thread, against the plain PIL and torchvision way to read them.

Ours is ``FaceCrops`` with the DFDC augmentation at its default probabilities; the reference opens the same files with
PIL and applies torchvision's ``Resize`` and ``ToTensor``, without augmentation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import Row, faster, report, slower
from PIL import Image
from torch.utils.data import default_collate
from torchvision.transforms import Compose, Resize, ToTensor

from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table
from resgat_pl.data.transforms import DFDCAugmentation

CROPS = 64
SIDE = 224
BATCH = 32
TARGET = 1.5


def picture(seed: int) -> np.ndarray:
    """``(SIDE, SIDE, 3)`` uint8 with detail on every scale, falling off as in a photograph."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 128.0, np.float32)
    for side in (4, 8, 16, 32, 64, 112, SIDE):
        noise = rng.normal(0, 1, (side, side, 3)).astype(np.float32)
        image += cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) * (160 / side) ** 0.8
    return np.clip(image, 0, 255).astype(np.uint8)


def crops(folder: Path, suffix: str) -> Manifest:
    """A manifest of crops as image files."""
    rows = []
    for number in range(CROPS):
        name = f"{number:04d}.{suffix}"
        cv2.imwrite(str(folder / name), picture(number))  # JPEG: quality 95
        rows.append(
            {"dataset": "dfdc", "method": "original", "compression": "", "video": f"{number:04d}", "identities": ["a"],
             "part": "", "label": 0, "track": 0, "frame_index": 0, "box": [0, 0, 9, 9], "sharpness": 1.0,
             "crop_path": name}
        )  # fmt: skip
    return merge(folder, [rows_to_table(rows)], {})


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    transform = Compose([Resize((SIDE, SIDE)), ToTensor()])
    for suffix in ("jpg", "png"):
        with tempfile.TemporaryDirectory() as name:
            manifest = crops(Path(name), suffix)
            files = [manifest.crop(row) for row in range(CROPS)]
            rounds, size = arguments.rounds, sum(path.stat().st_size for path in files) / CROPS / 1000
            detail = f"{CROPS} {suffix} crops of {SIDE} px, {size:.0f} kB each, one thread"

            def reference(files: list[Path] = files) -> None:
                for start in range(0, CROPS, BATCH):
                    batch = []
                    for path in files[start : start + BATCH]:
                        with Image.open(path) as image:
                            batch.append(transform(image.convert("RGB")))
                    default_collate(batch)

            plain = _reader(FaceCrops(manifest, np.arange(CROPS), SIDE))
            augmented = _reader(FaceCrops(manifest, np.arange(CROPS), SIDE, DFDCAugmentation()))
            against = "PIL, Resize, ToTensor, not augmented"
            target = TARGET if suffix == "jpg" else None
            yield faster(
                f"{suffix}: crops with DFDC augmentation", augmented, against, reference, target, rounds, detail
            )
            yield faster(f"{suffix}: crops as they are", plain, against, reference, None, rounds, detail)
            yield slower(
                f"{suffix}: what augmentation costs", augmented, "crops as they are", plain, None, rounds, detail
            )


def _reader(faces: FaceCrops) -> Callable[[], None]:
    """All crops once, with other seeds each time, collated as a loading process does."""
    epoch = iter(range(10**6))

    def read() -> None:
        first = next(epoch) * CROPS
        draws = [Draw(place, first + place) for place in range(CROPS)]
        for start in range(0, CROPS, BATCH):
            default_collate([faces[draw] for draw in draws[start : start + BATCH]])

    return read


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
