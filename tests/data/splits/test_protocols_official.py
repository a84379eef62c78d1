"""The official split of a data set: taken as it is, or without what leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import Split
from resgat_pl.data.layouts.ffpp_sources import SAME_SOURCE
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.splits.protocols import (
    IdentitySplit,
    OfficialSplit,
    PartSplit,
    StrictSplit,
)

from ...helpers.records import assert_apart, count, fake, families, pairs, real


def test_official_split_is_taken_as_it_is() -> None:
    videos = pairs(9, official=True)
    assert OfficialSplit().assign(videos) == {v.key: v.official_split for v in videos}
    assert StrictSplit().assign(videos) == {v.key: v.official_split for v in videos}


def test_official_split_without_val_holds_some_train_people_out() -> None:
    videos = [replace(v, official_split="train") for v in pairs(20)]
    test = [real(f"t{n}", official="test") for n in range(5)]
    chosen = OfficialSplit(val=0.2).assign(videos + test)
    assert {chosen[v.key] for v in test} == {"test"}
    assert sum(chosen[v.key] == "val" for v in videos) == 16
    assert_apart(videos + test, chosen)


def test_official_split_needs_one_for_every_video() -> None:
    with pytest.raises(SplitError, match=r"train\.json, val\.json and test\.json .*ROOT/splits"):
        OfficialSplit().assign(pairs(3))
    with pytest.raises(
        SplitError, match=r"1 of 13 videos have no official split, such as d/original/-/24__x.*StrictSplit"
    ):
        OfficialSplit().assign([*pairs(3, official=True), real("24__x", "24")])


def test_strict_split_of_official_videos_with_others() -> None:
    official = pairs(9, official=True)
    late = [replace(fake(f"{a}_{b}", a, b), method="new") for a, b in (("000", "001"), ("003", "002"), ("004", "005"))]
    actors = [real(f"actor{n}") for n in range(20)] + [fake(f"swap{n}", f"actor{n}") for n in range(20)]
    videos = [*official, *late, *actors]
    chosen = StrictSplit(0.2, 0.2).assign(videos)
    assert all(chosen[v.key] == v.official_split for v in official)
    assert [chosen[v.key] for v in late] == ["train", "val", "test"]
    assert_apart(videos, chosen)
    assert count(actors, chosen) == {"train": (12, 12), "val": (4, 4), "test": (4, 4)}


def test_strict_split_keeps_few_actors_whole_without_a_warning() -> None:
    actors = [
        real("01__a", "01"),
        fake("01_02__a", "01__a", "02"),
        real("02__a", "02"),
        fake("02_01__a", "02__a", "01"),
    ]
    chain = [replace(v, identities=("01", "02")) for v in actors]
    chosen = StrictSplit().assign(pairs(9, official=True) + chain)
    assert len({chosen[v.key] for v in chain}) == 1


def test_strict_split_refuses_people_between_official_splits() -> None:
    videos = pairs(9, official=True)
    with pytest.raises(SplitError, match=r"d/swap/-/000_002 .*train, val.*IdentitySplit"):
        StrictSplit().assign([*videos, fake("000_002", "000", "002")])


def test_strict_split_by_part() -> None:
    videos = families(60, parts=20)
    assert StrictSplit(0.1, 0.1).assign(videos) == PartSplit(0.1, 0.1).assign(videos)
    few = families(60, parts=2)
    assert StrictSplit(0.1, 0.1).assign(few) == IdentitySplit(0.1, 0.1).assign(few)
    none = families(60)
    assert StrictSplit().assign(none) == IdentitySplit().assign(none)


def test_strict_split_with_an_official_test_set_only() -> None:
    test = [real(f"t{n}", part="test", official="test") for n in range(30)]
    for videos in (families(60, parts=20), families(60)):
        chosen = StrictSplit().assign(videos + test)
        assert {chosen[v.key] for v in test} == {"test"}
        assert {chosen[v.key] for v in videos} == {"train", "val"}


def test_strict_split_treats_each_data_set_for_itself() -> None:
    one = families(20)
    two = [replace(v, dataset="e", original=v.original and f"e{v.original[1:]}") for v in families(20)]
    official = [replace(v, official_split="test") for v in two]
    chosen = StrictSplit().assign(one + official)
    assert {key: split for key, split in chosen.items() if key.startswith("d/")} == StrictSplit().assign(one)
    assert {split for key, split in chosen.items() if key.startswith("e/")} == {"test"}
    assert StrictSplit().assign([]) == {}


def test_strict_split_loses_the_seven_pairs_and_keeps_the_test_set() -> None:
    sides: dict[str, Split] = {}
    crossing = [group for group in SAME_SOURCE if len(group) == 2][:7]
    for n, (a, b) in enumerate(crossing):
        sides |= {a: ("train", "val", "train")[n % 3], b: ("val", "test", "test")[n % 3]}
    videos = []
    for name, split in {**sides, **{f"{n:03d}": SPLITS[n % 3] for n in range(30)}}.items():
        videos.append(real(name, dataset="ffpp", official=split))
        videos.append(replace(fake(f"{name}_x", name, dataset="ffpp"), official_split=split))
    official, strict = OfficialSplit().assign(videos), StrictSplit().assign(videos)
    assert {key for key, split in official.items() if split == "test"} == {
        key for key, split in strict.items() if split == "test"
    }
    lost = {key.rpartition("/")[2] for key in official.keys() - strict.keys()}
    weaker = {a for a, _ in crossing}
    assert lost == weaker | {f"{name}_x" for name in weaker}
    assert all(official[key] == split for key, split in strict.items())


def test_a_test_set_that_shares_people_with_the_rest() -> None:
    videos = [real(f"id{n}_{clip}", f"id{n}") for n in range(12) for clip in range(3)]
    videos += [fake(f"id{n}_f{clip}", f"id{n}") for n in range(12) for clip in range(3)]
    listed = [replace(v, official_split="test") if v.video in {"id0_1", "id1_f2"} else v for v in videos]
    official = OfficialSplit(val=0.2).assign(listed)
    assert official.keys() == {v.key for v in videos}
    assert sum(split == "test" for split in official.values()) == 2
    strict = StrictSplit().assign(listed)
    assert {key for key, split in strict.items() if split == "test"} == {v.key for v in listed if v.official_split}
    assert {v.video[:3] for v in listed if v.key not in strict} == {"id0", "id1"}
    assert_apart([v for v in listed if v.key in strict], strict)
