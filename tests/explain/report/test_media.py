"""The faces of a user's own files, cut out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import WholeFrame
from resgat_pl.explain.report.media import find_faces
from resgat_pl.explain.report.media_search import Medium

from ...helpers.clips import barcode

WHOLE = Extraction(frames=4, detector=WholeFrame())


def animation(path: Path, *sizes: tuple[int, int]) -> Medium:
    frames = [Image.fromarray(barcode(number)).resize(size) for number, size in enumerate(sizes)]
    frames[0].save(path, "TIFF", save_all=True, append_images=frames[1:])
    return Medium(path, path.name, "video")


def test_a_change_of_the_frame_size_is_noted(tmp_path: Path) -> None:
    found = find_faces(animation(tmp_path / "a.tif", (64, 48), (64, 48), (32, 24), (32, 24)), WHOLE, 4)
    (note,) = [note for note in found.notes if "frame size" in note]
    assert "64×48 from frame 0, 32×24 from frame 2" in note
    alike = find_faces(animation(tmp_path / "b.tif", (64, 48), (64, 48), (64, 48)), WHOLE, 4)
    assert not any("frame size" in note for note in alike.notes)


def test_the_time_between_searched_frames_is_known(tmp_path: Path) -> None:
    frames = [Image.fromarray(barcode(number)) for number in range(20)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=200)
    assert find_faces(Medium(tmp_path / "a.gif", "a.gif", "video"), WHOLE, 4).step == pytest.approx(1.0)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "b.png")
    assert find_faces(Medium(tmp_path / "b.png", "b.png", "image"), WHOLE, 4).step is None
