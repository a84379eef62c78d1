"""The same crops in tar shards: written resumably, read one by one, and told when damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resgat_pl.core.errors import ConfigError, ManifestError, MediaError, StorageError
from resgat_pl.data.check.command import check
from resgat_pl.data.crop_store import writer as crop_writer
from resgat_pl.data.crop_store.reader import FOLDER, INDEX_NAME, Member, crop_of, mask_of, shards_of
from resgat_pl.data.crop_store.writer import append_member, close_tar, read_tar
from resgat_pl.data.extraction import command as extraction_module, shard_packing as packing
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.crop_video import Extraction
from resgat_pl.data.extraction.shard_packing import pack
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest

SMALL = Extraction(frames=3, size=64)
MEGABYTES = 0.12
LEAVES_FILES_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
"""webdataset lets the garbage collector close its files."""


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def again(root: Path, out: Path, **options: Any) -> Manifest:
    extract(root, out, extraction=SMALL, **{"store": "shards", "shard_megabytes": MEGABYTES, **options})
    return Manifest.read(out)


def tars(out: Path) -> list[Path]:
    return sorted((out / FOLDER).glob("*.tar"))


def names_in(out: Path) -> list[str]:
    names = []
    for path in tars(out):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    return names


def content(manifest: Manifest) -> list[tuple[bytes, bytes | None]]:
    masks = [mask_of(manifest, row) for row in range(len(manifest))]
    crops = [crop_of(manifest, row).read_bytes() for row in range(len(manifest))]
    return [(crop, None if mask is None else mask.read_bytes()) for crop, mask in zip(crops, masks, strict=True)]


class Killed(BaseException):
    """Stands for a kill: nothing catches it on purpose."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int, *places: tuple[Any, str]) -> None:
    """Let the process die just before its ``step``-th change of the disk."""
    steps = count()

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if next(steps) == step:
                raise Killed
            return original(*arguments, **options)

        return run

    for owner, name in places:
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


@pytest.fixture
def crops(shard_crops: Path, tmp_path: Path) -> Path:
    """A copy of the shards, to be damaged."""
    return Path(shutil.copytree(shard_crops, tmp_path / "crops"))


