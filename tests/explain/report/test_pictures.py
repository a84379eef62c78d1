"""Pictures that are passed on alone carry the limit of the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from resgat_pl.explain.report import pictures
from resgat_pl.explain.report.first_page import NO_PROOF
from resgat_pl.explain.report.pictures import write_overlays, write_sheet

from .browser_page import Make


def test_an_overlay_has_a_caption_below_it(document: Make, tmp_path: Path) -> None:
    made = document(frames=1)
    path = write_overlays(made, tmp_path)[0]
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    height, width = image.shape[:2]
    assert height > width  # of a square face
    strip = image[width:]
    assert strip.max() > 150 and np.median(strip) == 0  # words on black
    drawn = replace(made, checkpoint=replace(made.checkpoint, recordings=False))
    other = cv2.imdecode(np.fromfile(write_overlays(drawn, tmp_path)[0], np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    assert not np.array_equal(other[width:], strip[: len(other) - width])


def test_a_sheet_has_the_limits_above_it(document: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        pictures, "draw_sheet", lambda strips, title, panel: (asked.append((strips[0].heading, title)) or b"", None)
    )
    made = document(file="a" * 200 + " b.mp4")
    write_sheet(replace(made, checkpoint=replace(made.checkpoint, recordings=False)), tmp_path / "a.png")
    ((heading, title),) = asked
    assert title.endswith("not valid for recordings") and len(title) < 130
    for said in (NO_PROOF, "Trained on: unknown.", "has never seen a recorded face", *made.notes):
        assert said in heading
