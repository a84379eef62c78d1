from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.synth.alterations import KINDS
from resgat_pl.data.synth.blend import REGIONS
from resgat_pl.data.synth.plan import METHOD_KINDS, LayoutName, Plan, make_plan

plans = st.builds(
    make_plan,
    layout=st.sampled_from(["ffpp", "dfdc", "celebdf"]),
    videos=st.integers(10, 100).map(lambda half: 2 * half),
    fakes_per_real=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)


def fakes_of(plan: Plan) -> list[tuple[str, str]]:
    return [(fake.kind, fake.region) for shot in plan.shots for fake in shot.fakes]


def test_methods_and_kinds_are_one_to_one() -> None:
    assert sorted(METHOD_KINDS.values()) == sorted(KINDS)
    assert len(KINDS) >= 6


@settings(max_examples=40, deadline=None)
@given(plans)
def test_files_are_unique_and_regions_even_within_every_kind(plan: Plan) -> None:
    files = [file for shot in plan.shots for file in (shot.video, *(fake.video for fake in shot.fakes))]
    masks = [fake.mask for shot in plan.shots for fake in shot.fakes if fake.mask]
    assert len({*files, *masks}) == len(files) + len(masks)
    for kind in KINDS:
        counts = Counter(region for other, region in fakes_of(plan) if other == kind)
        numbers = [counts[region] for region in REGIONS]
        assert max(numbers) - min(numbers) <= 1


def test_no_region_has_a_fifth_of_the_fakes() -> None:
    layouts: tuple[LayoutName, ...] = ("ffpp", "dfdc", "celebdf")
    for layout in layouts:
        counts = Counter(region for _, region in fakes_of(make_plan(layout, 60, 2, seed=0)))
        assert max(counts.values()) < 0.2 * counts.total()
        assert counts.keys() == REGIONS.keys()


def test_centres_are_spread_over_the_face() -> None:
    centres = np.array([region[:2] for name, region in REGIONS.items() if name != "whole_face"])
    assert np.abs(centres[:, 0].sum()) < 1e-9, "left and right weigh the same"
    # The face is 2 wide and 2.8 high, and no two regions share a place.
    assert np.ptp(centres[:, 0]) > 1.6
    assert np.ptp(centres[:, 1]) > 1.6
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + 9 * np.eye(len(centres))
    assert distances.min() > 0.3


@settings(max_examples=30, deadline=None)
@given(st.integers(15, 100).map(lambda half: 2 * half), st.integers(1, 5))
def test_kinds_are_even_and_independent_of_the_split(videos: int, fakes: int) -> None:
    plan = make_plan("ffpp", videos, fakes, seed=1)
    kinds = Counter(kind for kind, _ in fakes_of(plan))
    youtube = [count for kind, count in kinds.items() if kind != METHOD_KINDS["DeepFakeDetection"]]
    assert max(youtube) - min(youtube) <= 2, "methods rotate over pairs"
    assert 0.5 < kinds[METHOD_KINDS["DeepFakeDetection"]] / np.mean(youtube) < 2


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 200).map(lambda half: 2 * half))
def test_splits_cover_the_youtube_clips_in_the_official_ratio(videos: int) -> None:
    plan = make_plan("ffpp", videos, 1, seed=2)
    clips = {shot.people[0] for shot in plan.shots if "/youtube/" in shot.video}
    splits = {name: plan.documents[f"splits/{name}.json"] for name in ("train", "val", "test")}
    ids = {name: {clip for pair in pairs for clip in pair} for name, pairs in splits.items()}  # type: ignore[attr-defined]  # documents hold plain JSON values
    assert set.union(*ids.values()) == clips
    assert sum(map(len, ids.values())) == len(clips)
    for name, share in (("val", 0.14), ("test", 0.14), ("train", 0.72)):
        assert abs(len(ids[name]) - share * len(clips)) <= 4
        assert ids[name]


def test_dfdc_keeps_a_fake_in_the_part_of_its_original() -> None:
    plan = make_plan("dfdc", 40, 3, seed=0)
    folders = [shot.video.partition("/")[0] for shot in plan.shots]
    assert len(set(folders)) >= 4
    for shot, folder in zip(plan.shots, folders, strict=True):
        assert {fake.video.partition("/")[0] for fake in shot.fakes} == {folder}
    two = [shot for shot in plan.shots if len(shot.people) == 2]
    assert 1 <= len(two) <= 10
    assert {fake.face for shot in two for fake in shot.fakes} == {0, 1}


celebdf_plans = st.tuples(st.integers(1, 5), st.integers(0, 120), st.integers(0, 2**32)).map(
    lambda drawn: make_plan("celebdf", 3 * drawn[0] + 5 + drawn[1], drawn[0], drawn[2])
)


