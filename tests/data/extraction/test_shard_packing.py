"""Crops gathered into shards: resumable at any point, the same bytes every time."""

from __future__ import annotations

import errno
import json
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, ManifestError, MediaError, StorageError
from resgat_pl.data.check.command import check
from resgat_pl.data.crop_store import writer as crop_writer
from resgat_pl.data.crop_store.reader import FOLDER, crop_of, shards_of
from resgat_pl.data.extraction import shard_packing as packing
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.extract_video import FamilyExtractor
from resgat_pl.data.extraction.fragment import fragment_path
from resgat_pl.data.extraction.jobs import Job, requests_of
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.extraction.shard_packing import pack
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.manifest.table import Manifest

from ...helpers.folders import MEGABYTES, SMALL, partly_cut, stamps, tree
from .shard_folders import Killed, again, content, kill_at, names_in, tars


@pytest.fixture
def crops(shard_crops: Path, tmp_path: Path) -> Path:
    """A copy of the shards, to be damaged."""
    return Path(shutil.copytree(shard_crops, tmp_path / "crops"))


@pytest.fixture(scope="module")
def cut(ffpp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder where all videos are cut and none is packed, and what was asked of them."""
    out = tmp_path_factory.mktemp("cut")
    extract(ffpp_root, out, extraction=SMALL, store="shards", part="1/1", jobs=2)
    records = {record.key: record for record in detect_layout(ffpp_root).index(ffpp_root).records}
    return out, requests_of(records, SMALL.spec)


def test_a_shard_is_closed_at_its_size(shard_crops: Path) -> None:
    sizes = [path.stat().st_size for path in tars(shard_crops)]
    assert all(MEGABYTES * 1e6 <= size < 1.5 * MEGABYTES * 1e6 for size in sizes[:-1])


def test_a_second_run_touches_nothing(ffpp_root: Path, crops: Path) -> None:
    before = {**stamps(crops / FOLDER), **stamps(crops / "fragments")}
    again(ffpp_root, crops, store=None)  # the folder says how it is stored
    assert {**stamps(crops / FOLDER), **stamps(crops / "fragments")} == before
    assert is_current(ffpp_root, crops, None, SMALL)


@pytest.mark.long
def test_killed_anywhere_while_packing_the_bytes_are_the_same(
    cut: tuple[Path, dict[str, str]], shard_crops: Path, tmp_path: Path
) -> None:
    out, requests = cut
    expected = tree(shard_crops / FOLDER)
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
        assert tree(folder / FOLDER) == expected, step
        assert not list((folder / "fragments").glob("*.tar")), step
        shutil.rmtree(folder)
    assert done > 11
    assert tree(tmp_path / str(step) / FOLDER) == expected  # the one that was not killed


@pytest.mark.long
def test_killed_while_cutting_the_bytes_are_the_same(
    cut: tuple[Path, dict[str, str]], ffpp_root: Path, shard_crops: Path, tmp_path: Path
) -> None:
    out = partly_cut(cut[0], tmp_path / "out")
    for step in (0, 5, 12):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step, (crop_writer, "write_atomic"), (Path, "unlink"))
            with pytest.raises(Killed):
                again(ffpp_root, out)
    assert 30 < len(list((out / "fragments").glob("*.tar"))) < 42
    again(ffpp_root, out)
    assert tree(out) == tree(shard_crops)


@pytest.mark.long
def test_batch_jobs_and_a_merge_give_the_bytes_of_one_run(ffpp_root: Path, shard_crops: Path, tmp_path: Path) -> None:
    for number in (2, 1):
        extract(ffpp_root, tmp_path, extraction=SMALL, store="shards", part=f"{number}/2")
        assert not tars(tmp_path)  # packing is the merge's
    again(ffpp_root, tmp_path, merge=True, store=None)
    assert tree(tmp_path) == tree(shard_crops)


def test_a_merge_with_other_settings_removes_nothing(ffpp_root: Path, crops: Path) -> None:
    for replace in (False, True):
        with pytest.raises(ConfigError, match="size 64 there and 48 here"):
            extract(ffpp_root, crops, extraction=Extraction(frames=3, size=48), merge=True, replace=replace)
    next((crops / "fragments").glob("*.parquet")).unlink()
    before = tree(crops)
    with pytest.raises(ManifestError, match="not cut yet, or with other settings"):
        extract(ffpp_root, crops, extraction=SMALL, merge=True)
    assert tree(crops) == before


def test_a_batch_job_leaves_what_others_may_use(ffpp_root: Path, crops: Path) -> None:
    damaged = tars(crops)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = tree(crops)
    for number in (1, 2):
        extract(ffpp_root, crops, extraction=SMALL, part=f"{number}/2")
    assert {name: value for name, value in tree(crops).items() if name in before} == before
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
    original = FamilyExtractor.cut

    def cut(self: FamilyExtractor, job: Job, reference: Path | None) -> int:
        made.append(job.record.key)
        return original(self, job, reference)

    monkeypatch.setattr(FamilyExtractor, "cut", cut)
    again(ffpp_root, crops)
    videos = manifest.videos()
    assert sorted(made) == sorted(videos[code].key for code in np.unique(manifest.video_codes[shards.shard == 3]))
    assert tree(crops) == tree(shard_crops)


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


def test_more_videos_leave_the_old_shards_alone(
    cut: tuple[Path, dict[str, str]], ffpp_root: Path, shard_crops: Path, tmp_path: Path
) -> None:
    few = Path(shutil.copytree(ffpp_root, tmp_path / "root"))
    held_back = few / "manipulated_sequences" / "Deepfakes"
    held_back.rename(tmp_path / "Deepfakes")
    out = Path(shutil.copytree(cut[0], tmp_path / "out"))
    for key in cut[1]:
        if "/Deepfakes/" in key:
            crop_writer.loose_path(out, key).unlink()
            fragment_path(out, key).unlink()
    again(few, out)
    before = tree(out / FOLDER)
    (tmp_path / "Deepfakes").rename(held_back)
    manifest = again(few, out)
    after = tree(out / FOLDER)
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
    monkeypatch.setattr(FamilyExtractor, "cut", lambda *_: pytest.fail("cut again"))
    again(ffpp_root, out)
    assert tree(out) == tree(shard_crops)


def test_shards_do_not_become_files(ffpp_root: Path, crops: Path) -> None:
    before = tree(crops)
    with pytest.raises(ConfigError, match=r"holds shards.*another folder"):
        again(ffpp_root, crops, store="files")
    assert tree(crops) == before


def test_a_full_disk_keeps_what_is_done(
    cut: tuple[Path, dict[str, str]], shard_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(cut[0], tmp_path / "out"))
    original, written = packing.write_atomic, count()

    def full(path: Path, data: bytes) -> None:
        if next(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, data)

    monkeypatch.setattr(packing, "write_atomic", full)
    with pytest.raises(StorageError, match=r"crops-000002.tar: no space for a shard of 0\.\d MB .*stay"):
        pack(out, cut[1], MEGABYTES)
    assert [path.name for path in tars(out)] == ["crops-000000.tar", "crops-000001.tar"]
    pack(out, cut[1], MEGABYTES)
    assert tree(out / FOLDER) == tree(shard_crops / FOLDER)


def test_help_explains_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["extract", "--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("--store", "WebDataset", "--shard_megabytes"))
