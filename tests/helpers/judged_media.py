"""Pictures of drawn people, and ``resgat explain`` on them in this process."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.cli.main import main
from resgat_pl.data.synth.drawn import draw_clip

ODD = "a {b} [c], 'd' & <i>é$1$.png"
Json = dict[str, Any]


def drawn(people: int = 1, frames: int = 3, size: int = 192, seed: int = 1) -> NDArray[np.uint8]:
    """``(frames, size, size, 3)`` of drawn people whom MTCNN finds."""
    sources = [np.random.default_rng(seed + number) for number in range(people)]
    return draw_clip(sources, np.random.default_rng(seed), frames, size).frames


def save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image)[1].tobytes())


def turn(path: Path) -> None:
    """Mark an mp4 as to be shown turned by 90°: another matrix in the track's header, as phones write it."""
    one, zero, minus, tail = (value.to_bytes(4, "big") for value in (0x10000, 0, 0xFFFF0000, 0x40000000))
    upright = one + zero * 3 + one + zero * 3 + tail
    data = path.read_bytes()
    place = data.index(upright, data.index(b"tkhd"))
    path.write_bytes(data[:place] + zero + one + zero + minus + zero * 4 + tail + data[place + 36 :])


class Run(NamedTuple):
    status: int
    out: Path
    rows: dict[str, dict[str, str]]

    def report(self, name: str) -> Json:
        (row,) = [row for row in self.rows.values() if Path(row["file"]).name == name]
        content: Json = json.loads((self.out / row["report"] / "report.json").read_text(encoding="utf-8"))
        return content


def ask(*given: object) -> int:
    return main(["explain", *map(str, given)])


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "scores.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {row["file"]: row for row in rows}
    assert len(found) == len(rows)  # one row a file
    return found
