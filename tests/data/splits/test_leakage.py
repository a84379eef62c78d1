from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from resgat_pl.core.errors import LeakageError, SplitError
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord, video_key
from resgat_pl.data.layouts.ffpp_official import shipped
from resgat_pl.data.layouts.ffpp_sources import SAME_SOURCE
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import components, links
from resgat_pl.data.splits.leakage import Leak, declared, find_leaks, judge, manifest_leaks
from resgat_pl.data.splits.leave_out import LeaveOut
from resgat_pl.data.splits.paper import PaperSplit
from resgat_pl.data.splits.protocols import IdentitySplit, OfficialSplit, PartSplit, SplitProtocol, StrictSplit

from ...helpers.records import crops_of

PAIRS: set[tuple[str, str]] = set(combinations(SPLITS, 2))


def real(name: str, *people: str, dataset: str = "ffpp", part: str = "") -> VideoRecord:
    return VideoRecord(dataset, "original", "", name, REAL, "video", (), people or (name,), part=part)


def fake(name: str, target: str, *people: str, dataset: str = "ffpp", part: str = "") -> VideoRecord:
    original = video_key(dataset, "original", "", target)
    return VideoRecord(dataset, "swap", "", name, FAKE, "video", (), people or (name,), original=original, part=part)


def leaks_of(videos: Sequence[VideoRecord], sides: Sequence[str | None]) -> list[Leak]:
    """The leaks of one row a video, in splits named by their first letter or not at all."""
    names = {split[:2]: split for split in SPLITS}
    splits = np.array([names.get(side, side) if side else side for side in sides], object)
    return find_leaks(videos, np.arange(len(videos)), splits)


def test_a_video_on_both_sides_is_no_leak_of_its_own_names() -> None:
    videos = [real("605"), fake("a", "b", "p", "605")]
    assert find_leaks(videos, np.array([0, 0, 0]), np.array(["train", "train", "test"])) == [
        Leak("video", ("train", "test"), ("ffpp/original/-/605",))
    ]
    assert find_leaks(videos, np.array([1, 1]), np.array(["val", "test"])) == [
        Leak("video", ("val", "test"), ("ffpp/swap/-/a",))
    ]


@pytest.mark.parametrize("sides", list(combinations(("tr", "va", "te"), 2)))
@pytest.mark.parametrize("turned", [False, True])
def test_each_kind_between_its_splits_with_its_names(sides: tuple[str, str], turned: bool) -> None:
    one, other = sides[::-1] if turned else sides
    full = {split[:2]: split for split in SPLITS}
    splits: tuple[Split, Split] = (full[sides[0]], full[sides[1]])
    assert leaks_of([real("a"), fake("f", "a")], [one, other]) == [Leak("original", splits, ("ffpp/original/-/a",))]
    assert leaks_of([fake("g", "a"), fake("f", "a")], [one, other]) == [
        Leak("original", splits, ("ffpp/original/-/a",))
    ]
    assert leaks_of([real("a", "p"), real("b", "q", "p")], [one, other]) == [Leak("identity", splits, ("ffpp/p",))]
    assert leaks_of([real("605"), real("606")], [one, other]) == [Leak("source", splits, ("ffpp/605+606",))]
    assert leaks_of([real("605"), fake("x", "y", "606", "z")], [one, other]) == [
        Leak("source", splits, ("ffpp/605+606",))
    ]


def test_kinds_come_in_order_with_sorted_names() -> None:
    videos = [real("b"), real("a"), fake("fb", "b", "606"), fake("fa", "a", "b"), real("605")]
    found = leaks_of(videos, ["tr", "tr", "te", "va", "tr"])
    assert found == [
        Leak("original", ("train", "val"), ("ffpp/original/-/a",)),
        Leak("original", ("train", "test"), ("ffpp/original/-/b",)),
        Leak("identity", ("train", "val"), ("ffpp/b",)),
        Leak("source", ("train", "test"), ("ffpp/605+606",)),
    ]
    several = leaks_of([real(f"v{n}", f"p{n % 12}") for n in range(24)], ["tr"] * 12 + ["te"] * 12)
    assert several[0].names == tuple(sorted(f"ffpp/p{n}" for n in range(12)))


OFFICIALLY_APART = "605/606 639/640 755/756 837/838 875/876 954/955 982/983"


