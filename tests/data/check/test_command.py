from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, LeakageError, MediaError
from resgat_pl.data.check.command import check
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.data.manifest.table import Manifest, merge
from resgat_pl.data.splits.protocols import OfficialSplit

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``resgat check`` and return what it printed: the report, and the error without progress bars.

    Pictures are compared only where a test asks for it, since that takes most of the time.
    """

    def run(*arguments: object, expect: int = 0, duplicates: bool = False) -> tuple[str, str]:
        capsys.readouterr()
        compared = ("--duplicates", str(duplicates).lower())
        status = main(["check", *map(str, arguments), *compared, "--jobs", "1"])
        printed = capsys.readouterr()
        assert status == expect, printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.out, "\n".join(line for line in printed.err.splitlines() if line.startswith("resgat:"))

    return run


@pytest.fixture
def crops(ffpp_crops: Path, tmp_path: Path) -> Path:
    """A copy of the crops, to be damaged."""
    return Path(shutil.copytree(ffpp_crops, tmp_path / "crops", ignore=shutil.ignore_patterns("fragments")))


@pytest.fixture
def root(ffpp_root: Path, tmp_path: Path) -> Path:
    """A copy of the videos, to be damaged."""
    return Path(shutil.copytree(ffpp_root, tmp_path / "root", ignore=shutil.ignore_patterns("masks")))


def divide_again(crops: Path, change: Callable[[Manifest, Any], None]) -> Manifest:
    """Change the splits in a manifest's file, whose protocol stays noted as it was."""
    manifest = Manifest.read(crops)
    splits = manifest.column("split").copy()
    change(manifest, splits)
    manifest.with_splits(splits, manifest.info["protocol"]).write()
    return Manifest.read(crops)


