from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.synth.encode import write_mask
from resgat_pl.data.synth.generate import SynthesisSummary, synthesize
from resgat_pl.data.synth.plan import METHOD_KINDS, LayoutName

from ...helpers.folders import stamps, tree

TINY: dict[str, Any] = {"videos": 8, "fakes_per_real": 2, "frames": 2, "size": 128}


class Made(NamedTuple):
    root: Path
    summary: SynthesisSummary
    record: dict[str, Any]


def read_video(path: Path) -> NDArray[np.uint8]:
    return np.stack([frame.image for frame in FrameReader([path], "video").read(range(99))])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LayoutName], Made]:
    """By layout a set, made once."""

    @cache
    def make(layout: LayoutName) -> Made:
        root = tmp_path_factory.mktemp("synth") / layout
        videos, fakes = {"ffpp": (36, 2), "dfdc": (32, 3), "celebdf": (24, 2)}[layout]
        summary = synthesize(root, layout=layout, videos=videos, fakes_per_real=fakes, frames=4, size=160, jobs=1)
        return Made(root, summary, json.loads((root / "synth.json").read_text()))

    return make


@pytest.fixture(scope="module")
def ffpp(made: Callable[[LayoutName], Made]) -> Made:
    return made("ffpp")


def test_ffpp_has_the_names_of_the_real_set(ffpp: Made) -> None:
    patterns = {
        r"original_sequences/youtube/c23/videos/\d{3}\.mp4": 30,
        r"original_sequences/actors/c23/videos/\d\d__[a-z_]+\.mp4": 6,
        r"manipulated_sequences/DeepFakeDetection/c23/videos/\d\d_\d\d__[a-z_]+__[A-Z0-9]{8}\.mp4": 12,
        r"manipulated_sequences/DeepFakeDetection/masks/videos/\d\d_\d\d__[a-z_]+__[A-Z0-9]{8}\.mp4": 12,
        r"splits/(train|val|test)\.json": 3,
        r"synth\.json": 1,
    }
    for method in METHOD_KINDS.keys() - {"DeepFakeDetection"}:
        for part in ("c23", "masks"):
            patterns[rf"manipulated_sequences/{method}/{part}/videos/\d{{3}}_\d{{3}}\.mp4"] = 12
    counts = Counter(
        next((pattern for pattern in patterns if re.fullmatch(pattern, name)), name) for name in tree(ffpp.root)
    )
    assert counts == patterns


@pytest.mark.parametrize(
    ("layout", "genuine", "fakes"),
    [("ffpp", 36, 72), pytest.param("dfdc", 32, 96, marks=pytest.mark.long), ("celebdf", 24, 44)],
)
def test_sets_are_read_without_a_problem(
    layout: LayoutName, genuine: int, fakes: int, made: Callable[[LayoutName], Made]
) -> None:
    root, summary, record = made(layout)
    index = detect_layout(root).index(root)
    assert {r.dataset for r in index.records} == {layout}
    assert index.problems == ()
    assert Counter(r.label for r in index.records) == {REAL: genuine, FAKE: fakes}
    assert (summary.genuine, summary.fakes, len(record["fakes"])) == (genuine, fakes, fakes)
    assert all((root / name).is_file() for name in record["fakes"])
    assert set(summary.kinds) == {fake["kind"] for fake in record["fakes"].values()} == set(METHOD_KINDS.values())
    keys = {r.key for r in index.records}
    assert all(r.original in keys and (r.mask is not None) == (layout == "ffpp") for r in index.records if r.label)
    assert layout == "ffpp" or not list(root.rglob("*mask*"))


def test_ffpp_has_as_many_fakes_of_each_kind_and_official_splits(ffpp: Made) -> None:
    assert ffpp.summary.kinds == dict.fromkeys(METHOD_KINDS.values(), 12)
    assert ffpp.record["methods"] == METHOD_KINDS
    assert all(fake["kind"] == METHOD_KINDS[name.split("/")[1]] for name, fake in ffpp.record["fakes"].items())
    for record in FFPP().scan(ffpp.root)[0]:
        if record.method != "DeepFakeDetection" and "__" not in record.video:
            assert record.official_split is not None


