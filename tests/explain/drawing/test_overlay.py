from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from resgat_pl.explain.drawing.overlay import Scale, SheetFace, overlay, save_sheet, scales_of, spread
from resgat_pl.nn.node_geometry import Lattice


def faces(count: int) -> list[SheetFace]:
    rng = np.random.default_rng(0)
    return [
        SheetFace(
            image=rng.integers(0, 255, (56, 56, 3), np.uint8),
            title=f"face {i}",
            mask=np.full((56, 56), 255, np.uint8) if i % 2 else None,
            maps={
                "contribution": rng.normal(size=(7, 7)).astype(np.float32),
                "attention": rng.random((7, 7)).astype(np.float32) * (i + 1),
            },
            lattice=Lattice.even(7, 7),
        )
        for i in range(count)
    ]


def test_one_scale_for_the_set() -> None:
    scales = scales_of(faces(5))
    assert scales["attention"].high > 4
    assert scales["contribution"].low == -scales["contribution"].high
    constant = Scale.of(np.ones((2, 3, 3), np.float32))
    assert constant.low < constant.high


def test_the_same_value_has_the_same_colour_on_every_face() -> None:
    scale = Scale(-1, 1, "RdBu_r")
    grey = np.full((14, 14, 3), 128, np.uint8)
    nodes = np.zeros((7, 7), np.float32)
    nodes[0, 0] = 1
    strong = spread(nodes, Lattice.even(7, 7), (14, 14))
    weak = strong * 0.01
    assert (overlay(grey, strong, scale)[7:, 7:] == overlay(grey, weak, scale)[7:, 7:]).all()
    red = overlay(grey, strong, scale)[0, 0].astype(int)
    assert red[0] > red[2] + 25  # towards fake is red
    blue = overlay(grey, -strong, scale)[0, 0].astype(int)
    assert blue[2] > blue[0] + 25


def test_a_sheet_is_a_picture(tmp_path: Path) -> None:
    for count in (1, 3, 10):
        save_sheet(faces(count), tmp_path / "sheet.png", "title")
        picture = cv2.imread(str(tmp_path / "sheet.png"))
        assert picture is not None
        assert picture.std() > 20
