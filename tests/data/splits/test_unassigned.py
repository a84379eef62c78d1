"""What is in no split is counted with its reason, and whose people are unknown is said wherever leaks are spoken of."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from resgat_pl.core.errors import LeakageError, SplitError
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord, video_key
from resgat_pl.data import datamodule as module
from resgat_pl.data.check.command import check
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.extraction.summary import ExtractionSummary, with_splits
from resgat_pl.data.layouts.base import Layout
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.known_people import PEOPLE_UNKNOWN, noted, unknown_in, unknown_people
from resgat_pl.data.splits.leave_out import LeaveOut
from resgat_pl.data.splits.protocols import SplitProtocol, StrictSplit, divide
from resgat_pl.data.splits.registry import PROTOCOLS, from_spec
from resgat_pl.data.splits.unassigned import unassigned, why_unassigned

from ...helpers.records import crops_of
from ...helpers.tiny_runs import variant


def real(name: str, dataset: str = "d", official: Split | None = None, part: str = "") -> VideoRecord:
    people = (name.partition("@")[0],)
    return VideoRecord(dataset, "original", "", name, REAL, "video", (), people, part=part, official_split=official)


def fake(name: str, target: str, dataset: str = "d", part: str = "") -> VideoRecord:
    original = video_key(dataset, "original", "", target)
    return VideoRecord(dataset, "swap", "", name, FAKE, "video", (), (target,), original=original, part=part)


def test_each_reason_is_counted() -> None:
    videos = [
        real("t"),
        fake("ft", "t"),
        replace(real("p"), identities=("t",)),
        real("606", "ffpp"),
        real("605", "ffpp"),
    ]
    videos += [
        replace(real("c"), identities=("c", "same file c (0)")),
        replace(real("k"), identities=("k", "same file c (0)")),
    ]
    videos += [real("x"), real("y")]
    taken = np.array([True, False, False, True, False, True, False, False, True])
    said = why_unassigned(videos, np.arange(len(videos)), taken, "video")
    head, _, reasons = said.partition(": ")
    assert head == "5 of 9 videos are in no split"
    assert set(reasons.split("; ")) == {
        "1 share an original with another split",
        "1 show a person of another split",
        "1 are from one YouTube video with a clip of another split",
        "1 hold a file of another split",
        "1 are left out by the protocol",
    }
    assert why_unassigned(videos, np.arange(9), np.ones(9, bool)) == ""
    assert why_unassigned(videos, np.arange(9), np.zeros(9, bool)) == "none of the 9 crops is in a split"


def test_the_summary_of_an_extraction_says_it_first(tmp_path: Path) -> None:
    videos = [real("a@train", official="train"), real("a@test", official="test"), real("b@train", official="train")]
    videos += [real("c@val", official="val")]
    manifest = divide(crops_of(tmp_path, videos), StrictSplit())
    summary = with_splits(ExtractionSummary(tmp_path, 4, 8, problems=["other"]), manifest)
    assert summary.problems == ["2 of 8 crops (of 1 videos) are in no split: 2 show a person of another split", "other"]
    assert summary.splits["unassigned"] == {"real": 2, "fake": 0}
    assert str(summary).count("people unknown for d: nothing says") == 1
    whole = with_splits(ExtractionSummary(tmp_path, 1, 2), divide(crops_of(tmp_path, videos[1:]), StrictSplit()))
    assert whole.problems == []


def test_crops_that_a_protocol_leaves_out(tmp_path: Path) -> None:
    videos = [video for n in range(20) for video in (real(f"{n}"), fake(f"f{n}", f"{n}", "d"))]
    other = [replace(real(f"o{n}"), label=FAKE, method="other") for n in range(9)]
    manifest = divide(crops_of(tmp_path, [*videos, *other]), LeaveOut(methods=["other"]))
    tested = sum(name.startswith("d/other") for name in manifest.split_videos("test"))
    assert unassigned(manifest) == (
        f"{2 * (9 - tested)} of 98 crops (of {9 - tested} videos) are in no split: {2 * (9 - tested)} are left out by "
        "the protocol"
    )


def data_sets(dataset: str) -> list[VideoRecord]:
    parts = [f"dfdc_train_part_{n % 5}" for n in range(30)]
    reals = [real(f"{n}", dataset, SPLITS[n % 3], parts[n]) for n in range(30)]
    fakes = [replace(fake(f"f{n}", f"{n}", dataset, parts[n]), official_split=SPLITS[n % 3]) for n in range(30)]
    return reals + fakes


SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize(("dataset", "unknown"), [("dfdc", True), ("ffpp", False), ("folder", True)])
def test_every_protocol_declares_unknown_people(
    kind: type[SplitProtocol], dataset: str, unknown: bool, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PaperSplit's own
        manifest = divide(crops_of(tmp_path, data_sets(dataset)), protocol := kind())
    assert (PEOPLE_UNKNOWN in protocol.declares) == unknown
    assert (PEOPLE_UNKNOWN in manifest.info["protocol"]["declares"]) == unknown
    again = from_spec(manifest.info["protocol"])
    assert type(again) is kind
    assert unknown_in(manifest).keys() == ({dataset} if unknown else set())


def test_mixed_manifests_are_judged_by_data_set(tmp_path: Path) -> None:
    mixed = crops_of(tmp_path, [*data_sets("ffpp"), *data_sets("dfdc"), real("youtube 0", "celebdf")])
    assert unknown_people(mixed.videos()).keys() == {"dfdc", "celebdf"}
    sides = ["test" if name == "ffpp" else None for name in mixed.column("dataset")]
    assert unknown_in(mixed.with_splits(sides)) == {}, "what is in no split says nothing"


def test_what_the_user_says_of_people_is_noted(tmp_path: Path) -> None:
    class Own(Layout):
        name = "own"
        people = True

        def matches(self, root: Path) -> bool:
            return True

        def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
            return [], []

    assert noted(Folder()) == {}
    assert noted(Folder(people=True)) == {"folder": True}
    assert noted(Own()) == {"own": True}
    manifest = crops_of(tmp_path, [real("a", "folder"), real("b", "own"), real("c", "dfdc")])
    said = Manifest(tmp_path, manifest.table, {"people": {**noted(Folder(people=True)), "own": True, "dfdc": "yes"}})
    said.write()
    assert unknown_people(Manifest.read(tmp_path).videos()).keys() == {"dfdc"}
    Manifest(tmp_path, manifest.table, {"people": ["folder"]}).write()
    assert unknown_people(Manifest.read(tmp_path).videos()).keys() == {"dfdc", "folder", "own"}


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Six pictures in three folders each, as sample sets have them, and four in one."""

    def picture(path: Path, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = cv2.resize(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8), (96, 96))
        cv2.imwrite(str(path), noise)

    for n in range(6):
        for split in ("train", "valid", "test"):
            picture(tmp_path / "set" / split / ("real", "fake")[n % 2] / f"{n}.png", n)
    for n in range(6, 10):
        picture(tmp_path / "set" / "train" / ("real", "fake")[n % 2] / f"{n}.png", n)
    return tmp_path / "set"


