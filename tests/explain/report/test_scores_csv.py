"""``resgat explain`` on files with more people than are judged: table, console and reports name them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.encode import write_video
from resgat_pl.explain.report.scores_csv import COLUMNS

from ...helpers.judged_media import ask, table

Image = NDArray[np.uint8]


@cache
def person(number: int) -> Image:
    return draw_clip([np.random.default_rng(number)], np.random.default_rng(number), 1, 224).frames[0]


def scene(*people: tuple[int, int, int, int]) -> Image:
    """Pictures of drawn people, each (number, x, y, side), on a grey ground."""
    frame = np.full((240, 480, 3), 90, np.uint8)
    for number, x, y, side in people:
        frame[y : y + side, x : x + side] = cv2.resize(person(number), (side, side), interpolation=cv2.INTER_AREA)
    return frame


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("who")
    first = [scene((1, 10 + i % 3, 20, 180)) for i in range(10)]
    brief = [scene((3, 260 + i % 3, 20, 180)) for i in range(2)]
    write_video(folder / "short.mp4", np.stack(first + brief))
    write_video(folder / "glimpse.mp4", np.stack(first[:9] + brief[:1]))
    same_place = [scene((number, 150 + i % 3, 20, 180)) for number in (1, 3, 1) for i in range(4)]
    write_video(folder / "same_place.mp4", np.stack(same_place))
    group = scene((1, 0, 0, 150), (3, 160, 0, 150), (5, 330, 0, 150))
    cv2.imwrite(str(folder / "group.png"), group[..., ::-1])
    crowd = np.full((960, 1280, 3), 90, np.uint8)  # the detector looks for faces of an eighth of the picture
    for x, number, side in ((30, 1, 560), (700, 3, 120), (900, 5, 120)):
        crowd[30 : 30 + side, x : x + side] = cv2.resize(person(number), (side, side))
    cv2.imwrite(str(folder / "crowd.png"), crowd[..., ::-1])
    return folder


class Run(NamedTuple):
    out: Path
    rows: dict[str, dict[str, str]]
    said: str


def explained(out: Path, *given: object) -> Run:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert ask(*given, "--out", out) == 0
    return Run(out, {Path(file).name: row for file, row in table(out).items()}, said.getvalue())


@pytest.fixture(scope="module")
def run(checkpoint: Path, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return explained(tmp_path_factory.mktemp("table") / "out", checkpoint, media, "--no-html", "--faces", 2)


def test_the_table_and_the_console_name_who_was_not_judged(run: Run) -> None:
    counts = {name: (row["faces"], row["faces_found"]) for name, row in run.rows.items()}
    assert counts == {
        "short.mp4": ("2", "2"),
        "glimpse.mp4": ("1", "2"),
        "same_place.mp4": ("2", "2"),
        "group.png": ("2", "3"),
        "crowd.png": ("1", "3"),
    }
    for name, note in {
        "short.mp4": "Face 2 was found in 2 of 12 frames",
        "glimpse.mp4": "in a single frame of 10 and not judged",
        "group.png": "2 of 3 faces are judged, the largest (--faces 2)",
        "crowd.png": "2 faces are too small",
    }.items():
        assert note in run.rows[name]["notes"]
    assert "2 of 3 faces judged" in run.said
    assert "1 of 2 faces judged" in run.said
    for row in run.rows.values():
        assert "Trained on drawn faces only" in row["trained_on"]
        for note in filter(None, row["notes"].split(" | ")):
            assert note in run.said
    assert run.said.count("Trained on drawn faces only") == 1


def test_the_report_says_the_same(checkpoint: Path, media: Path, tmp_path: Path, run: Run) -> None:
    done = explained(tmp_path / "out", checkpoint, media / "group.png", "--faces", 2)
    (row,) = done.rows.values()
    assert row["notes"] == run.rows["group.png"]["notes"]
    folder = done.out / row["report"]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert report["faces_found"] == int(row["faces_found"]) == 3
    assert report["notes"] == row["notes"].split(" | ")
    assert report["checkpoint"]["trained_on"] == row["trained_on"]
    assert report["checkpoint"]["recordings"] is False
    assert row["trained_on"] in (folder / "report.html").read_text()


def test_a_table_of_an_earlier_version_is_not_continued(
    checkpoint: Path, media: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(run.out / "settings.json", tmp_path)
    scores = tmp_path / "scores.csv"
    with scores.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS[: COLUMNS.index("error") + 1], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(run.rows.values())
    before = scores.read_bytes()
    assert ask(checkpoint, media, "--no-html", "--faces", 2, "--out", tmp_path) == 2
    assert "lacks the columns faces_found, notes, trained_on" in capsys.readouterr().err
    assert scores.read_bytes() == before
