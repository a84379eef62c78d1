"""Every file that was given is looked at, or counted with the reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resgat_pl.core.errors import DatasetNotFoundError
from resgat_pl.data.layouts.base import is_image, is_video
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.media.file_type import IMAGE_SUFFIXES, VIDEO_SUFFIXES, kind_of, why_not
from resgat_pl.explain.report.media_search import describe, search_media

from ...data.media.test_images import animated
from ...helpers.clips import write

PIXELS = Image.fromarray(np.zeros((8, 8, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "evidence"
    (root / "sub").mkdir(parents=True)
    forms = {"a.jpg": "JPEG", "b.JFIF": "JPEG", "c.gif": "GIF", "d.jp2": "JPEG2000", "e.JPG_large": "JPEG", "f": "PNG"}
    for name, form in forms.items():
        PIXELS.save(root / name, form)
    write(root / "sub" / "g.mts", 6, form="mpegts")
    write(root / "h.vob", 6, "mpeg2video", {}, form="vob")
    shutil.copy(root / "h.vob", root / "i.dat")
    write(root / "j.jpg.mp4", 6).rename(root / "j.jpg")  # a video by its content
    animated(root / "k.gif", [50] * 3, "GIF")
    return root


def test_media_are_known_by_content_and_the_rest_is_counted(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "m.ts").write_text("const a = 1;\n")
    (folder / "sound.mp3").write_bytes(b"ID3" + bytes(50))
    (folder / "raw.CR2").write_bytes(b"II*\0" + bytes(50))
    (folder / "nothing").touch()
    (folder / "empty.jpg").touch()  # a row of the table that says so
    (folder / ".hidden.jpg").touch()
    (folder / ".git").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "elsewhere").symlink_to("sub", target_is_directory=True)
    (folder / "z same.jpg").symlink_to("a.jpg")
    os.mkfifo(folder / "pipe")
    found = search_media([folder])
    kinds = {Path(medium.name).name: medium.kind for medium in found.media}
    assert kinds == {
        **dict.fromkeys(["a.jpg", "b.JFIF", "c.gif", "d.jp2", "e.JPG_large", "f", "empty.jpg"], "image"),
        **dict.fromkeys(["g.mts", "h.vob", "i.dat", "j.jpg", "k.gif"], "video"),
    }
    reasons = {Path(entry.name).name: entry.reason for entry in found.left_out}
    assert reasons == {
        "notes.txt": "no image and no video",
        "m.ts": "no image and no video",
        "sound.mp3": "sound only",
        "raw.CR2": "a camera's raw picture; develop it to JPEG or TIFF",
        "nothing": "empty",
        ".hidden.jpg": "a hidden file",
        ".git": "a hidden folder",
        "loop": "a link that leads nowhere",
        "elsewhere": "a link to a folder; name the folder itself",
        "z same.jpg": f"the same file as {folder / 'a.jpg'}",
        "pipe": "no file but a pipe or a device",
    }
    said = describe(found.left_out)
    assert said.startswith("11 not looked at (2 no image and no video; ")
    every = {path for path in folder.iterdir() if path.name not in {"sub", "evidence"}} | {folder / "sub" / "g.mts"}
    assert len(found.media) + len(found.left_out) == len(every)


def test_a_folder_that_cannot_be_opened_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def closed(path: str) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    (entry,) = search_media([folder]).left_out
    assert (Path(entry.name).name, entry.is_lost) == ("sub", True)
    assert "Permission denied" in entry.reason


def test_what_is_named_is_taken(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    assert [medium.kind for medium in search_media([folder / "notes.txt", folder / "f", folder / "k.gif"]).media] == [
        "video",
        "image",
        "video",
    ]
    (folder / "only").mkdir()
    (folder / "only" / "notes.txt").write_text("hello")
    with pytest.raises(DatasetNotFoundError, match=r"no image and no video.*1 not looked at.*only.notes\.txt"):
        search_media([folder / "only"])
    (folder / "void").mkdir()
    with pytest.raises(DatasetNotFoundError, match="It is empty"):
        search_media([folder / "void"])


def test_extract_knows_the_same_suffixes_and_counts_the_others(tmp_path: Path) -> None:
    for suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
        assert is_video(f"a.{suffix.upper()}") != is_image(f"a.{suffix}")
    for name in ("real/a.mts", "real/b.gif", "real/c.jfif", "fake/d.heic", "real/e.JPG_large", "fake/f.xyz", "fake/g"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    index = Folder().index(tmp_path)
    assert {video.video: video.kind for video in index.records} == {
        "a": "video",
        "b": "video",
        "c": "frames",
        "d": "frames",
    }
    (problem,) = index.problems
    assert problem.startswith("3 files (fake/f.xyz, fake/g, real/e.JPG_large) beside the videos not looked at")


@pytest.mark.parametrize("head", [b"", b"%PDF-1.4", b"#EXTM3U", b"PK\3\4", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x14ftypM4A "])
def test_a_reason_is_given_for_whatever_is_no_medium(head: bytes) -> None:
    assert why_not(head, "") != "no image and no video"


def test_a_piece_of_a_recording_begins_within_a_packet() -> None:
    packets = b"".join(b"\x47" + np.random.default_rng(n).integers(0, 255, 187, np.uint8).tobytes() for n in range(30))
    assert [kind_of(packets[start:][:4096]) for start in (0, 1, 100, 187)] == ["video"] * 4
    assert kind_of(packets[1:1000]) is None  # too short to be sure
    assert kind_of(b"export const GRID = 0;\n" * 200) is None


def test_pictures_that_are_not_read_are_called_pictures() -> None:
    assert why_not(b"\0\0\1\0", "ico").startswith("a picture of a kind that is not read")
