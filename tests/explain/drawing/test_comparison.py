from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.drawing.comparison import Column, draw_comparison

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 255, (2, 48, 48, 3), np.uint8)
GREY = np.full((2, 48, 48, 3), 128, np.uint8)


def column(maps: NDArray[Any], signed: bool = True, title: str = "map") -> Column:
    return Column(title, maps.astype(np.float32), signed)


def flat(*values: float) -> NDArray[np.float32]:
    """A constant map a face."""
    return np.array(values, np.float32)[:, None, None].repeat(3, axis=1).repeat(3, axis=2)


def pixels(path: Path) -> NDArray[np.int64]:
    """All pixels as RGB."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture[..., ::-1].reshape(-1, 3).astype(np.int64)


def test_one_scale_a_column() -> None:
    signed = column(flat(0.1, 2.0)).scale
    assert (signed.low, signed.high) == (-2, 2)  # diverging although nothing is negative
    unsigned = column(flat(-1.0, 3.0), signed=False).scale
    assert (unsigned.low, unsigned.high) == (-1, 3)
    assert signed.colormap != unsigned.colormap
    for same in (column(flat(0.0, 0.0)), column(flat(5.0, 5.0), signed=False)):
        assert same.scale.low < same.scale.high


def test_a_value_has_the_same_colour_on_every_face(tmp_path: Path) -> None:
    png, _ = draw_comparison(GREY, ["a", "b"], [column(flat(1.0, 0.01))], tmp_path / "x", "")
    seen = pixels(png)
    red = (seen[:, 0] > seen[:, 2] + 30).sum()
    panel = (1.6 * 300) ** 2
    assert 0.95 * panel < red < 1.1 * panel  # the first face and half of the bar; scaled alone, both faces


def test_the_outline_is_where_the_mask_is(tmp_path: Path) -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[20:, 10:30] = 255  # down to the border
    sizes = []
    for masks in (None, [None, np.zeros_like(mask)], [None, mask], [mask, mask]):
        png, _ = draw_comparison(GREY, ["a", "b"], [column(flat(0.0, 0.0))], tmp_path / "x", "", masks)
        seen = pixels(png)
        sizes.append(int((seen[:, 1] > seen[:, [0, 2]].max(axis=1) + 80).sum()))
    assert sizes[0] == sizes[1] == 0
    assert sizes[2] > 1000
    assert sizes[3] == pytest.approx(2 * sizes[2], rel=0.05)


def test_the_same_bytes_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [column(RNG.normal(size=(2, 3, 3))), column(RNG.random((2, 48, 48)), signed=False)]
    masks = [np.eye(48, dtype=np.uint8) * 255, None]
    written = []
    style = dict(mpl.rcParams)
    for year, changed in enumerate(({}, {"font.family": "serif", "savefig.dpi": 50, "pdf.fonttype": 3})):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(year * 31_536_000))  # the date that matplotlib would write
        with mpl.rc_context(changed):
            written.append([p.read_bytes() for p in draw_comparison(FACES, "ab", columns, tmp_path / "x", "t", masks)])
    assert written[0] == written[1]
    assert dict(mpl.rcParams) == style
    png, pdf = written[0]
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert {file.name for file in tmp_path.iterdir()} == {"x.png", "x.pdf"}


@pytest.mark.parametrize("target", ["print_pdf", "write_bytes"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    (tmp_path / "x.png").write_bytes(b"before")
    write = Path.write_bytes

    def fail(self: Any, *arguments: Any, **_: Any) -> int:
        if target == "write_bytes" and ".png" in self.name:
            return write(self, *arguments)
        if target == "write_bytes":
            write(self, b"half")
        raise OSError("full")

    owner = (
        Path
        if target == "write_bytes"
        else __import__("resgat_pl.explain.drawing.comparison", fromlist=["x"]).FigureCanvasPdf
    )
    monkeypatch.setattr(owner, target, fail)
    with pytest.raises(OSError, match="full"):
        draw_comparison(FACES, "ab", [column(flat(0, 1))], tmp_path / "x.svg", "title")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"x.png": b"before"}


def test_many_of_everything_stays_legible(tmp_path: Path) -> None:
    """Long words, long numbers, formula signs, empty texts and maps of other sizes neither warn nor burst the page."""
    count = 13
    columns = [
        column(
            RNG.normal(size=(count, 7, 7)) * 10.0**power,
            signed=power % 2 == 0,
            title=f"Unbelievably-long-$word$ {power}",
        )
        for power in (-9, 0, 7)
    ]
    titles = ["", "a\nb\nc", "$\\no$", *["fake, p = 0.97"] * (count - 3)]
    png, _ = draw_comparison(GREY[:1].repeat(count, axis=0), titles, columns, tmp_path / "x.y", "A title " * 20)
    assert png == tmp_path / "x.png"
    picture = cv2.imread(str(png))
    assert picture is not None
    height, width = picture.shape[:2]
    assert height / 300 < 11  # inches
    assert width / 300 < 7.5
    border = np.concatenate([picture[:2].reshape(-1, 3), picture[:, :2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    assert (border == 255).all()  # nothing is cut off


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": FACES.astype(np.float32)}, r"\(2, 48, 48, 3\) float32; give at least one face"),
        ({"images": FACES[:0]}, r"\(0, 48, 48, 3\) uint8; give at least one face"),
        ({"row_titles": ["a"]}, "2 faces but 1 in row_titles"),
        ({"masks": [None]}, "2 faces but 1 in masks"),
        ({"columns": [column(flat(1.0))]}, "2 faces but 1 in the maps of column 'map'"),
        ({"columns": [column(flat(1.0, np.nan))]}, "'map' are .* with 9 values that are not finite"),
        ({"masks": [None, np.zeros((4, 4), np.uint8)]}, r"A mask is \(4, 4\), its face \(48, 48\)"),
    ],
)
def test_refuses(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    arguments = {"images": FACES, "row_titles": "ab", "columns": [column(flat(0, 1))], **changed}
    with pytest.raises(ConfigError, match=message):
        draw_comparison(path=tmp_path / "x", title="", **arguments)
    assert not list(tmp_path.iterdir())
