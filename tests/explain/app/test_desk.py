"""Uploads: judged as by resgat explain, held to limits, and gone afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from resgat_pl.core.errors import MediaError
from resgat_pl.explain.app.desk import COLUMNS, Desk, Limits
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder

from ...helpers.judged_media import drawn, save

Judges = tuple[Examiner, FaceFinder]


def uploaded(desk: Desk, source: Path, name: str = "") -> Path:
    """A copy of a file where the web framework puts uploads: in a folder for it alone."""
    folder = desk.uploads / f"{len(list(desk.uploads.iterdir()))}"
    folder.mkdir()
    return Path(shutil.copy(source, folder / (name or source.name)))


@pytest.fixture
def desk(judges: Judges, tmp_path: Path) -> Desk:
    (tmp_path / "uploads").mkdir()
    return Desk(*judges, tmp_path / "uploads", Limits(megabytes=5, seconds=60, files=2))


def test_an_upload_is_judged_and_removed(desk: Desk, tmp_path: Path) -> None:
    save(tmp_path / "face.png", drawn(frames=1)[0])
    steps: list[float] = []
    judged = desk.judge(uploaded(desk, tmp_path / "face.png"), lambda share, _: steps.append(share))
    assert judged.document.verdict in {"fake", "real"}
    assert json.loads(judged.json)["probability"] == judged.document.probability
    assert "Content-Security-Policy" in judged.html
    assert steps == sorted(steps) and len(steps) > 2
    assert list(desk.uploads.iterdir()) == []
    assert (tmp_path / "face.png").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no picture.jpg", r"^no picture.jpg: .*"),
        ("nothing.png", "nothing.png is empty"),
        ("broken.mp4", r"^broken.mp4: .*"),
    ],
)
def test_what_cannot_be_judged_is_named_without_its_folder(desk: Desk, media: Path, name: str, message: str) -> None:
    with pytest.raises(MediaError, match=message) as refused:
        desk.judge(uploaded(desk, media / name))
    assert str(desk.uploads) not in str(refused.value)
    assert list(desk.uploads.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(megabytes=1e-4), "one.mp4 has .* MB, more than the 0.0001 MB allowed"),
        (Limits(seconds=0.01), "one.mp4 is .* s long, more than the 0.01 s allowed"),
    ],
)
def test_limits_of_one_file(judges: Judges, media: Path, tmp_path: Path, limits: Limits, message: str) -> None:
    desk = Desk(*judges, tmp_path, limits)
    with pytest.raises(MediaError, match=message):
        desk.judge(uploaded(desk, media / "one.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_uploads_is_read_or_removed(desk: Desk, tmp_path: Path) -> None:
    save(tmp_path / "mine.png", drawn(frames=1)[0])
    for path in (tmp_path / "mine.png", desk.uploads / ".." / "mine.png"):
        with pytest.raises(MediaError, match="is no upload"):
            desk.judge(path)
        assert "is no upload" in next(desk.rows([path]))[-1]
    assert (tmp_path / "mine.png").exists()


def test_many_files_are_rows(desk: Desk, media: Path, tmp_path: Path) -> None:
    save(tmp_path / "face.png", drawn(frames=1)[0])
    found = list(desk.rows([uploaded(desk, tmp_path / "face.png"), uploaded(desk, media / "no picture.jpg")]))
    assert [row[0] for row in found] == ["face.png", "no picture.jpg"]
    assert all(len(row) == len(COLUMNS) for row in found)
    assert found[0][1] in {"fake", "real"} and found[0][2].endswith("%")
    assert found[1][1] == "not judged" and found[1][-1].startswith("no picture.jpg: ")
    assert list(desk.uploads.iterdir()) == []


def test_too_many_files_are_refused_and_removed(desk: Desk, media: Path) -> None:
    given = [uploaded(desk, media / "nothing.png") for _ in range(3)]
    with pytest.raises(MediaError, match="3 files are more than the 2"):
        list(desk.rows(given))
    assert list(desk.uploads.iterdir()) == []


def test_a_file_that_is_gone_is_said_to_be(desk: Desk) -> None:
    with pytest.raises(MediaError, match=r"a.png is gone: .* Give it again"):
        desk.judge(desk.uploads / "x" / "a.png")