def test_dfdc_has_real_and_fake_in_each_part(made: Callable[[LayoutName], Made]) -> None:
    root = made("dfdc").root
    records, _ = DFDC().scan(root)
    assert len({record.part for record in records}) >= 4
    assert all(re.fullmatch("[a-z]{10}", record.video) for record in records)
    for part in {record.part for record in records}:
        assert {record.label for record in records if record.part == part} == {REAL, FAKE}
        metadata = json.loads((root / part / "metadata.json").read_text())
        assert {path.name for path in (root / part).glob("*.mp4")} == metadata.keys()


def test_celebdf_has_other_people_in_the_test(made: Callable[[LayoutName], Made]) -> None:
    root = made("celebdf").root
    records, _ = CelebDF().scan(root)
    people: dict[str | None, set[str]] = {"test": set(), None: set()}
    labels: dict[str | None, set[int]] = {"test": set(), None: set()}
    for record in records:
        people[record.official_split].update(record.identities)
        labels[record.official_split].add(record.label)
    assert people["test"].isdisjoint(people[None])
    assert labels == {"test": {REAL, FAKE}, None: {REAL, FAKE}}
    listed = (root / "List_of_testing_videos.txt").read_text().splitlines()
    assert len(listed) == sum(record.official_split == "test" for record in records)


def test_celebdf_shows_the_same_person_in_all_clips_of_one_name(made: Callable[[LayoutName], Made]) -> None:
    clips = sorted((made("celebdf").root / "Celeb-real").iterdir())
    means = {clip.stem: read_video(clip)[0][50:110, 50:110].mean(axis=(0, 1)) for clip in clips}
    between: list[float] = []
    within: list[float] = []
    for one, other in combinations(means, 2):
        distance = float(np.abs(means[one] - means[other]).mean())
        (within if one.split("_")[0] == other.split("_")[0] else between).append(distance)
    assert np.mean(within) < 0.6 * np.mean(between)


def test_decoded_fakes_differ_inside_the_mask(ffpp: Made) -> None:
    for name, fake in list(ffpp.record["fakes"].items())[::3]:
        genuine, altered = read_video(ffpp.root / fake["original"]), read_video(ffpp.root / name)
        mask = read_video(ffpp.root / name.replace("/c23/", "/masks/"))[..., 0] > 1
        assert genuine.shape == altered.shape == (*mask.shape, 3) == (4, 160, 160, 3)
        change = np.abs(genuine.astype(int) - altered).mean(axis=-1)
        assert mask.any(axis=(1, 2)).all()
        assert change[mask].mean() > 1.8 * change[~mask].mean(), name


def test_masks_decode_to_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 128, 128), bool)
    for mask in masks:
        x, y = rng.integers(10, 80, 2)
        mask[y : y + 33, x : x + 27] = True
    write_mask(tmp_path / "mask.mp4", masks)
    decoded = read_video(tmp_path / "mask.mp4")
    assert np.array_equal(decoded[..., 0] > 1, masks)
    assert decoded[masks].min() > 240