def test_a_set_that_holds_files_in_several_splits_leaks(leaking: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LeakageError, match="own folders or lists do") as raised:
        check(leaking, jobs=1, json=leaking.parent / "check.json")
    assert raised.value.status == 1
    printed = capsys.readouterr().out
    assert "no leak" not in printed
    assert "duplicate: train and test share 6 (folder/0 (" in printed
    assert "12 of 22 videos are in no split: 12 hold a file of another split" in printed
    document = json.loads((leaking.parent / "check.json").read_text())
    assert {leak["kind"] for leak in document["prescribed_leaks"]} == {"duplicate"}
    assert document["people_unknown"].keys() == {"folder"}
    with pytest.raises(LeakageError):
        check(leaking, split=LeaveOut(), jobs=1, duplicates=False)
    capsys.readouterr()


def test_unknown_people_are_no_leak_and_no_promise(leaking: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("valid", "test"):
        for path in (leaking / split).rglob("*.png"):
            path.unlink()
    check(leaking, jobs=1)  # raises nothing
    printed = capsys.readouterr().out
    assert "no leak" not in printed
    assert "people unknown for folder: names of files say nothing" in printed
    check(leaking, layout=Folder(people=True), jobs=1)
    assert "people unknown" not in capsys.readouterr().out


def test_training_says_what_it_leaves_out(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "rank_zero_info", said.append)
    kept = [split if split == "test" or place % 5 else None for place, split in enumerate(splits_of(ffpp_crops))]
    FaceDataModule(variant(ffpp_crops, tmp_path / "some", kept)).setup("fit")
    (line,) = said
    assert "are in no split: " in line
    none = [None if split == "train" else split for split in splits_of(ffpp_crops)]
    with pytest.raises(SplitError, match=r"'train' has no .* Note: \d+ of 126 crops .* are in no split"):
        FaceDataModule(variant(ffpp_crops, tmp_path / "none", none)).setup("fit")
    said.clear()
    FaceDataModule(variant(ffpp_crops, tmp_path / "dfdc", dataset="dfdc")).setup("fit")
    (line,) = said
    assert line.startswith(f"{tmp_path / 'dfdc'}: people unknown for dfdc")


def splits_of(crops: Path) -> list[str]:
    return [str(split) for split in Manifest.read(crops).column("split")]
