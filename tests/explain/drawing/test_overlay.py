from __future__ import annotations

import numpy as np

from resgat_pl.explain.drawing.overlay import Scale, SheetFace, overlay, scales_of, spread
from resgat_pl.nn.node_geometry import Lattice


def test_one_scale_for_the_set() -> None:
    maps = np.stack([np.full((3, 3), value, np.float32) for value in (0.5, 2.0)])
    assert Scale.of(maps) == Scale(0.5, 2, "magma")
    assert Scale.of(maps, signed=True) == Scale(-2, 2, "RdBu_r")  # diverging although nothing is negative
    assert Scale.of(-maps) == Scale(-2, 2, "RdBu_r")
    assert Scale.of(-maps, signed=False) == Scale(-2, -0.5, "magma")
    for value in (0.0, 5.0):
        for signed in (True, False):
            constant = Scale.of(np.full((2, 3, 3), value, np.float32), signed)
            assert constant.low < constant.high
    face = [SheetFace(np.zeros((9, 9, 3), np.uint8), "", None, {"a": one}, Lattice.even(3, 3)) for one in maps]
    assert scales_of(face) == {"a": Scale.of(maps)}


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