def middle_row(manifest: Manifest, video: int) -> int:
    """The row of a video that is decoded in any case."""
    rows = np.flatnonzero(manifest.video_codes == video)
    return int(rows[len(rows) // 2])


def report(path: Path) -> Any:
    return json.loads(path.read_text())


def test_clean_crops(run: Run, ffpp_crops: Path, tmp_path: Path) -> None:
    printed, error = run(ffpp_crops, "--json", tmp_path / "new" / "check.json")
    assert error == ""
    assert "split protocol strict" in printed
    assert "no leak between the splits" in printed
    manifest = Manifest.read(ffpp_crops)
    assert f"{len(manifest)} files looked at, 0 cannot be read" in printed
    found = report(tmp_path / "new" / "check.json")
    assert found.keys() == {
        "target", "protocol", "declared", "counts", "balance", "faces_of_fakes", "files", "unreadable", "leaks",
        "problems", "prescribed_leaks", "unassigned", "people_unknown", "pictures_compared",
    }  # fmt: skip
    assert (found["prescribed_leaks"], found["unassigned"], found["people_unknown"]) == ([], "", {})
    assert (found["target"], found["protocol"], found["declared"]) == (str(ffpp_crops), "strict", [])
    assert (found["files"], found["unreadable"], found["leaks"], found["problems"]) == (126, {}, [], [])
    assert sum(sum(count.values()) for count in found["balance"].values()) == 126
    assert found["balance"]["test"] == {"real": 6, "fake": 12}
    assert "| test | 6 | 12 | 67% |" in printed
    assert run(ffpp_crops / "manifest.parquet")[0].splitlines()[1:] == printed.splitlines()[1:]


def test_counts_stand_beside_the_published_ones(run: Run, ffpp_crops: Path, ffpp_root: Path, tmp_path: Path) -> None:
    for target in (ffpp_crops, ffpp_root):
        printed, _ = run(target, "--json", tmp_path / "check.json")
        assert "| Deepfakes | c23 | 6 | 1,000  ← differs |" in printed
        assert "| DeepFakeDetection | c23 | 4 | 3,068  ← differs |" in printed
        counts = {row["method"]: row for row in report(tmp_path / "check.json")["counts"]}
        assert counts["original (youtube)"] == {
            "method": "original (youtube)", "compression": "c23", "found": 12, "published": 1000
        }  # fmt: skip
        assert sum(row["found"] for row in counts.values()) == 42


def test_clean_videos(run: Run, ffpp_root: Path, tmp_path: Path) -> None:
    printed, error = run(ffpp_root, "--json", tmp_path / "check.json")
    found = report(tmp_path / "check.json")
    assert error == ""
    assert (found["files"], found["unreadable"], found["leaks"]) == (42, {}, [])
    assert found["balance"] == {
        "train": {"real": 10, "fake": 20}, "val": {"real": 2, "fake": 4}, "test": {"real": 2, "fake": 4}
    }  # fmt: skip
    assert "42 files looked at, 0 cannot be read" in printed


def test_a_leak_is_named_and_has_its_own_status(run: Run, crops: Path, tmp_path: Path) -> None:
    def leak(manifest: Manifest, splits: Any) -> None:
        rows = np.flatnonzero((manifest.column("video") == "001") & (splits == "train"))
        splits[rows[0]] = "test"

    divide_again(crops, leak)
    printed, error = run(crops, "--json", tmp_path / "check.json", expect=1, duplicates=True)
    assert "video: train and test share 1 (ffpp/original/c23/001)" in printed
    assert "identity: train and test share 1 (ffpp/001)" in printed
    assert "the splits leak (video, original, identity, duplicate)" in error, "its crops look alike, too"
    assert "StrictSplit" in error
    leaks = {leak["kind"]: leak for leak in report(tmp_path / "check.json")["leaks"]}
    assert leaks["video"] == {
        "kind": "video", "splits": ["train", "test"], "names": ["ffpp/original/c23/001"], "declared": False
    }  # fmt: skip
    assert leaks["identity"]["names"] == ["ffpp/001"]
    printed, _ = run(crops, "--split", "StrictSplit")
    assert "no leak" in printed


def test_pictures_that_look_the_same_are_a_leak(run: Run, crops: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(crops)
    names = manifest.column("split")[np.unique(manifest.video_codes, return_index=True)[1]]
    one, other = (int(np.flatnonzero(names == split)[-1]) for split in ("train", "test"))
    shutil.copy(manifest.crop(middle_row(manifest, one)), manifest.crop(middle_row(manifest, other)))
    keys = [video.key for video in manifest.videos()]
    printed, error = run(crops, "--json", tmp_path / "check.json", expect=1, duplicates=True)
    assert "duplicate: train and test share" in printed
    (leak,) = report(tmp_path / "check.json")["leaks"]
    assert f"{keys[one]} ~ {keys[other]}" in leak["names"]
    assert all(name.endswith(f"~ {keys[other]}") for name in leak["names"])
    assert "the splits leak (duplicate)" in error
    assert "no protocol keeps these pictures apart" in error
    printed, _ = run(crops, "--json", tmp_path / "check.json")
    assert "duplicate" not in printed
    assert "pictures were not compared" in printed
    assert not report(tmp_path / "check.json")["pictures_compared"]


def test_the_same_video_under_two_names_is_a_leak(run: Run, root: Path) -> None:
    folder = root / "original_sequences" / "youtube" / "c23" / "videos"
    shutil.copy(folder / "001.mp4", folder / "010.mp4")
    printed, _ = run(root, expect=1, duplicates=True)
    assert "duplicate: train and test share" in printed
    assert "ffpp/original/c23/001 ~ ffpp/original/c23/010" in printed


def test_declared_leaks_are_marked_and_pass(run: Run, ffpp_crops: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="PaperSplit puts frames"):
        printed, error = run(ffpp_crops, "--split", "PaperSplit", "--json", tmp_path / "check.json", duplicates=True)
    assert error == ""
    assert "split protocol paper" in printed
    found = report(tmp_path / "check.json")
    assert {leak["kind"] for leak in found["leaks"]} == {"video", "original", "identity", "duplicate"}
    assert all(leak["declared"] for leak in found["leaks"])
    assert found["declared"] == ["duplicate", "identity", "original", "source", "video"]
    lines = printed.partition("leaks between the splits:\n")[2].splitlines()
    assert len(lines) == len(found["leaks"])
    assert all(line.endswith(" (declared by the protocol)") for line in lines)


def test_what_the_protocol_in_the_manifest_declares_counts(run: Run, crops: Path) -> None:
    manifest = Manifest.read(crops)
    splits = manifest.column("split").copy()
    splits[manifest.column("video") == "001"] = "test"
    spec = {**manifest.info["protocol"], "declares": ["original", "identity"]}
    manifest.with_splits(splits, spec).write()
    printed, _ = run(crops)
    assert "original: train and test share 1 (ffpp/original/c23/001) (declared by the protocol)" in printed


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "truncated": data[: len(data) // 3], "text": b"not a picture"}[how])


@pytest.mark.parametrize(
    "how", ["missing", "truncated", *(pytest.param(how, marks=pytest.mark.long) for how in ("empty", "text"))]
)
def test_a_crop_that_cannot_be_read_is_named(run: Run, crops: Path, how: str, tmp_path: Path) -> None:
    manifest = Manifest.read(crops)
    path = manifest.crop(middle_row(manifest, 5))
    damage(path, how)
    printed, error = run(crops, "--json", tmp_path / "check.json", expect=2)
    assert str(path) in printed
    assert str(path) in report(tmp_path / "check.json")["unreadable"]
    assert "cannot be read, see above: restore them" in error
    assert report(tmp_path / "check.json")["leaks"] == [], "the others are compared"


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_crop_counts_once(run: Run, crops: Path, how: str) -> None:
    manifest = Manifest.read(crops)
    damage(manifest.crop(middle_row(manifest, 5)), how)
    assert "126 files looked at, 1 cannot be read" in run(crops, expect=2)[0]


@pytest.mark.parametrize(
    "how", ["missing", *(pytest.param(how, marks=pytest.mark.long) for how in ("empty", "truncated"))]
)
def test_crops_beside_the_one_of_each_video(run: Run, crops: Path, how: str) -> None:
    manifest = Manifest.read(crops)
    path = manifest.crop(middle_row(manifest, 5) - 1)
    damage(path, how)
    if how == "truncated":
        run(crops)  # it is there; whether it is whole is seen if all are read
    else:
        printed, _ = run(crops, expect=2)
        assert f"{path.relative_to(crops)}: missing or empty" in printed
        assert "126 files looked at, 1 cannot be read" in printed
    printed, error = run(crops, "--read", "all", expect=2)
    assert str(path) in printed
    assert "126 files looked at, 1 cannot be read" in printed
    assert "1 files cannot be read" in error


@pytest.mark.parametrize(
    "how", ["truncated", *(pytest.param(how, marks=pytest.mark.long) for how in ("empty", "text"))]
)
def test_a_video_that_cannot_be_read_is_named(run: Run, root: Path, how: str, tmp_path: Path) -> None:
    damage(root / "manipulated_sequences" / "Deepfakes" / "c23" / "videos" / "001_006.mp4", how)
    printed, error = run(root, "--json", tmp_path / "check.json", expect=2)
    assert "42 files looked at, 1 cannot be read" in printed
    assert "  ffpp/Deepfakes/c23/001_006: " in printed
    assert "1 files cannot be read" in error
    assert list(report(tmp_path / "check.json")["unreadable"]) == ["ffpp/Deepfakes/c23/001_006"]
    run(root, expect=2)


def test_only_ten_unreadable_files_are_shown_but_all_are_written(run: Run, crops: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(crops)
    for video in range(12):
        damage(manifest.crop(middle_row(manifest, video)), "text")
    printed, error = run(crops, "--json", tmp_path / "check.json", expect=2)
    assert printed.count("is not an image") == 10
    assert "126 files looked at, 12 cannot be read" in printed
    assert "12 files" in error
    assert len(report(tmp_path / "check.json")["unreadable"]) == 12


def test_a_leak_weighs_more_than_a_broken_file(run: Run, crops: Path) -> None:
    def leak(manifest: Manifest, splits: Any) -> None:
        splits[manifest.column("video") == "001"] = "test"

    manifest = divide_again(crops, leak)
    damage(manifest.crop(middle_row(manifest, 0)), "text")
    printed, _ = run(crops, expect=1)
    assert "1 cannot be read" in printed


def test_a_split_of_one_class_is_marked(run: Run, crops: Path, tmp_path: Path) -> None:
    def drop(manifest: Manifest, splits: Any) -> None:
        splits[(splits == "test") & (manifest.column("label") == 1)] = None
        splits[splits == "val"] = None

    divide_again(crops, drop)
    printed, _ = run(crops, "--json", tmp_path / "check.json")
    assert "| test | 6 | 0 | 0%  ← a class is missing |" in printed
    assert "| train | 30 | 60 | 67% |" in printed
    assert "| val | 0 | 0 |  |" in printed, "a split that is not there is no mistake"
    assert report(tmp_path / "check.json")["balance"]["test"] == {"real": 6, "fake": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[["010", "zzz"]]', "names the id 'zzz', which FaceForensics\\+\\+ does not have"),
        ('[["010", "001"]]', r"The id 001 is in both t\w+.json and .*\.json"),
        ('{"010": "003"}', "holds a dict: expected a list of pairs"),
        ("[[", "test.json"),
    ],
)
def test_a_mistaken_split_file_is_one_message(run: Run, root: Path, content: str, message: str) -> None:
    (root / "splits" / "test.json").write_text(content)
    printed, error = run(root, expect=2)
    assert printed == ""
    assert error.count("resgat: error: ") == 1
    assert re.search(message, error)


def test_official_ids_that_are_not_on_disk_are_a_problem_but_no_mistake(run: Run, root: Path, tmp_path: Path) -> None:
    (root / "splits" / "test.json").write_text('[["010", "003"], ["998", "999"]]')
    printed, _ = run(root, "--json", tmp_path / "check.json")
    (line,) = report(tmp_path / "check.json")["problems"]
    assert "998" in line
    assert f"problem: {line}" in printed


def test_protocols_that_do_not_fit(run: Run, root: Path, tmp_path: Path) -> None:
    assert "extract first" in run(root, "--split", "PaperSplit", expect=2)[1]
    shutil.rmtree(root / "splits")
    assert "No video has an official split" in run(root, "--split", "OfficialSplit", expect=2)[1]
    assert "does not exist" in run(tmp_path / "absent", expect=2)[1]
    assert "There is no manifest" in run(tmp_path / "absent.parquet", expect=2)[1]


@pytest.mark.long
def test_called_as_a_function(ffpp_root: Path, crops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    youtube = FFPP(methods=["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"])
    check(ffpp_root, layout=youtube, split=OfficialSplit(), duplicates=False, jobs=1)
    printed = capsys.readouterr().out
    assert "split protocol official" in printed
    assert "DeepFakeDetection" not in printed
    manifest = Manifest.read(crops)
    damage(manifest.crop(0), "missing")
    with pytest.raises(MediaError, match="1 files"):
        check(crops)
    splits = manifest.column("split").copy()
    splits[0] = "val" if splits[0] != "val" else "test"
    manifest.with_splits(splits).write()
    with pytest.raises(LeakageError, match=r"\(video"):
        check(crops)


@pytest.mark.long
@pytest.mark.parametrize("read", ["one", "all"])
def test_processes_change_nothing(crops: Path, tmp_path: Path, read: Literal["one", "all"]) -> None:
    manifest = Manifest.read(crops)
    if read == "all":  # so many that it is worth starting processes
        place = manifest.table.schema.get_field_index("video")
        renamed = pa.array([f"{name} again" for name in manifest.column("video")], pa.string())
        again = manifest.table.set_column(place, SCHEMA.field("video"), renamed)
        merge(crops, [manifest.table, again], manifest.info).write()
    damage(manifest.crop(middle_row(manifest, 3)), "truncated")
    found = []
    for jobs in (1, 2):
        with pytest.raises(MediaError):
            check(crops, json=tmp_path / "check.json", read=read, jobs=jobs)
        found.append((tmp_path / "check.json").read_text())
    assert found[0] == found[1]


def test_a_report_that_cannot_be_written(ffpp_crops: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        check(ffpp_crops, json=tmp_path / "file" / "check.json", duplicates=False)


def test_a_mistaken_report_is_told_before_anything_is_read(
    ffpp_root: Path, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resgat_pl.data.check.command.read_all", lambda *_: pytest.fail("read"))
    (tmp_path / "file").touch()
    for target in (ffpp_root, ffpp_crops):
        for mistaken in (tmp_path / "file" / "check.json", tmp_path):
            with pytest.raises(ConfigError, match="--json is"):
                check(target, json=mistaken)


def test_pictures_of_others_are_decoded_elsewhere(
    run: Run, ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that a decoder may kill, however few they are."""
    monkeypatch.setattr("resgat_pl.data.check.pictures.read_image", lambda *_: os._exit(1))
    manifest = Manifest.read(ffpp_crops)
    for name, label in (("TRAIN_CLIENT", 0), ("TRAIN_IMPOSTER", 1)):
        picture = f"{name}.mp4_face_0.png"
        shutil.copy(manifest.crop(int(np.flatnonzero(manifest.column("label") == label)[0])), tmp_path / picture)
        (tmp_path / f"{name}.txt").write_text(picture)
    out, _ = run(tmp_path, "--jobs", 1)
    assert "2 files looked at, 0 cannot be read" in out