def swaps_of(plan: Plan) -> list[tuple[str, str]]:
    """Return (target, source) of every fake, by their names in the file's name."""
    names = [fake.video.rpartition("/")[2].split("_") for shot in plan.shots for fake in shot.fakes]
    return [(name[0], name[1]) for name in names]


def groups_of(plan: Plan) -> list[set[str]]:
    """Return the people who swap faces with each other, directly or through others."""
    groups = [{person} for shot in plan.shots for person in shot.people]
    for pair in swaps_of(plan):
        tied = [group for group in groups if not group.isdisjoint(pair)]
        groups = [group for group in groups if group.isdisjoint(pair)] + [set(pair).union(*tied)]
    return [group for group in groups if any(person.startswith("id") for person in group)]


@settings(max_examples=60, deadline=None)
@given(celebdf_plans)
def test_celebdf_swaps_both_ways_within_separate_groups_of_even_kinds(plan: Plan) -> None:
    fakes = len(plan.shots[0].fakes)
    pairs = Counter(swaps_of(plan))
    assert all(target != source and (source, target) in pairs for target, source in pairs)
    groups = groups_of(plan)
    assert len(groups) >= 3, "one for each of train, val and test"
    assert {len(group) for group in groups} == {fakes + 1}
    kinds = Counter(kind for kind, _ in fakes_of(plan))
    assert max(kinds.values()) - min(kinds[kind] for kind in KINDS) <= 1
    for group in groups:
        here = Counter(fake.kind for shot in plan.shots if shot.people[0] in group for fake in shot.fakes)
        assert max(here.values()) - min(here[kind] for kind in KINDS) <= 2
    clips = Counter(shot.people[0] for shot in plan.shots)
    assert max(clips.values()) - min(count for person, count in clips.items() if person.startswith("id")) <= 1
    for shot in plan.shots:
        folder, _, name = shot.video.removesuffix(".mp4").partition("/")
        assert folder in ("Celeb-real", "YouTube-real")
        assert len(shot.fakes) == (fakes if folder == "Celeb-real" else 0)
        for fake in shot.fakes:
            target, _, clip = fake.video.rpartition("/")[2].removesuffix(".mp4").split("_")
            assert f"{target}_{clip}" == name
            assert shot.people == (target,)


@settings(max_examples=60, deadline=None)
@given(celebdf_plans)
def test_celebdf_lists_whole_groups_for_the_test(plan: Plan) -> None:
    text = plan.documents["List_of_testing_videos.txt"]
    assert isinstance(text, str)
    listed = {video: label for label, video in (line.split() for line in text.splitlines())}
    videos = {shot.video: 1 for shot in plan.shots} | {fake.video: 0 for shot in plan.shots for fake in shot.fakes}
    assert all(int(label) == videos[video] for video, label in listed.items())
    assert {video.partition("/")[0] for video in listed} == {"Celeb-real", "YouTube-real", "Celeb-synthesis"}
    inside = {person for shot in plan.shots if shot.video in listed for person in shot.people}
    for shot in plan.shots:
        held_out = shot.people[0] in inside
        assert all((video in listed) == held_out for video in (shot.video, *(fake.video for fake in shot.fakes)))
    assert all(group <= inside or group.isdisjoint(inside) for group in groups_of(plan))
    assert len(listed) <= 0.42 * len(videos)


def test_celebdf_people_get_more_than_one_kind() -> None:
    plan = make_plan("celebdf", 60, 2, seed=0)
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for shot in plan.shots:
        for name in (shot.people[0], shot.video[-8:]):
            kinds[name].update(fake.kind for fake in shot.fakes)
    people = [person for person in kinds if person.startswith("id")]
    assert np.mean([len(kinds[person]) for person in people]) > 3, "a person's looks do not give the kind away"
    assert kinds["0000.mp4"] == kinds["0002.mp4"] == set(KINDS), "nor does the clip's number"
    clips = Counter(shot.people[0] for shot in plan.shots)
    assert {clips[person] for person in people} == {3}
    assert sum(count for person, count in clips.items() if person.startswith("youtube")) == 6


@pytest.mark.parametrize(
    ("layout", "videos"),
    [("ffpp", 7), ("ffpp", 9), ("ffpp", 6), ("ffpp", 1300), ("dfdc", 7), ("celebdf", 10), ("celebdf", 0)],
)
def test_refuses_a_number_of_videos_that_does_not_fit(layout: LayoutName, videos: int) -> None:
    with pytest.raises(ConfigError, match=f"videos: {videos}"):
        make_plan(layout, videos, 2, seed=0)


def test_another_seed_gives_another_plan() -> None:
    for one, other in pairwise(make_plan("ffpp", 20, 2, seed).documents["splits/train.json"] for seed in range(4)):
        assert one != other