@pytest.mark.parametrize("group", SAME_SOURCE)
def test_clips_of_one_source_within_a_split_are_no_leak(group: tuple[str, ...]) -> None:
    a, b = group[0], group[-1]
    assert leaks_of([real(a), real(b), fake("f", a, a, b)], ["te", "te", "te"]) == []
    assert [leak.kind for leak in leaks_of([real(a), fake(f"{a}_000", a, a, "000")], ["tr", "te"])] == [
        "original",
        "identity",
    ], "the same clip twice is not two of one source"
    found = leaks_of([real(a), real(b), fake("f", "x", a)], ["tr", "tr", "te"])
    assert [leak.kind for leak in found] == ["identity", "source"]
    assert leaks_of([real(a, dataset="d"), real(b, dataset="d")], ["tr", "te"]) == [], "other data sets have other ids"


def test_any_two_of_three_clips_are_a_leak_and_one_twice_is_none() -> None:
    for one, other in (("685", "686"), ("686", "687"), ("687", "685")):
        (leak,) = leaks_of([real(one), real(other)], ["tr", "te"])
        assert leak == Leak("source", ("train", "test"), ("ffpp/685+686+687",))
    (leak,) = leaks_of([real("685"), real("686"), real("687")], ["tr", "tr", "va"])
    assert leak.splits == ("train", "val")
    found = leaks_of([real("685", "685"), real("again", "685")], ["tr", "te"])
    assert [leak.kind for leak in found] == ["identity"]


def test_both_clips_of_a_source_on_both_sides() -> None:
    videos = [real("605"), real("606"), fake("f", "x", "605"), fake("g", "x", "606")]
    found = leaks_of(videos, ["tr", "tr", "te", "te"])
    assert Leak("source", ("train", "test"), ("ffpp/605+606",)) in found


def test_names_of_another_data_set_are_other_people() -> None:
    videos = [real("a"), real("a", dataset="dfdc"), fake("f", "a", "q", dataset="celebdf")]
    assert leaks_of(videos, ["tr", "va", "te"]) == []


@pytest.mark.parametrize("nothing", ["", None, "other"])
def test_what_is_in_no_split_leaks_nothing(nothing: str | None) -> None:
    assert leaks_of([real("a"), fake("f", "a", "a")], ["tr", nothing]) == []
    assert leaks_of([], []) == []


def test_all_22_groups_and_which_the_official_split_separates() -> None:
    assert len(SAME_SOURCE) == 22
    names = [name for group in SAME_SOURCE for name in group]
    assert len(names) == len(set(names)) == 45
    assert 1000 - sum(len(group) - 1 for group in SAME_SOURCE) == 977, "YouTube videos"
    assert ("685", "686", "687") in SAME_SOURCE
    official = shipped()
    apart = [group for group in SAME_SOURCE if len({official[name] for name in group}) > 1]
    assert " ".join("/".join(group) for group in apart) == OFFICIALLY_APART
    for group in SAME_SOURCE:
        for a, b in combinations(group, 2):
            assert set(links(real(a))) & set(links(real(b))) == {f"source ffpp/{'+'.join(group)}"}
        assert len(components([*map(real, group), real("x")])) == 2, "so a split by identity keeps them together"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("make", [IdentitySplit, StrictSplit, LeaveOut])
def test_no_protocol_separates_clips_of_one_video(make: type[SplitProtocol], official: bool, seed: int) -> None:
    sides = shipped()
    videos = [replace(real(name), official_split=sides[name] if official else None) for name in sorted(sides)]
    chosen = make(seed=seed).assign(videos)
    for group in SAME_SOURCE:
        assert len({chosen.get(video_key("ffpp", "original", "", name)) for name in group} - {None}) == 1, group
    assert leaks_of(videos, [chosen.get(video.key) for video in videos]) == []
    lost = {video.video for video in videos if video.key not in chosen}
    assert len(lost) == (7 if official and make is not IdentitySplit else 0)


def test_links() -> None:
    plain = real("a", "p", "q", part="7")
    assert links(plain) == ["video ffpp/original/-/a", "person ffpp/p", "person ffpp/q"]
    assert links(plain, by_part=True) == [*links(plain), "part ffpp/7"]
    forged = fake("f", "a", "605", "x")
    assert links(forged)[0] == "video ffpp/swap/-/f", "a video's own name comes first"
    assert set(links(forged)[1:]) == {
        "person ffpp/605",
        "person ffpp/x",
        "video ffpp/original/-/a",
        "source ffpp/605+606",
    }


