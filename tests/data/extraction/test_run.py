"""Parts and a merge, and a disk that is full on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.storage import sync_folder, write_atomic
from resgat_pl.data.crop_store import writer as crop_writer
from resgat_pl.data.extraction import run
from resgat_pl.data.extraction.command import extract

from ...helpers.folders import OPTIONS, SMALL, partly_cut, stamps, tree


def test_parts_and_a_merge_give_the_bytes_of_one_run(
    ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = partly_cut(ffpp_crops, tmp_path / "crops")
    command = ["extract", str(ffpp_root), str(out), *OPTIONS]
    for number, jobs in ((3, "1"), (1, "2")):
        assert main([*command, "--part", f"{number}/3", "--jobs", jobs]) == 0
        text = capsys.readouterr().out
        assert f"part {number}/3 is done" in text
        assert f"resgat extract {ffpp_root} {out}" in text
        assert text.rstrip().endswith("--merge")
        assert not (out / "manifest.parquet").exists()
        assert not (out / "summary.json").exists()
    before = tree(out)
    assert main([*command, "--merge"]) == 2
    message = capsys.readouterr().err
    missing = 42 - sum(name.startswith("fragments/") for name in before)
    assert f"{missing} videos (ffpp/" in message
    assert "of 42 not cut yet" in message
    assert tree(out) == before  # a merge cuts nothing
    (out / "fragments" / ".half.tmp").write_bytes(b"of a part that still runs")
    assert main([*command, "--part", "2/3"]) == 0
    assert (out / "fragments" / ".half.tmp").exists()
    assert main([*command, "--merge"]) == 0
    assert tree(out) == tree(ffpp_crops)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "0/4"], "NUMBER/TOTAL"),
        (["--part", "5/4"], "NUMBER/TOTAL"),
        (["--part", "x"], "SLURM_ARRAY_TASK_ID"),
        (["--part", "1/0"], "NUMBER/TOTAL"),
        (["--part", "1/4", "--merge"], "when all parts are done"),
        (["--shard_megabytes", "0"], "shard_megabytes is 0"),
        (["--video_timeout", "0"], "--video_timeout is 0 seconds"),
    ],
)
def test_options_that_cannot_be(
    options: list[str], message: str, ffpp_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", str(ffpp_root), str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_merge_does_not_wait_for_videos_that_cannot_be_read(
    ffpp_root: Path, ffpp_crops: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(ffpp_root, tmp_path / "root"))
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "out"))
    next((root / "original_sequences").rglob("*.mp4")).write_bytes(b"")
    for number in (1, 2):
        assert extract(root, out, extraction=SMALL, part=f"{number}/2").manifest is None
    assert len(extract(root, out, extraction=SMALL, merge=True).skipped) == 1


def test_a_full_disk_is_reported_once_and_the_same_command_continues(
    ffpp_root: Path,
    ffpp_crops: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = 6
    out = partly_cut(ffpp_crops, tmp_path / "crops")
    done = stamps(out / "fragments")

    def sync(folder: Path, files: bool = False) -> None:
        nonlocal free
        free -= files
        if free < 0:
            raise OSError(28, "No space left on device", str(folder))
        sync_folder(folder, files)

    command = ["extract", str(ffpp_root), str(out), *OPTIONS]
    with monkeypatch.context() as patch:
        patch.setattr(crop_writer, "sync_folder", sync)
        assert main(command) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("resgat: error: ")
    assert str(out) in message
    assert "No space left on device" in message
    assert "of 42 videos are done and stored" in message
    assert "the same command continues" in message
    before = stamps(out / "fragments", "*.parquet")
    assert done.items() < before.items()
    assert main(command) == 0
    assert before.items() <= stamps(out / "fragments").items()
    assert tree(out) == tree(ffpp_crops)


@pytest.mark.parametrize("name", ["manifest.parquet", "summary.json"])
def test_a_disk_that_is_full_at_the_end(
    name: str, ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resgat_pl.core import storage as locations

    shutil.copytree(ffpp_crops, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()

    def write(path: Path, data: bytes, durable: bool = False) -> None:
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        write_atomic(path, data, durable)

    for module in (run, locations):
        monkeypatch.setattr(module, "write_atomic", write)
    assert main(["extract", str(ffpp_root), str(tmp_path), *OPTIONS]) == 2
