from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, DatasetNotFoundError, ManifestError, MediaError
from resgat_pl.core.storage import (
    absolute,
    is_remote,
    listing,
    locate,
    make_folder,
    read_bytes,
    read_many,
    remove_tree,
    write_atomic,
)
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.media.images import read_image

SMALL = Extraction(frames=3, size=64)


@pytest.fixture
def bucket() -> Iterator[str]:
    """An empty bucket in this process's memory."""
    name = f"memory://{uuid.uuid4().hex}"
    yield name
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def upload(folder: Path, url: str) -> None:
    fs = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def contents(url: str) -> dict[str, bytes]:
    fs, root = fsspec.core.url_to_fs(url)
    return {name.removeprefix(f"{root}/"): fs.cat_file(name) for name in fs.find(root)}


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_local_name_or_file_url_is_a_plain_path(tmp_path: Path) -> None:
    assert locate("a/b") == Path("a/b")
    assert type(locate("a/b")) is type(Path())
    assert locate(tmp_path) is tmp_path
    assert not is_remote(tmp_path)
    assert absolute(Path("~/x")) == Path.home() / "x"
    assert locate(f"file://{tmp_path}") == tmp_path
    assert not is_remote(locate(f"file://{tmp_path}"))


def test_a_url_keeps_its_slashes_and_is_no_local_path() -> None:
    place = locate("memory://bucket/a")
    assert is_remote(place)
    assert str(place / "b c.png") == "memory://bucket/a/b c.png"
    assert str(absolute(place)) == "memory://bucket/a"
    with pytest.raises(TypeError):
        open(place)  # noqa: SIM115, PTH123 - what reads local files only must fail, not make a folder "memory:"


