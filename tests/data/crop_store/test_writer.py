"""Tars that others can read, and crops that two workers write at once."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from resgat_pl.data.crop_store.writer import CropWriter, append_member, close_tar, read_tar

LEAVES_FILES_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

"""webdataset lets the garbage collector close its files."""


@LEAVES_FILES_OPEN
@pytest.mark.parametrize("folder", ["v.1.2", "x" * 90, "y" * 300])
def test_names_that_tar_or_webdataset_could_trip_over(folder: str, tmp_path: Path) -> None:
    import webdataset

    tar = bytearray()
    names = [f"crops/{folder}/0_000001.png", f"crops/{folder}/0_000001.json"]
    places = [append_member(tar, name, name.encode() * 9) for name in names]
    path = tmp_path / "a.tar"
    path.write_bytes(close_tar(tar))
    assert [path.read_bytes()[offset : offset + size] for offset, size in places] == [n.encode() * 9 for n in names]
    assert read_tar(path, names) == {name: name.encode() * 9 for name in names}
    with tarfile.open(path) as opened:
        assert [(m.offset_data, m.size, m.mtime, m.uid, m.uname) for m in opened] == [(*p, 0, 0, "") for p in places]
    (sample,) = webdataset.WebDataset([str(path)], shardshuffle=False)
    assert sample["__key__"] == f"crops/{folder}/0_000001"
    assert set(sample) >= {"png", "json"}


def test_a_video_that_two_cut_at_once_is_whole(tmp_path: Path) -> None:
    """As a worker does that its cluster had given up."""
    key, folder = "ffpp/original/c23/000", "crops/ffpp/original/c23/000"
    names = [f"{folder}/0_{number:06d}.png" for number in range(6)]
    (tmp_path / "fragments").mkdir()
    one = CropWriter(tmp_path, key, folder, "files")
    for name in names[:4]:
        one.add(name, b"crop")
    other = CropWriter(tmp_path, key, folder, "files")
    for name in names[4:]:
        one.add(name, b"crop")
    one.finish()
    for number in range(2):
        assert [path.name for path in sorted((tmp_path / folder).iterdir())] == [Path(name).name for name in names]
        if not number:
            for name in names:
                other.add(name, b"crop")
            other.finish()
    assert not list((tmp_path / "fragments").iterdir())


def test_files_that_exist_are_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied where a disk has no hard links."""
    (tmp_path / "fragments").mkdir()
    (tmp_path / "there.png").write_bytes(b"pixels")

    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    for key, is_linked in (("a", True), ("b", False)):
        if not is_linked:
            monkeypatch.setattr(Path, "hardlink_to", refuse)
        writer = CropWriter(tmp_path, key, f"crops/{key}", "files")
        writer.link(f"crops/{key}/0.png", tmp_path / "there.png")
        assert not (tmp_path / "crops" / key).exists()  # nothing has its name before all of it is there
        writer.finish()
        path = tmp_path / "crops" / key / "0.png"
        assert path.read_bytes() == b"pixels"
        assert path.samefile(tmp_path / "there.png") == is_linked
    tar = CropWriter(tmp_path, "c", "crops/c", "shards")
    tar.link("crops/c/0.png", tmp_path / "there.png")
    tar.finish()
    assert read_tar(tar.loose, ["crops/c/0.png"]) == {"crops/c/0.png": b"pixels"}