@st.composite
def data_sets(draw: st.DrawFn) -> list[VideoRecord]:
    """Any records at all: shared people, chains of originals, clips of one source, parts, official splits or none."""
    names = st.sampled_from(["0", "1", "2", "3", "4", "5", "605", "606", "685", "686", "687"])
    official: st.SearchStrategy[Split | None] = st.sampled_from(
        draw(st.sampled_from([(None,), (None, "test"), SPLITS, (None, *SPLITS)]))
    )
    parts = st.sampled_from([f"part{n}" for n in range(draw(st.integers(1, 9)))])
    videos: dict[str, VideoRecord] = {}
    for n in range(draw(st.integers(0, 20))):
        dataset, name, part = draw(st.sampled_from(["ffpp", "d"])), f"v{n}", draw(parts)
        people = draw(st.lists(names, min_size=1, max_size=2, unique=True))
        if draw(st.booleans()):
            people = [*people, f"own{n}"][-1:]
        if draw(st.booleans()):
            video = real(name, *people, dataset=dataset, part=part)
        else:
            video = fake(name, f"v{draw(st.integers(0, 30))}", *people, dataset=dataset, part=part)
        videos[video.key] = replace(video, official_split=draw(official))
    return list(videos.values())


def pairwise_leaks(videos: Sequence[VideoRecord], rows: Sequence[tuple[int, str]]) -> Iterator[tuple[object, ...]]:
    """Each leak by its definition: what one row of a split shares with one of another."""
    source = {name: "+".join(pair) for pair in SAME_SOURCE for name in pair}
    for (place, side), (other_place, other_side) in ((a, b) for a in rows for b in rows):
        if (side, other_side) not in PAIRS:
            continue
        a, b = videos[place], videos[other_place]
        if place == other_place:
            yield "video", side, other_side, a.key
            continue
        for key in {a.key, a.original} & {b.key, b.original} - {None}:
            yield "original", side, other_side, key
        if a.dataset != b.dataset:
            continue
        for name in set(a.identities) & set(b.identities):
            yield "identity", side, other_side, f"{a.dataset}/{name}"
        for name in a.identities if a.dataset == "ffpp" else ():
            for other in b.identities:
                if name != other and name in source and source[name] == source.get(other):
                    yield "source", side, other_side, f"ffpp/{source[name]}"


@settings(max_examples=200, deadline=None)
@given(data_sets(), st.data())
def test_finds_what_any_two_rows_share_and_nothing_else(videos: list[VideoRecord], data: st.DataObject) -> None:
    row = st.tuples(st.integers(0, max(0, len(videos) - 1)), st.sampled_from([*SPLITS, ""]))
    rows = data.draw(st.lists(row, max_size=30)) if videos else []
    found = find_leaks(videos, np.array([p for p, _ in rows], np.int64), np.array([s for _, s in rows], "U5"))
    mine = {(leak.kind, *leak.splits, name) for leak in found for name in leak.names}
    assert sum(len(leak.names) for leak in found) == len(mine)
    wanted = set(pairwise_leaks(videos, rows))
    people: dict[str, set[str]] = defaultdict(set)
    for place, side in rows:
        people[side] |= set(videos[place].identities) if videos[place].dataset == "ffpp" else set()
    for _, one, other, name in {leak for leak in wanted - mine if leak[0] == "source"}:
        both = set(str(name).rpartition("/")[2].split("+")) & people[str(one)] & people[str(other)]
        if len(both) > 1:  # see test_both_clips_of_a_source_on_both_sides
            wanted.discard(("source", one, other, name))
    assert mine == wanted