@pytest.mark.parametrize("layout", ["ffpp", "dfdc", "celebdf"])
def test_the_files_do_not_give_the_label_away(layout: LayoutName, made: Callable[[LayoutName], Made]) -> None:
    root, _, record = made(layout)
    fakes = record["fakes"]
    names = [*fakes, *dict.fromkeys(fake["original"] for fake in fakes.values())]
    labels = [name in fakes for name in names]
    sizes = [(root / name).stat().st_size for name in names]
    assert 0.4 < roc_auc_score(labels, sizes) < 0.6
    assert {read_video(root / name).shape for name in names[::5]} == {(4, 160, 160, 3)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny set."""
    root = tmp_path_factory.mktemp("whole") / "set"
    assert synthesize(root, jobs=1, **TINY).made
    return root


def test_same_request_same_bytes_whatever_the_jobs(whole: Path, tmp_path: Path) -> None:
    two, other = tmp_path / "two", tmp_path / "other"
    synthesize(two, jobs=2, **TINY)
    assert tree(whole) == tree(two)
    synthesize(other, jobs=1, seed=1, **TINY)
    clip = "original_sequences/youtube/c23/videos/000.mp4"
    assert tree(whole)[clip] != tree(other)[clip]


@pytest.mark.long
def test_clips_forged_in_part_are_listed_and_made_again_alike(whole: Path, tmp_path: Path) -> None:
    parts, again = tmp_path / "parts", tmp_path / "again"
    wanted = {**TINY, "frames": 4, "span": 0.5, "flicker": 0.5}
    synthesize(parts, jobs=1, **wanted)
    synthesize(again, jobs=2, **wanted)
    assert tree(parts) == tree(again)
    assert "span" not in json.loads((whole / "synth.json").read_text())["request"], "other sets stay what they were"
    record = json.loads((parts / "synth.json").read_text())
    for name, fake in record["fakes"].items():
        first, last = fake["altered_frames"]
        assert last - first == 2
        mask = parts / name.replace("/c23/", "/masks/")
        covered = (read_video(mask) > 1).any(axis=(1, 2, 3)).tolist()
        assert covered == [first <= number < last for number in range(4)]


def test_a_finished_set_is_left_alone_and_an_interrupted_one_is_made_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    before = stamps(whole)
    again = synthesize(whole, jobs=1, **TINY)
    assert not again.made
    assert again.fakes == 16
    assert before == stamps(whole)

    with monkeypatch.context() as patch:
        calls = []

        def interrupted(*args: Any) -> None:
            calls.append(args)
            if len(calls) == 5:
                raise KeyboardInterrupt

        patch.setattr("resgat_pl.data.synth.generate.write_video", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesize(broken, jobs=1, **TINY)
    stray = broken / "original_sequences/youtube/c23/videos/999.mp4"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"half a clip of the interrupted run")
    assert not (broken / "synth.json").exists()
    assert synthesize(broken, jobs=1, **TINY).made
    assert tree(broken) == tree(whole)

    with pytest.raises(ConfigError, match="holds another set"):
        synthesize(whole, jobs=1, seed=1, **TINY)


def test_an_interrupted_set_of_another_layout_leaves_nothing_behind(tmp_path: Path) -> None:
    tiny = {**TINY, "frames": 1, "fakes_per_real": 1}
    layouts: tuple[LayoutName, ...] = ("celebdf", "dfdc")
    for layout in layouts:
        synthesize(tmp_path / layout, layout=layout, jobs=1, **tiny)
    (tmp_path / "celebdf/synth.json").rename(tmp_path / "celebdf/synth.unfinished.json")
    synthesize(tmp_path / "celebdf", layout="dfdc", jobs=1, **tiny)
    assert tree(tmp_path / "celebdf") == tree(tmp_path / "dfdc")


def test_refuses_a_folder_it_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="was not written by this command"):
        synthesize(tmp_path, **TINY)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    with pytest.raises(ConfigError, match="is no folder"):
        synthesize(tmp_path / "thesis.txt", **TINY)


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"fakes_per_real": 0}, {"fakes_per_real": 6}, {"frames": 0}, {"size": 129}, {"size": 64}, {"jobs": 0}],
        *[{"span": 0.0}, {"span": 1.5}, {"flicker": -0.1}, {"flicker": 1.0}],
    ],
)
def test_refuses_arguments_out_of_range(wrong: dict[str, float], tmp_path: Path) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ConfigError, match=f"{name}: {value}"):
        synthesize(tmp_path / "out", **{**TINY, **wrong})
    assert not (tmp_path / "out").exists()