def test_local_work_imports_nothing_for_urls() -> None:
    code = (
        "import sys; from resgat_pl.data.extraction.command import extract; from resgat_pl.core.storage import locate;"
        "locate('a'); sys.exit(bool({'upath', 'fsspec', 'joblib', 'distributed', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Path:
    return tmp_path / "here" if request.param == "disk" else locate(f"{bucket}/here")


def test_files_and_folders_are_alike_everywhere(place: Path) -> None:
    make_folder(place / "inner")
    for name in ("b", "inner/c", "inner/.hidden"):
        write_atomic(place / name, name.encode())
    write_atomic(place / "b", b"second")
    assert read_bytes(place / "b") == b"second"
    assert listing(place) == (["inner"], ["b"])
    assert sorted(listing(place / "inner").files) == [".hidden", "c"]
    found = list(read_many([place / "b", place / "absent", place / "inner" / "c"]))
    assert found[0] == b"second"
    assert isinstance(found[1], FileNotFoundError)
    assert found[2] == b"inner/c"
    remove_tree(place / "inner")
    remove_tree(place / "inner")
    assert not (place / "inner" / "c").exists()
    with pytest.raises(FileNotFoundError):
        listing(place / "inner")
    with pytest.raises(FileNotFoundError):
        read_bytes(place / "absent")


def test_many_files_come_in_order(bucket: str) -> None:
    paths = [locate(f"{bucket}/{number}") for number in (*range(300, 0, -1), 7)]
    for path in paths:
        write_atomic(path, path.name.encode())
    assert list(read_many(paths)) == [path.name.encode() for path in paths]


def test_from_bucket_to_bucket_gives_the_bytes_of_a_folder(ffpp_root: Path, ffpp_crops: Path, bucket: str) -> None:
    upload(ffpp_root, f"{bucket}/set")
    command = ["extract", f"{bucket}/set", f"{bucket}/crops", "--extraction.frames", "3", "--extraction.size", "64"]
    assert main(command) == 0
    assert contents(f"{bucket}/crops") == files(ffpp_crops)
    assert is_current(f"{bucket}/set", f"{bucket}/crops", None, SMALL)
    there, here = Manifest.read(f"{bucket}/crops"), Manifest.read(ffpp_crops)
    assert there.fingerprint() == here.fingerprint()
    rows = np.arange(len(here))
    mine = FaceCrops(here, rows, 64, masks=True)[100]
    theirs = FaceCrops(there, rows, 64, masks=True)[100]
    assert (mine["image"] == theirs["image"]).all()
    assert (mine["mask"] == theirs["mask"]).all()


@pytest.mark.long
def test_what_was_cut_is_not_cut_again_and_other_settings_replace_it(
    ffpp_root: Path, tmp_path: Path, bucket: str
) -> None:
    fs = fsspec.filesystem("memory")
    extract(ffpp_root, f"{bucket}/crops", extraction=SMALL)
    first = {name: fs.info(name)["created"] for name in fs.find(bucket) if name.endswith(".png")}
    extract(ffpp_root, f"{bucket}/crops", extraction=SMALL)
    assert {name: fs.info(name)["created"] for name in first} == first
    other = Extraction(frames=2, size=48)
    with pytest.raises(ConfigError, match="cut with other settings"):
        extract(ffpp_root, f"{bucket}/crops", extraction=other)
    extract(ffpp_root, f"{bucket}/crops", extraction=other, replace=True)
    extract(ffpp_root, tmp_path, extraction=other)
    assert contents(f"{bucket}/crops") == files(tmp_path)


@pytest.mark.long
def test_batch_jobs_leave_the_shards_of_a_folder_in_a_bucket(ffpp_root: Path, shard_crops: Path, bucket: str) -> None:
    options = {"extraction": SMALL, "shard_megabytes": 0.12}
    for number in (1, 2):
        extract(ffpp_root, f"{bucket}/crops", extraction=SMALL, store="shards", part=f"{number}/2")
    extract(ffpp_root, f"{bucket}/crops", **options, merge=True)  # sees that it is shards
    assert contents(f"{bucket}/crops") == files(shard_crops)
    there, here = Manifest.read(f"{bucket}/crops"), Manifest.read(shard_crops)
    rows = np.arange(len(here))
    assert (FaceCrops(there, rows, 64)[100]["image"] == FaceCrops(here, rows, 64)[100]["image"]).all()
    name = next(name for name in contents(f"{bucket}/crops") if name.endswith(".tar"))
    fsspec.filesystem("memory").pipe_file(f"{bucket}/crops/{name}", b"cut off")
    extract(ffpp_root, f"{bucket}/crops", **options, store="shards")
    assert contents(f"{bucket}/crops") == files(shard_crops)


def test_brackets_in_a_name_are_no_pattern(bucket: str) -> None:
    for name in ("v[1]", "v1"):
        write_atomic(locate(f"{bucket}/{name}/a.png"), b"x")
    remove_tree(locate(f"{bucket}/v[1]"))
    assert list(contents(bucket)) == ["v1/a.png"]


def test_the_data_module_reads_a_bucket(ffpp_crops: Path, bucket: str) -> None:
    from resgat_pl.data.datamodule import FaceDataModule

    upload(ffpp_crops, f"{bucket}/crops")
    data = FaceDataModule(crops=f"{bucket}/crops", image_size=32, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    assert next(iter(data.val_dataloader()))["image"].shape == (8, 3, 32, 32)


def test_bad_videos_in_a_bucket_are_named(bucket: str) -> None:
    write_atomic(locate(f"{bucket}/a.mp4"), b"")
    write_atomic(locate(f"{bucket}/b.mp4"), b"text")
    with pytest.raises(MediaError, match=r"memory://.*a\.mp4: is empty"):
        FrameReader([locate(f"{bucket}/a.mp4")], "video")
    with pytest.raises(MediaError, match="not a video"):
        FrameReader([locate(f"{bucket}/b.mp4")], "video")
    with pytest.raises(MediaError, match=r"absent\.mp4"):
        FrameReader([locate(f"{bucket}/absent.mp4")], "video")
    with pytest.raises(MediaError, match=r"absent\.png"):
        read_image(locate(f"{bucket}/absent.png"))


def test_mistakes_with_urls(bucket: str, ffpp_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Name a local folder, or a URL"):
        locate("nonsense://bucket/a")
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        extract(f"{bucket}/absent", f"{bucket}/out")
    with pytest.raises(ManifestError, match=r"resgat extract ROOT memory://"):
        Manifest.read(f"{bucket}/absent")
    with pytest.raises(ConfigError, match="Name another folder"):
        upload(ffpp_root, f"{bucket}/set")
        extract(f"{bucket}/set", f"{bucket}/set")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match="pip install s3fs"):
        locate("s3://bucket/a")


def test_a_bucket_that_does_not_answer(
    bucket: str, ffpp_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class EndpointConnectionError(Exception):
        """As stores have them: no OSError."""

    def silent(*_: object, **__: object) -> None:
        raise EndpointConnectionError("could not connect to the endpoint")

    monkeypatch.setattr(fsspec.filesystem("memory"), "ls", silent)
    for command in ([f"{bucket}/set", "crops"], [str(ffpp_root), f"{bucket}/crops"]):
        assert main(["extract", *command]) == 2
        message = capsys.readouterr().err
        assert f"{bucket}/" in message
        assert "could not connect" in message


@pytest.mark.long
def test_several_processes_work_behind_a_url(ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    # A kind of URL of which every process knows, as those of stores are known: by the entry points of a package.
    plugin = tmp_path / "plugin"
    (plugin / "disk-1.dist-info").mkdir(parents=True)
    (plugin / "disk-1.dist-info" / "METADATA").write_text("Name: disk\nVersion: 1\n")
    (plugin / "disk-1.dist-info" / "entry_points.txt").write_text(
        "[fsspec.specs]\ndisk = disk:Disk\n[universal_pathlib.implementations]\ndisk = disk:DiskPath\n"
    )
    (plugin / "disk.py").write_text(
        "from fsspec.implementations.local import LocalFileSystem\nfrom upath import UPath\n\n"
        "class Disk(LocalFileSystem):\n    protocol = 'disk'\n\nclass DiskPath(UPath):\n    pass\n"
    )
    out = tmp_path / "crops"
    command = ["extract", f"disk://{ffpp_root}", f"disk://{out}", "--extraction.frames=3", "--extraction.size=64"]
    path = os.pathsep.join([str(plugin), str(Path(__file__).parents[2])])
    subprocess.run(
        [sys.executable, "-m", "resgat_pl", *command, "--jobs", "2"],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
    )
    assert files(out) == files(ffpp_crops)
    assert {name.name for name in tmp_path.iterdir()} == {"plugin", "crops"}  # no folder called "disk:"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_new_files_have_the_permissions_that_the_user_wants(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "face.png", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "face.png").stat().st_mode & 0o777 == 0o666 & ~mask
