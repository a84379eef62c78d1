"""Protocols on videos that share people, originals or parts in any way."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord
from resgat_pl.data.manifest.class_counts import SPLITS, check_splits, class_counts
from resgat_pl.data.splits.paper import PAPER_COUNTS, PaperSplit
from resgat_pl.data.splits.protocols import IdentitySplit, OfficialSplit, PartSplit, SplitProtocol, StrictSplit

from ...helpers.records import assert_apart, count, fake, families, real


@st.composite
def data_sets(draw: st.DrawFn) -> list[VideoRecord]:
    """Any records at all: shared people, chains of originals, originals that are not there, parts or none."""
    names = st.integers(0, draw(st.sampled_from([3, 30, 300])))
    videos: dict[str, VideoRecord] = {}
    for n in range(draw(st.integers(0, 25))):
        people = [f"p{p}" for p in draw(st.lists(names, min_size=1, max_size=2, unique=True))]
        part = f"part{draw(st.integers(0, 4))}"
        if draw(st.booleans()):
            video = real(f"v{n}", *people, part=part)
        else:
            video = replace(fake(f"v{n}", f"v{draw(names)}", part=part), identities=tuple(people))
        videos[video.key] = video
    return list(videos.values())


@given(data_sets(), st.integers(0, 3), st.sampled_from([(0.14, 0.14), (0.2, 0.0), (0.0, 0.0), (0.3, 0.5)]))
@settings(max_examples=300, deadline=None)
def test_identity_split_of_anything(videos: list[VideoRecord], seed: int, shares: tuple[float, float]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = IdentitySplit(*shares, seed).assign(videos)
    assert chosen.keys() == {video.key for video in videos}
    allowed = {split for split, share in zip(SPLITS, (1 - sum(shares), *shares), strict=True) if share}
    assert set(chosen.values()) <= allowed
    if not caught:
        assert_apart(videos, chosen)
    else:  # even then no original stands apart from its fakes
        split_of: dict[str, Split] = {}
        for video in videos:
            assert split_of.setdefault(video.original or video.key, chosen[video.key]) == chosen[video.key]


@given(data_sets(), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_part_split_of_anything(videos: list[VideoRecord], seed: int) -> None:
    try:
        chosen = PartSplit(seed=seed).assign(videos)
    except SplitError as error:
        assert "IdentitySplit" in str(error)
        return
    assert chosen.keys() == {video.key for video in videos}
    assert_apart(videos, chosen)
    for part in {video.part for video in videos}:
        assert len({chosen[video.key] for video in videos if video.part == part}) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # random records often hang together; that is tested elsewhere
@given(data_sets(), st.randoms(use_true_random=False), st.integers(0, 3), st.data())
@settings(max_examples=200, deadline=None)
def test_order_of_the_records_does_not_matter(
    videos: list[VideoRecord], rng: random.Random, seed: int, data: st.DataObject
) -> None:
    protocols: list[SplitProtocol] = [IdentitySplit(seed=seed), PartSplit(seed=seed), StrictSplit(seed=seed)]
    official: Split | None = data.draw(st.sampled_from([None, *SPLITS]))
    some = [replace(v, official_split=official) if rng.random() < 0.5 else v for v in videos]
    other = rng.sample(some, len(some))
    for protocol in protocols:
        outcomes: list[object] = []
        for order in (some, other):
            try:
                outcomes.append(protocol.assign(order))
            except SplitError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


@given(st.integers(0, 5), st.integers(20, 120), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_shares_are_kept_for_each_class(seed: int, size: int, fakes: int) -> None:
    videos = families(size, fakes)
    counts = count(videos, IdentitySplit(0.2, 0.1, seed).assign(videos))
    for label, total in ((REAL, size), (FAKE, size * fakes)):
        largest = 1 if label == REAL else fakes
        for split, share in zip(SPLITS, (0.7, 0.2, 0.1), strict=True):
            assert (
                abs(counts[split][label] - share * total) < 2 * largest
            )  # no more than a group off, for each small split


@st.composite
def crowds(draw: st.DrawFn) -> list[VideoRecord]:
    """Groups of people of any size, at least three of them with both classes."""
    sizes = st.integers(1, 20)
    groups = draw(st.lists(st.tuples(sizes, sizes), min_size=3, max_size=6))
    groups += draw(st.lists(st.tuples(sizes, st.just(0)) | st.tuples(st.just(0), sizes), max_size=10))
    reals = [real(f"{g}r{n}", f"g{g}") for g, sizes in enumerate(groups) for n in range(sizes[0])]
    fakes = [
        replace(fake(f"{g}f{n}", f"g{g}"), original=None) for g, sizes in enumerate(groups) for n in range(sizes[1])
    ]
    return reals + fakes


@pytest.mark.filterwarnings("ignore:.*hang together:UserWarning")
@given(crowds(), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_three_groups_of_both_classes_are_enough(videos: list[VideoRecord], seed: int) -> None:
    chosen = IdentitySplit(seed=seed).assign(videos)
    check_splits(class_counts([v.label for v in videos], [chosen[v.key] for v in videos]))
    parts = [replace(v, part=v.identities[0]) for v in videos]
    chosen = PartSplit(seed=seed).assign(parts)
    check_splits(class_counts([v.label for v in videos], [chosen[v.key] for v in videos]))


def test_a_rare_class_is_shared_out_as_evenly_as_a_common_one() -> None:
    videos = [real(f"r{n:03d}", f"g{n}") for n in range(20)]
    videos += [replace(fake(f"f{n:04d}", f"g{n % 200}"), original=None) for n in range(4000)]
    for seed in range(10):
        counts = count(videos, IdentitySplit(0.2, 0.2, seed).assign(videos))
        assert counts["val"] == counts["test"] == (4, 800)


def test_a_large_group_does_not_overfill_a_small_split() -> None:
    crowd = [real(f"c{n:02d}", "crowd") for n in range(50)] + [fake(f"cf{n:02d}", "crowd") for n in range(50)]
    videos = crowd + families(100, 1)
    for seed in range(10):
        counts = count(videos, IdentitySplit(seed=seed).assign(videos))
        assert {counts[split] for split in ("val", "test")} == {(21, 21)}


@pytest.mark.parametrize("make", [IdentitySplit, PartSplit, StrictSplit])
def test_seeds_matter(make: Callable[..., SplitProtocol]) -> None:
    videos = families(60, parts=20)
    assert make(seed=0).assign(videos) != make(seed=1).assign(videos)


def test_same_in_another_process() -> None:
    code = (
        "import pickle, sys, warnings; import numpy as np;"
        "from resgat_pl.data.splits import IdentitySplit, PaperSplit, PartSplit;"
        "warnings.simplefilter('ignore');"
        "videos = pickle.load(sys.stdin.buffer); rows = np.arange(len(videos)).repeat(3);"
        "print([p.assign_rows(videos, rows).tolist() for p in (IdentitySplit(), PartSplit(), PaperSplit(seed=3))])"
    )
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            input=pickle.dumps(families(30, parts=10)),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert b"test" in outputs.pop()


def test_pinned_outcome() -> None:
    """A change of the algorithm moves published results: it must be on purpose."""
    chosen = IdentitySplit(0.25, 0.25, seed=7).assign(families(8, 1))
    assert "".join(chosen[f"d/original/-/v{n:04d}"][1] for n in range(8)) == "erraerra"
    with pytest.warns(UserWarning, match="frames of one video"):
        rows = PaperSplit(0.25, 0.25, seed=7).assign_rows(families(2, 1), np.arange(4).repeat(4))
    assert "".join(split[1] for split in rows) == "arrereaearerrrra"


def test_people_who_all_hang_together_are_split_by_original_with_a_warning() -> None:
    videos = [real(f"{a:02d}__{s}", f"{a:02d}") for a in range(12) for s in range(5)]
    videos += [
        replace(fake(f"{a:02d}_{b:02d}__{s}", f"{a:02d}__{s}"), identities=(f"{a:02d}", f"{b:02d}"))
        for a in range(12)
        for s in range(5)
        for b in (a + 1, a + 2, a + 5)
    ]
    with pytest.warns(UserWarning, match="240 of 240 videos hang together"):
        chosen = IdentitySplit().assign(videos)
    counts = count(videos, chosen)
    assert all(min(pair) > 0 for pair in counts.values())
    for video in videos:
        assert chosen[video.original or video.key] == chosen[video.key]


def test_part_split_says_what_is_missing() -> None:
    with pytest.raises(SplitError, match=r"2 parts make 2 groups .*too few for train, val, test.*IdentitySplit"):
        PartSplit().assign(families(6, parts=2))
    assert set(PartSplit(val=0.2, test=0).assign(families(6, parts=2)).values()) == {"train", "val"}
    with pytest.raises(SplitError, match="5 videos are in no part, such as d/original/-/v0000"):
        PartSplit().assign(families(1) + families(6, parts=3)[5:])
    tied = [*families(6, parts=3), real("x", "v0000", part="part_1")]
    with pytest.raises(SplitError, match="3 parts make 2 groups"):
        PartSplit().assign(tied)


@given(st.lists(st.integers(0, 12), min_size=5, max_size=5), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore:PaperSplit:UserWarning")
def test_paper_split_cuts_each_class_exactly(sizes: list[int], seed: int, rng: random.Random) -> None:
    videos = [real("a"), fake("b", "a"), real("c"), fake("e", "c"), fake("f", "c")]
    rows = np.repeat(np.arange(5), sizes)
    splits = PaperSplit(0.1, 0.2, seed).assign_rows(videos, rows)
    assert splits.dtype == np.dtype("U5")
    labels = np.array([v.label for v in videos])[rows]
    for label in (REAL, FAKE):
        total = int(np.sum(labels == label))
        assert np.sum(splits[labels == label] == "test") == round(0.2 * total)
        assert np.sum(splits[labels == label] == "val") == round(0.1 * (total - round(0.2 * total)))
    order = rng.sample(range(5), 5)  # the same videos in another order, with their rows
    moved = PaperSplit(0.1, 0.2, seed).assign_rows(
        [videos[n] for n in order], np.repeat(np.arange(5), np.array(sizes)[order])
    )
    for place, n in enumerate(order):
        mine = moved[np.repeat(np.arange(5), np.array(sizes)[order]) == place]
        assert mine.tolist() == splits[rows == n].tolist()


def test_paper_split_of_the_papers_counts() -> None:
    videos = [real("a"), fake("b", "a")]
    rows = np.repeat([0, 1], [275_620, 375_315])
    with pytest.warns(UserWarning, match="frames of one video"):
        splits = PaperSplit(val=0.0).assign_rows(videos, rows)
    counts = class_counts(rows, splits)
    assert counts["train"] == (220_496, 300_252)
    assert counts["test"] == (55_124, 75_063)
    assert counts["val"] == (0, 0)


@pytest.mark.parametrize(("share", "counts"), [(1.0, PAPER_COUNTS["dfdc"]), (0.1, None)])
@pytest.mark.filterwarnings("ignore:PaperSplit:UserWarning")
def test_paper_split_of_dfdc_takes_the_papers_counts(share: float, counts: dict[Split, tuple[int, int]] | None) -> None:
    videos = [real("a", dataset="dfdc"), fake("b", "a", dataset="dfdc")]
    rows = np.repeat([0, 1], [int(share * 60_000), int(share * 400_000)])
    found = class_counts(rows, PaperSplit().assign_rows(videos, rows))
    if counts is not None:
        assert {"val": (0, 0), **counts} == found
    for split in ("train", "test"):  # fewer crops: all reduced alike
        paper = PAPER_COUNTS["dfdc"][split]  # type: ignore[index]
        assert found[split][0] / found[split][1] == pytest.approx(paper.real / paper.fake, rel=0.01)
    assert sum(found["train"]) + sum(found["test"]) < len(rows)


def test_paper_split_sets_validation_aside_from_training() -> None:
    videos = [real("a"), fake("b", "a")]
    rows = np.repeat([0, 1], [100, 300])
    with pytest.warns(UserWarning, match="PaperSplit"):
        without, with_val = (PaperSplit(val).assign_rows(videos, rows) for val in (0.0, 0.1))
    assert ((without == "test") == (with_val == "test")).all()
    assert class_counts(rows, with_val)["val"] == (8, 24)


def test_only_the_paper_split_leaks() -> None:
    kinds = (OfficialSplit, PartSplit, IdentitySplit, PaperSplit, StrictSplit)
    assert {kind for kind in kinds if "video" in kind.declares} == {PaperSplit}
    assert {kind for kind in kinds if kind.declares} == {PaperSplit, OfficialSplit}
    with pytest.raises(SplitError, match="extract first"):
        PaperSplit().assign(families(3))


@pytest.mark.parametrize("protocol", [IdentitySplit(), PartSplit(), StrictSplit()])
def test_rows_follow_their_video(protocol: SplitProtocol) -> None:
    videos = families(12, parts=6)
    rows = np.random.default_rng(0).integers(0, len(videos), 500)
    chosen = protocol.assign(videos)
    splits = protocol.assign_rows(videos, rows)
    assert splits.dtype == np.dtype("U5")
    assert splits.tolist() == [chosen[videos[row].key] for row in rows]
    assert protocol.assign_rows(videos, rows[:0]).shape == (0,)


@pytest.mark.parametrize("make", [IdentitySplit, PartSplit, PaperSplit, StrictSplit])
@pytest.mark.parametrize(
    "bad", [{"val": -0.1}, {"test": 1.0}, {"val": 0.5, "test": 0.5}, {"val": float("nan")}, {"seed": -1}]
)
def test_bad_options(make: Callable[..., SplitProtocol], bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        make(**bad)
