"""A test that ``fit`` would refuse is refused or stamped, whatever manifest it comes in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import LeakageError, WeightsError
from resgat_pl.core.types import video_key
from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table
from resgat_pl.data.splits.known_people import unknown_in
from resgat_pl.evaluation.train_test_overlap import (
    REMEMBERED,
    check_unseen,
    describe,
    hashes_to_store,
    link_hashes,
    mark_of_leaks,
    merge_stored_hashes,
    people_unknown,
    video_hashes,
    videos_of,
)


def manifest(folder: Path, *videos: tuple[str, str, str], compression: str = "c23", **info: Any) -> Manifest:
    """One crop a video: (split, name, dataset), a fake if the name has two people; its first person is the target."""
    rows = []
    for split, name, dataset in videos:
        people = name.split("_")
        fake = len(people) > 1
        original = video_key(dataset, "original", compression, people[0]) if fake else None
        place = {"dataset": dataset, "method": "swap" if fake else "original", "compression": compression}
        place |= {"video": name, "identities": people, "part": "", "source_video": original, "label": int(fake)}
        place |= {"track": 0, "frame_index": 0, "box": [0, 0, 9, 9], "sharpness": 1.0, "crop_path": "x.png"}
        rows.append({**place, "split": split or None})
    return merge(folder, [rows_to_table(rows)], info)


def stored_of(trained: Manifest, **more: Any) -> dict[str, Any]:
    return {
        "leaky": [],
        "data": {"splits": trained.split_fingerprint(), "people_unknown": unknown_in(trained)},
        **hashes_to_store(trained),
        **more,
    }


TRAINED = (("train", "000", "ffpp"), ("train", "010_020", "ffpp"), ("train", "331", "ffpp"), ("val", "700", "ffpp"))
SEEN = {
    "000": ("video", "were in its training split"),
    "000_003": ("original", "share an original with its training split"),
    "010": ("original", "share an original with its training split"),
    "003_000": ("identity", "show people of its training split"),
    "020": ("identity", "show people of its training split"),
    "332": ("source", "from one YouTube video with its training split"),
    "332_800": ("source", "from one YouTube video with its training split"),
    "700": ("validation", "its validation split, which chose epoch, thresholds and temperature"),
    "700_800": ("original", "its validation split"),
    "800_700": ("identity", "its validation split"),
}


@pytest.mark.parametrize("compression", ["c23", "c40", ""])
@pytest.mark.parametrize("name", SEEN)
def test_each_kind_is_refused_by_name_or_stamped(tmp_path: Path, name: str, compression: str) -> None:
    kind, words = SEEN[name]
    stored = stored_of(manifest(tmp_path, *TRAINED))
    tested = manifest(tmp_path, ("test", name, "ffpp"), ("test", "900", "ffpp"), compression=compression)
    with pytest.raises(LeakageError, match=words) as raised:
        check_unseen("a.ckpt", stored, tested)
    assert "900" not in str(raised.value)
    declares = {"protocol": {"declares": ["video" if kind == "validation" else kind, "identity"]}}
    declaring = Manifest(tmp_path, tested.table, declares)
    for asked, allowed in ((tested, True), (declaring, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert kind in check_unseen("a.ckpt", stored, asked, allow_leakage=allowed)
        assert any(words in str(warning.message) for warning in caught)


@pytest.mark.parametrize("stored", [None, {}, {"data": {}, "leaky": []}])
def test_what_is_no_provenance(stored: dict[str, Any] | None, tmp_path: Path) -> None:
    tested = manifest(tmp_path, *TRAINED)
    with pytest.raises(WeightsError, match=r"a\.ckpt does not say what it was trained on.*--data\.allow_leakage true"):
        check_unseen("a.ckpt", stored, tested)
    with pytest.warns(UserWarning, match="unknown leakage"):
        assert check_unseen("a.ckpt", stored, tested, allow_leakage=True) == ["unknown"]


def test_unseen_people_are_fine(tmp_path: Path) -> None:
    stored = stored_of(manifest(tmp_path, *TRAINED))
    tested = manifest(tmp_path, ("test", "900", "ffpp"), ("test", "901_902", "ffpp"), ("train", "000", "ffpp"))
    assert check_unseen("a.ckpt", stored, tested) == []
    trained_on = manifest(tmp_path, *TRAINED, ("test", "900", "ffpp"), compression="c40")
    assert check_unseen("a.ckpt", stored, trained_on) == []
    elsewhere = manifest(tmp_path, ("test", "000", "other"), ("test", "331_332", "other"))
    assert check_unseen("a.ckpt", stored, elsewhere) == [], "names of another data set are other people"


@pytest.mark.parametrize("dataset", ["folder", "ffpp"])
def test_own_files_are_known_by_their_names_only(tmp_path: Path, dataset: str) -> None:
    stored = stored_of(manifest(tmp_path, ("train", "000", dataset)))
    with pytest.raises(LeakageError) as raised:
        check_unseen("a.ckpt", stored, manifest(tmp_path, ("test", "000", dataset)))
    assert ("known by their names only" in str(raised.value)) == (dataset == "folder")


def test_one_clip_twice_is_no_leak_between_two_of_a_source(tmp_path: Path) -> None:
    stored = stored_of(manifest(tmp_path, *TRAINED))
    with pytest.warns(UserWarning):
        stamps = check_unseen("a.ckpt", stored, manifest(tmp_path, ("test", "003_331", "ffpp")), allow_leakage=True)
    assert stamps == ["identity"]


def test_what_fit_let_pass_is_stamped_under_its_own_splits_only(tmp_path: Path) -> None:
    trained = manifest(tmp_path, *TRAINED, ("test", "332", "ffpp"))
    stored = stored_of(trained, leaky=["source"])
    assert check_unseen("a.ckpt", stored, trained) == ["source"]
    with pytest.raises(LeakageError, match="YouTube"):
        check_unseen("a.ckpt", stored, manifest(tmp_path, ("test", "332", "ffpp")))
    stored["leaky"] = ["source", "identity"]
    assert check_unseen("a.ckpt", stored, trained) == ["identity", "source"]
    assert check_unseen("a.ckpt", stored, manifest(tmp_path, ("test", "000", "celebdf"))) == []


def test_an_older_checkpoint_is_unknown_but_under_its_own_splits(tmp_path: Path) -> None:
    trained = manifest(tmp_path, *TRAINED, ("test", "900", "ffpp"))
    old = {name: value for name, value in stored_of(trained).items() if name not in REMEMBERED[1:]}
    assert check_unseen("a.ckpt", old, trained) == [], "fit has compared these splits"
    tested = manifest(tmp_path, ("test", "000_003", "ffpp"))
    with pytest.warns(UserWarning, match="unknown for this checkpoint"):
        assert check_unseen("a.ckpt", old, tested) == ["unknown"]
    with pytest.raises(LeakageError, match="in its training split"):
        check_unseen("a.ckpt", old, manifest(tmp_path, ("test", "000", "ffpp")))
    assert check_unseen("a.ckpt", {**old, "incomplete": False}, trained) == []
    with pytest.warns(UserWarning, match="unknown for this checkpoint"):
        assert check_unseen("a.ckpt", {**old, "incomplete": True}, trained) == ["unknown"]


def test_training_that_goes_on_remembers_all_it_has_seen(tmp_path: Path) -> None:
    first, second = manifest(tmp_path, *TRAINED), manifest(tmp_path, ("train", "500", "ffpp"), ("val", "501", "ffpp"))
    both = merge_stored_hashes(stored_of(first), hashes_to_store(second))
    assert tuple(both) == REMEMBERED
    for name, value in both.items():
        parts = [hashes_to_store(part)[name].tolist() for part in (first, second)]
        assert value.tolist() == sorted({number for part in parts for number in part})
    assert same(merge_stored_hashes(None, hashes_to_store(second)), hashes_to_store(second))
    old = {"train_videos": hashes_to_store(first)["train_videos"]}
    assert set(merge_stored_hashes(old, hashes_to_store(second))) == {"train_videos"}, "whose people nobody knows"
    assert same(merge_stored_hashes(old, hashes_to_store(first)), hashes_to_store(first)), (
        "all of its videos are trained on again"
    )
    assert set(merge_stored_hashes({}, hashes_to_store(first))) == {"train_videos"}, "it says nothing at all"


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_eight_bytes_each(tmp_path: Path) -> None:
    trained = manifest(tmp_path, *TRAINED)
    videos = videos_of(trained, "train")
    assert sorted(video.video for video in videos) == ["000", "010_020", "331"]
    hashes = link_hashes(videos)
    # keys of 3 videos and 1 original, people 000, 010, 020 and 331, one source
    assert (hashes.dtype, len(hashes)) == (torch.int64, 3 + 1 + 4 + 1)
    assert len(video_hashes([])) == 0


def test_unknown_people_are_said_on_either_side(tmp_path: Path) -> None:
    dfdc = manifest(tmp_path, ("train", "a", "dfdc"), ("test", "b", "dfdc"), ("test", "000", "ffpp"))
    ffpp = manifest(tmp_path, ("train", "000", "ffpp"), ("test", "001", "ffpp"))
    (line,) = people_unknown(None, dfdc)
    assert line.startswith("people unknown for dfdc: its identities are clips")
    assert people_unknown(stored_of(dfdc), ffpp) == [line]
    assert people_unknown(stored_of(ffpp), ffpp) == []
    assert check_unseen("a.ckpt", stored_of(dfdc), dfdc) == [], "it is no leak"
    outside = manifest(tmp_path, ("", "a", "dfdc"), ("test", "001", "ffpp"))
    assert people_unknown(None, outside) == [], "what is in no split is not tested"


def test_words_below_scores_and_in_tables() -> None:
    assert (describe([], []), mark_of_leaks([], [])) == ([], "")
    assert describe(["identity", "video"], []) == [
        "LEAKY: these scores suffer from leaks between splits (identity, video)"
    ]
    both = describe(["unknown", "video"], ["people unknown for dfdc: …"])
    assert [line.partition(":")[0] for line in both] == [
        "LEAKY", "LEAKAGE UNKNOWN (unknown)", "people unknown for dfdc"
    ]  # fmt: skip
    assert "unknown" not in both[0]
    assert mark_of_leaks(["video"], ["people unknown for dfdc: …"]) == " (leaky: video; people unknown)"
    assert mark_of_leaks([], ["people unknown for dfdc: …"]) == " (people unknown)"
