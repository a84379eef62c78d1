from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.explain.drawing.overlay import Scale, SheetFace
from resgat_pl.explain.drawing.sheet import Strip, draw_sheet, outlined, save_sheet
from resgat_pl.nn.node_geometry import Lattice

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 255, (2, 48, 48, 3), np.uint8)


def decoded(png: bytes) -> NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def test_the_outline_is_where_the_mask_is() -> None:
    face, mask = np.full((48, 48, 3), 128, np.uint8), np.zeros((48, 48), np.uint8)
    assert (outlined(face, None) == 128).all()
    assert (outlined(face, mask) == 128).all()
    mask[20:, 10:30] = 255  # down to the border
    drawn = outlined(face, mask)
    assert drawn.shape == (256, 256, 3)
    rows, columns = np.nonzero((drawn != 128).any(axis=2))
    scale = 256 / 48
    assert abs(rows.min() - 20 * scale) < 5
    assert rows.max() == 255
    assert (abs(columns.min() - 10 * scale), abs(columns.max() - 30 * scale)) < (5, 5)
    assert (face == 128).all()


def test_the_same_bytes_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Strip("face", FACES, "ab"), Strip("map", FACES, scale=Scale(-1, 1, "RdBu_r"), unit="logits")]
    written = []
    style = dict(mpl.rcParams)
    for year, changed in enumerate(({}, {"font.family": "serif", "savefig.dpi": 50, "pdf.fonttype": 3})):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(year * 31_536_000))  # the date that matplotlib would write
        with mpl.rc_context(changed):
            written.append(draw_sheet(rows, "t", ("png", "pdf")))
    assert written[0] == written[1]
    assert dict(mpl.rcParams) == style
    png, pdf = written[0]
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("upright", [False, True])
def test_many_of_everything_stays_on_the_page(upright: bool) -> None:
    """Long words, long numbers, formula signs and characters without a glyph neither warn nor are cut off."""
    faces = [FACES[0]] * 13
    titles = ["", "a\nb\nc", "$\\no$", *["fake, NeuralTextures\np = 0.97"] * 10]
    rows = [Strip("face", faces, titles, heading="A face. " * 60)]
    rows += [
        Strip(f"Unbelievably-long-$word$ {low}", faces[:2], scale=Scale(low, 2 * high, "magma"), unit="logits " * 9)
        for low, high in ((1e-9, 2e-9), (-0.3, 0.2), (0, 3e7))
    ]
    picture = decoded(draw_sheet(rows, "顔 A title " * 40, panel=0.7, dpi=100, upright=upright)[0])
    height, width = picture.shape[:2]
    inches = (13 * 0.75, 4 * 0.75) if upright else (4 * 0.75, 13 * 0.75)
    assert height / 100 < inches[0] + 4.5
    assert width / 100 < inches[1] + 2.5
    border = np.concatenate([picture[:2].reshape(-1, 3), picture[:, :2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    assert (border == 255).all()


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_sheet_has_every_face_and_map(count: int, tmp_path: Path) -> None:
    faces = [
        SheetFace(
            image=RNG.integers(0, 255, (56, 56, 3), np.uint8),
            title=f"face {i}",
            mask=np.full((56, 56), 255, np.uint8) if i % 2 else None,
            maps={name: RNG.normal(size=(7, 7)).astype(np.float32) for name in ("contribution", "attention")},
            lattice=Lattice.even(7, 7),
        )
        for i in range(count)
    ]
    save_sheet(faces, tmp_path / "sheet.png", "title")
    picture = decoded((tmp_path / "sheet.png").read_bytes())
    bands, columns = (1, count) if count < 9 else (2, 8)
    assert picture.std() > 20
    assert picture.shape[0] > 3 * bands * 140  # pixels
    assert picture.shape[1] > columns * 140