@pytest.fixture(scope="module")
def cut(ffpp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder where all videos are cut and none is packed, and what was asked of them."""
    out = tmp_path_factory.mktemp("cut")
    asked: list[dict[str, str]] = []

    def stop(out: Path, requests: dict[str, str], megabytes: float) -> None:
        asked.append(requests)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction_module, "pack", stop)
        with pytest.raises(Killed):
            again(ffpp_root, out)
    return out, asked[0]


def test_the_store_changes_neither_crops_nor_rows(ffpp_crops: Path, shard_crops: Path) -> None:
    files, shards = Manifest.read(ffpp_crops), Manifest.read(shard_crops)
    assert shards.fingerprint() == files.fingerprint()
    assert shards.split_fingerprint() == files.split_fingerprint()
    assert content(shards) == content(files)
    assert any(mask is not None for _, mask in content(shards))
    assert not (shard_crops / "crops").exists()
    assert not list((shard_crops / "fragments").glob("*.tar"))
    assert len(tars(shard_crops)) >= 8
    # a shard mixes classes and methods
    labels, methods, shard = shards.column("label"), shards.column("method"), shards_of(shards)
    assert shard is not None
    mixed = [len({*labels[shard.shard == number]}) == 2 for number in range(8)]
    assert sum(mixed) >= 5  # of four videos each; sorted by name there would be one or two
    assert np.mean([len({*methods[shard.shard == number]}) for number in range(8)]) > 1.7


def test_a_shard_is_closed_at_its_size(shard_crops: Path) -> None:
    sizes = [path.stat().st_size for path in tars(shard_crops)]
    assert all(MEGABYTES * 1e6 <= size < 1.5 * MEGABYTES * 1e6 for size in sizes[:-1])


def test_samples_are_the_same_from_both_stores(ffpp_crops: Path, shard_crops: Path) -> None:
    rows = np.arange(0, 126, 5)
    files, shards = (FaceCrops(Manifest.read(path), rows, 48, masks=True) for path in (ffpp_crops, shard_crops))
    for place in range(len(rows)):
        one, other = files[place], shards[place]
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)  # type: ignore[literal-required]
        (mine, theirs) = (files.mask(place), shards.mask(place))
        assert (mine is None) == (theirs is None)
        assert mine is None or np.array_equal(mine, theirs)


@LEAVES_FILES_OPEN
def test_webdataset_reads_the_shards(shard_crops: Path) -> None:
    import webdataset

    manifest = Manifest.read(shard_crops)
    rows = {row["crop_path"]: (number, row) for number, row in enumerate(manifest.table.to_pylist())}
    seen = set()
    for sample in webdataset.WebDataset([str(path) for path in tars(shard_crops)], shardshuffle=False):
        number, row = rows[sample["__key__"] + ".png"]
        mask = mask_of(manifest, number)
        assert sample["png"] == crop_of(manifest, number).read_bytes()
        assert sample.get("mask.png") == (None if mask is None else mask.read_bytes())
        row.pop("split")
        assert json.loads(sample["json"]) == row
        seen.add(number)
    assert seen == set(range(len(manifest)))


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


def test_a_second_run_touches_nothing(ffpp_root: Path, crops: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in crops.rglob("*") if path.suffix in {".tar", ".parquet"}}
    fragments = {path: stamp for path, stamp in before.items() if path.name != "manifest.parquet"}
    again(ffpp_root, crops, store=None)  # the folder says how it is stored
    assert {path: path.stat().st_mtime_ns for path in fragments} == fragments
    assert is_current(ffpp_root, crops, None, SMALL)


def test_killed_anywhere_while_packing_the_bytes_are_the_same(
    cut: tuple[Path, dict[str, str]], shard_crops: Path, tmp_path: Path
) -> None:
    out, requests = cut
    expected = digest(shard_crops / FOLDER)
    done = 0
    for step in [*range(10), *range(10, 400, 17)]:
        folder = Path(shutil.copytree(out, tmp_path / str(step)))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step, (packing, "write_atomic"), (packing, "write_table"), (Path, "unlink"))
            try:
                pack(folder, requests, MEGABYTES)
            except Killed:
                done += 1
            else:
                break
        free = sum(path.stat().st_size for path in folder.rglob("*.tar")) - sum(
            path.stat().st_size for path in out.rglob("*.tar")
        )
        assert free < 2.5 * MEGABYTES * 1e6  # one shard of disk beyond what the crops take
        pack(folder, requests, MEGABYTES)
        assert digest(folder / FOLDER) == expected, step
        assert not list((folder / "fragments").glob("*.tar")), step
        shutil.rmtree(folder)
    assert done > 11
    assert digest(tmp_path / str(step) / FOLDER) == expected  # the one that was not killed


def test_killed_while_cutting_the_bytes_are_the_same(ffpp_root: Path, shard_crops: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step in (0, 11, 70):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step, (crop_writer, "write_atomic"), (Path, "unlink"))
            with pytest.raises(Killed):
                again(ffpp_root, out)
    assert list((out / "fragments").glob("*.tar"))
    again(ffpp_root, out)
    assert digest(out) == digest(shard_crops)


def test_batch_jobs_and_a_merge_give_the_bytes_of_one_run(ffpp_root: Path, shard_crops: Path, tmp_path: Path) -> None:
    for number in (2, 1):
        extract(ffpp_root, tmp_path, extraction=SMALL, store="shards", shard=f"{number}/2")
        assert not tars(tmp_path)  # packing is the merge's
    again(ffpp_root, tmp_path, merge=True, store=None)
    assert digest(tmp_path) == digest(shard_crops)


def test_a_merge_with_other_settings_removes_nothing(ffpp_root: Path, crops: Path) -> None:
    for replace in (False, True):
        with pytest.raises(ConfigError, match="size 64 there and 48 here"):
            extract(ffpp_root, crops, extraction=Extraction(frames=3, size=48), merge=True, replace=replace)
    next((crops / "fragments").glob("*.parquet")).unlink()
    before = digest(crops)
    with pytest.raises(ManifestError, match="not cut yet, or with other settings"):
        extract(ffpp_root, crops, extraction=SMALL, merge=True)
    assert digest(crops) == before


def test_a_batch_job_leaves_what_others_may_use(ffpp_root: Path, crops: Path) -> None:
    damaged = tars(crops)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = digest(crops)
    for number in (1, 2):
        extract(ffpp_root, crops, extraction=SMALL, shard=f"{number}/2")
    assert {name: value for name, value in digest(crops).items() if name in before} == before
    assert len(list((crops / "fragments").glob("*.tar"))) > 0  # cut again, what was in it
    again(ffpp_root, crops, merge=True, store=None)
    assert shards_of(Manifest.read(crops)).problems() == {}


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_shard_is_named_and_made_again(
    ffpp_root: Path, shard_crops: Path, crops: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tars(crops)[3]
    size = path.stat().st_size
    path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[: size // 2])
    manifest = Manifest.read(crops)
    shards = shards_of(manifest)
    assert shards is not None
    assert list(shards.problems()) == [str(path)]
    found = "is missing" if how == "missing" else f"has {size // 2:,} bytes"
    last = max(np.flatnonzero(shards.shard == 3), key=lambda row: int(shards.offset[row]))
    message = rf"{path.name} .*({found}|cannot be read).*resgat extract ROOT .*only what is missing"
    with pytest.raises(MediaError, match=message):
        crop_of(manifest, int(last)).read_bytes()
    with pytest.raises(MediaError, match="cannot be read"):
        check(crops, duplicates=False, jobs=1)

    made: list[str] = []
    original = extraction_module.extract_video
    monkeypatch.setattr(
        extraction_module,
        "extract_video",
        lambda *a: made.append(a[0].key) or original(*a),  # type: ignore[func-returns-value]
    )
    again(ffpp_root, crops)
    videos = manifest.videos()
    assert sorted(made) == sorted(videos[code].key for code in np.unique(manifest.video_codes[shards.shard == 3]))
    assert digest(crops) == digest(shard_crops)


def listing_of(crops: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table, **notes: Any) -> None:
    """Change the listing of the first shard, and what it says of itself."""
    path = sorted((crops / FOLDER).glob("*.parquet"))[0]
    table = pq.read_table(path)
    info = {**json.loads(table.schema.metadata[b"resgat"]), **notes}
    pq.write_table(change(table).replace_schema_metadata({"resgat": json.dumps(info)}), path)


def with_column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        return table.set_column(place, field, pa.array([value] * len(table), field.type))

    return change


LISTINGS: dict[str, Callable[[Path], Any]] = {
    "cut off": lambda crops: sorted((crops / FOLDER).glob("*.parquet"))[0].write_bytes(b"PAR1xxxx"),
    "empty": lambda crops: sorted((crops / FOLDER).glob("*.parquet"))[0].write_bytes(b""),
    "no notes": lambda crops: pq.write_table(pa.table({"key": ["a"]}), sorted((crops / FOLDER).glob("*.parquet"))[0]),
    "no version": lambda crops: listing_of(crops, version=None),
    "a strange version": lambda crops: listing_of(crops, version="1"),
    "no size": lambda crops: listing_of(crops, size=None),
    "a strange size": lambda crops: listing_of(crops, size=2**70),
    "a size below": lambda crops: listing_of(crops, size=-1),
    "a column too few": lambda crops: listing_of(crops, lambda table: table.drop_columns(["request"])),
    "a column of text": lambda crops: listing_of(
        crops, lambda table: table.set_column(4, "offset", pa.array(["0"] * len(table)))
    ),
    "no key": lambda crops: listing_of(crops, with_column("key", None)),
    "an offset outside": lambda crops: listing_of(crops, with_column("offset", 2**62)),
    "a size outside": lambda crops: listing_of(crops, with_column("size", 2**31 - 1)),
    "a mask outside": lambda crops: listing_of(crops, with_column("mask_offset", 2**63 - 1)),
}


def test_a_damaged_listing_makes_its_shard_unusable(shard_crops: Path, tmp_path: Path) -> None:
    for name, damage in LISTINGS.items():
        crops = Path(shutil.copytree(shard_crops, tmp_path / name))
        damage(crops)
        stored = packing.Stored(crops, None, {})
        assert [packed.shard.path for packed in stored.unusable] == tars(crops)[:1], name
        stored.clear()
        assert len(tars(crops)) == len(tars(shard_crops)) - 1


def test_a_shard_of_a_damaged_listing_is_made_again(ffpp_root: Path, crops: Path, shard_crops: Path) -> None:
    LISTINGS["cut off"](crops)
    again(ffpp_root, crops, store=None)
    assert digest(crops) == digest(shard_crops)


def test_a_listing_that_must_not_be_replaced(crops: Path, tmp_path: Path) -> None:
    listing_of(crops, version=9, resgat_pl="9.1", size="of a new form")
    with pytest.raises(ConfigError, match=r"crops-000000\.parquet has format 9; .*resgat-pl>=9\.1"):
        packing.Stored(crops, None, {})
    listing_of(crops, version=1, size=1)
    tars(crops)[0].rename(tmp_path / "elsewhere.tar")
    (crops / FOLDER / "crops-000000.tar").symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(ManifestError, match=r"crops-000000\.tar leads out of"):  # it may be all that there is
        packing.Stored(crops, None, {})


def test_a_conversion_that_was_not_begun_leaves_files(ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    (out / FOLDER).mkdir()  # as earlier versions left it
    (out / "manifest.parquet").rename(tmp_path / "manifest")
    victim = next((out / "fragments").glob("*.parquet"))
    victim.rename(tmp_path / "victim")
    with pytest.raises(ManifestError, match="not cut yet"):
        extract(ffpp_root, out, extraction=SMALL, store="shards", merge=True)
    (tmp_path / "manifest").rename(out / "manifest.parquet")
    (tmp_path / "victim").rename(victim)
    manifest = Manifest.read(out)
    assert shards_of(manifest) is None
    assert crop_of(manifest, 0) == manifest.crop(0)
    assert packing.Stored(out, "files", {}).store == packing.Stored(out, None, {}).store == "files"


def test_check_finds_no_fault_with_whole_shards(shard_crops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(shard_crops, read="all", duplicates=False, jobs=1)
    assert "0 cannot be read" in capsys.readouterr().out


def test_more_videos_leave_the_old_shards_alone(ffpp_root: Path, shard_crops: Path, tmp_path: Path) -> None:
    few = Path(shutil.copytree(ffpp_root, tmp_path / "root"))
    held_back = few / "manipulated_sequences" / "Deepfakes"
    held_back.rename(tmp_path / "Deepfakes")
    out = tmp_path / "out"
    again(few, out)
    before = digest(out / FOLDER)
    (tmp_path / "Deepfakes").rename(held_back)
    manifest = again(few, out)
    after = digest(out / FOLDER)
    assert before.items() < after.items()
    assert manifest.fingerprint() == Manifest.read(shard_crops).fingerprint()
    assert content(manifest) == content(Manifest.read(shard_crops))


def test_a_changed_video_leaves_no_old_crop_in_a_shard(
    cut: tuple[Path, dict[str, str]], shard_crops: Path, tmp_path: Path
) -> None:
    """Its shard is dissolved; a kill on the way loses nothing."""
    whole = Manifest.read(shard_crops)
    name = str(whole.column("crop_path")[0])
    key = whole.videos()[0].key
    for step in range(0, 40, 6):
        out = Path(shutil.copytree(shard_crops, tmp_path / str(step)))
        old, requests = cut
        tar = crop_writer.loose_path(out, key)
        shutil.copy(old / "fragments" / tar.name, tar)
        fragment = tar.with_suffix(".parquet")
        table = packing.pq.read_table(fragment)
        report = {**json.loads(table.schema.metadata[b"resgat"]), "request": "other"}
        packing.write_table(table, fragment, report)
        asked = {**requests, key: "other"}
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step, (packing, "write_atomic"), (packing, "write_table"), (Path, "unlink"))
            try:
                pack(out, asked, MEGABYTES)
            except Killed:
                pack(out, asked, MEGABYTES)
        members = names_in(out)
        assert members.count(name) == 1
        assert len(members) == len(set(members))
        packing.index_shards(whole_copy := Manifest.read(out))
        assert content(whole_copy) == content(whole)
        shutil.rmtree(out)


def test_other_settings_replace_all_shards(ffpp_root: Path, crops: Path) -> None:
    before = {path.name for path in tars(crops)}
    extract(ffpp_root, crops, extraction=Extraction(frames=1, size=64), shard_megabytes=MEGABYTES, replace=True)
    manifest = Manifest.read(crops)
    members = names_in(crops)
    assert {name for name in members if ".mask." not in name and name.endswith("png")} == {
        *manifest.column("crop_path")
    }
    assert len(before) > len(tars(crops)) >= 1


def test_files_become_shards_without_cutting(
    ffpp_root: Path, ffpp_crops: Path, shard_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    monkeypatch.setattr(extraction_module, "extract_video", lambda *_: pytest.fail("cut again"))
    again(ffpp_root, out)
    assert digest(out) == digest(shard_crops)


def test_shards_do_not_become_files(ffpp_root: Path, crops: Path) -> None:
    before = digest(crops)
    with pytest.raises(ConfigError, match=r"holds shards.*another folder"):
        again(ffpp_root, crops, store="files")
    assert digest(crops) == before


def test_a_full_disk_keeps_what_is_done(
    cut: tuple[Path, dict[str, str]], shard_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(cut[0], tmp_path / "out"))
    original, written = packing.write_atomic, count()

    def full(path: Path, data: bytes, durable: bool = False) -> None:
        if next(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, data, durable)

    monkeypatch.setattr(packing, "write_atomic", full)
    with pytest.raises(StorageError, match=r"crops-000002.tar: no room for a shard of 0\.\d MB .*kept"):
        pack(out, cut[1], MEGABYTES)
    assert [path.name for path in tars(out)] == ["crops-000000.tar", "crops-000001.tar"]
    pack(out, cut[1], MEGABYTES)
    assert digest(out / FOLDER) == digest(shard_crops / FOLDER)


def test_a_part_of_the_manifest_finds_its_crops(crops: Path) -> None:
    whole = Manifest.read(crops)
    expected = content(whole)
    rows = np.array([77, 3, 50, 51])
    Manifest(crops, whole.table.take(pa.array(rows)), whole.info).write()
    assert content(Manifest.read(crops)) == [expected[row] for row in rows]


def rewrite(crops: Path, **changes: Any) -> None:
    """Change what an index says of itself."""
    with pa.memory_map(str(crops / INDEX_NAME)) as source:
        table = pa.ipc.open_file(source).read_all()
    info = {**json.loads(table.schema.metadata[b"resgat"]), **changes}
    table = pa.table({name: table[name].to_pylist() for name in table.column_names}, table.schema)
    table = table.replace_schema_metadata({"resgat": json.dumps(info)})
    with pa.OSFile(str(crops / INDEX_NAME), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda crops: rewrite(crops, version=9), r"has format 9; .*pip install"),
        (lambda crops: (crops / INDEX_NAME).unlink(), r"shards\.arrow is missing.*Extract again"),
        (lambda crops: (crops / INDEX_NAME).write_bytes(b"nothing"), r"not a readable index.*Extract again"),
    ],
)
def test_an_index_that_cannot_be_used(crops: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(crops)
    with pytest.raises(ManifestError, match=message):
        crop_of(Manifest.read(crops), 0)


def test_an_index_that_lacks_a_crop(crops: Path) -> None:
    manifest = Manifest.read(crops)
    row = pa.table(manifest.table.slice(0, 1)).set_column(
        manifest.table.column_names.index("crop_path"), "crop_path", pa.array(["crops/new.png"])
    )
    Manifest(crops, pa.concat_tables([manifest.table, row.cast(manifest.table.schema)]), manifest.info).write()
    with pytest.raises(ManifestError, match=r"does not know 1 of 127 crops.*crops/new\.png"):
        crop_of(Manifest.read(crops), 0)


def test_a_member_travels_to_another_process(crops: Path) -> None:
    member = crop_of(Manifest.read(crops), 5)
    assert isinstance(member, Member)
    import pickle

    assert pickle.loads(pickle.dumps(member)).read_bytes() == member.read_bytes()  # noqa: S301
    assert str(member).startswith(str(crops / FOLDER))


def test_a_size_that_cannot_be(ffpp_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shard_megabytes is 0"):
        again(ffpp_root, tmp_path / "out", shard_megabytes=0)


def test_help_teaches_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resgat_pl", "extract", "--help"], capture_output=True, text=True, check=True
    )
    text = " ".join(done.stdout.split())
    assert "--store" in text
    assert "WebDataset" in text
    assert "--shard_megabytes" in text