@settings(max_examples=150, deadline=None)
@given(data_sets(), st.integers(0, 3), st.sampled_from([IdentitySplit, PartSplit, StrictSplit]))
def test_protocols_without_leaks_have_none(
    videos: list[VideoRecord], seed: int, make: type[IdentitySplit | PartSplit | StrictSplit]
) -> None:
    protocol = make(0.2, 0.2, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            chosen = protocol.assign(videos)
        except SplitError:
            return
    found = find_leaks(videos, np.arange(len(videos)), np.array([chosen.get(v.key, "") for v in videos], "U5"))
    assert {leak.kind for leak in found} <= protocol.declares
    assert not protocol.declares & {"video", "original"}


def ffpp() -> list[VideoRecord]:
    """As FaceForensics++ is: pairs who swap faces, and sources whose clips stand in different official splits."""
    videos = []
    crossing = [tuple(pair.split("/")) for pair in OFFICIALLY_APART.split()]
    for n, pair in enumerate([*((f"{2 * k:03d}", f"{2 * k + 1:03d}") for k in range(12)), *crossing]):
        for side, name in enumerate(pair):
            official = SPLITS[n % 3 if n < 12 else (n + side) % 3]
            videos += [replace(real(name), official_split=official)]
            videos += [replace(fake(f"{name}_x", name, name), official_split=official)]
    return videos


@pytest.mark.filterwarnings("ignore:PaperSplit:UserWarning")
@pytest.mark.parametrize(
    ("protocol", "kinds"),
    [
        (IdentitySplit(0.2, 0.2), set()),
        (StrictSplit(), set()),
        (OfficialSplit(), {"source"}),
        (PaperSplit(), {"video", "original", "identity", "source"}),
    ],
)
def test_what_the_protocols_declare_is_what_they_do(protocol: SplitProtocol, kinds: set[str]) -> None:
    videos = ffpp()
    rows = np.repeat(np.arange(len(videos)), 4)
    found = find_leaks(videos, rows, protocol.assign_rows(videos, rows))
    assert {leak.kind for leak in found} == kinds
    assert kinds <= protocol.declares
    if kinds == {"source"}:
        assert sum(len(leak.names) for leak in found) == 7


def test_leaks_of_a_manifest(tmp_path: Path) -> None:
    videos: dict[VideoRecord, Split | None] = {
        real("605"): "train",
        real("606"): None,
        fake("606_000", "606", "606", "000"): "test",
        fake("605_001", "605", "605", "001"): "val",
    }
    manifest = crops_of(tmp_path, videos)
    assert manifest_leaks(manifest) == [
        Leak("original", ("train", "val"), ("ffpp/original/-/605",)),
        Leak("identity", ("train", "val"), ("ffpp/605",)),
        Leak("source", ("train", "test"), ("ffpp/605+606",)),
        Leak("source", ("val", "test"), ("ffpp/605+606",)),
    ]
    split = manifest.column("split")
    split[0] = "test"  # one of two frames
    assert manifest_leaks(manifest.with_splits(split))[0] == Leak("video", ("train", "test"), ("ffpp/original/-/605",))


def test_a_manifest_holds_what_its_protocol_declares(tmp_path: Path) -> None:
    empty = crops_of(tmp_path, [])
    assert declared(empty) == frozenset()
    assert declared(empty.with_splits([], OfficialSplit().spec)) == {"source"}
    empty.with_splits([], PaperSplit().spec).write()
    assert declared(Manifest.read(tmp_path)) == PaperSplit.declares


LEAKS = (
    Leak("original", ("train", "test"), ("d/original/-/a", "d/original/-/b")),
    Leak("source", ("val", "test"), ("ffpp/605+606",)),
)


def test_leaks_for_people() -> None:
    assert str(LEAKS[1]) == "source: val and test share 1 (ffpp/605+606)"
    many = Leak("identity", ("train", "val"), tuple(f"p{n:04d}" for n in range(1200)))
    assert str(many) == "identity: train and val share 1,200 (p0000, p0001, p0002, …)"
    assert "…" not in str(many._replace(names=many.names[:3]))


def test_declared_leaks_warn() -> None:
    with pytest.warns(UserWarning) as caught:
        judge(LEAKS, {"original", "source"}, allow_leakage=False)
    assert [str(warning.message) for warning in caught] == [
        f"Leak, declared by the split protocol: {leak}. Results are stamped as leaky." for leak in LEAKS
    ]
    assert {warning.filename for warning in caught} == {__file__}


def test_undeclared_leaks_are_refused_by_name() -> None:
    with pytest.raises(LeakageError, match=r"leak: original: train and test share 2 \(d/original/-/a, ") as raised:
        judge(LEAKS, {"source"}, allow_leakage=False)  # and no warning before it
    assert "source" not in str(raised.value), "only what is refused is named"
    assert "StrictSplit" in str(raised.value)
    assert "allow_leakage true" in str(raised.value)
    assert raised.value.status == 1
    with pytest.raises(LeakageError, match=r"original: .*; source: "):
        judge(LEAKS, (), allow_leakage=False)


def test_allowed_leaks_warn() -> None:
    with pytest.warns(UserWarning) as caught:
        judge(LEAKS, {"source"}, allow_leakage=True)
    first, second = (str(warning.message) for warning in caught)
    assert first.startswith("Leak, allowed by allow_leakage: original: train and test share 2")
    assert second.startswith("Leak, declared by the split protocol: source")


@pytest.mark.parametrize("allow_leakage", [False, True])
def test_without_leaks_there_is_nothing_to_say(allow_leakage: bool) -> None:
    judge([], (), allow_leakage)
