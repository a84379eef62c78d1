from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.synth.encode import write_mask
from resgat_pl.data.synth.generate import SynthesisSummary, synthesize
from resgat_pl.data.synth.plan import METHOD_KINDS, LayoutName

TINY: dict[str, Any] = {"videos": 8, "fakes_per_real": 2, "frames": 2, "size": 128}


class Made(NamedTuple):
    root: Path
    summary: SynthesisSummary
    record: dict[str, Any]


def read_video(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _made(root: Path, **request: Any) -> Made:
    summary = synthesize(root, **request)
    return Made(root, summary, json.loads((root / "synth.json").read_text()))


@pytest.fixture(scope="module")
def ffpp(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _made(tmp_path_factory.mktemp("synth") / "ffpp", videos=36, frames=4, size=160, jobs=2)


@pytest.fixture(scope="module")
def dfdc(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("synth") / "dfdc"
    return _made(root, layout="dfdc", videos=32, fakes_per_real=3, frames=4, size=160, jobs=2)


@pytest.fixture(scope="module")
def celebdf(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("synth") / "celebdf"
    return _made(root, layout="celebdf", videos=24, frames=4, size=160, jobs=2)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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
        next((pattern for pattern in patterns if re.fullmatch(pattern, name)), name) for name in digests(ffpp.root)
    )
    assert counts == patterns


def test_ffpp_is_read_without_a_problem(ffpp: Made) -> None:
    records, problems = FFPP().scan(ffpp.root)
    assert problems == []
    assert Counter(record.label for record in records) == {REAL: 36, FAKE: 72}
    keys = {record.key for record in records}
    for record in records:
        if record.label == FAKE:
            assert record.original in keys
            assert record.mask is not None
        if record.method != "DeepFakeDetection" and "__" not in record.video:
            assert record.official_split is not None
    assert ffpp.summary.kinds == dict.fromkeys(METHOD_KINDS.values(), 12)


def test_dfdc_is_read_without_a_problem(dfdc: Made) -> None:
    records, problems = DFDC().scan(dfdc.root)
    assert problems == []
    assert Counter(record.label for record in records) == {REAL: 32, FAKE: 96}
    keys = {record.key for record in records}
    assert all(record.original in keys for record in records if record.label == FAKE)
    assert len({record.part for record in records}) >= 4
    assert all(re.fullmatch("[a-z]{10}", record.video) for record in records)
    for part in {record.part for record in records}:
        assert {record.label for record in records if record.part == part} == {REAL, FAKE}
        metadata = json.loads((dfdc.root / part / "metadata.json").read_text())
        assert {path.name for path in (dfdc.root / part).glob("*.mp4")} == metadata.keys()
    assert not list(dfdc.root.rglob("*mask*"))


def test_celebdf_is_read_without_a_problem(celebdf: Made) -> None:
    index = CelebDF().index(celebdf.root)
    assert index.problems == ()
    assert Counter(record.label for record in index.records) == {REAL: 24, FAKE: 44}
    assert (celebdf.summary.genuine, celebdf.summary.fakes) == (24, 44)
    keys = {record.key for record in index.records}
    assert all(record.original in keys for record in index.records if record.label == FAKE)
    people: dict[str | None, set[str]] = {"test": set(), None: set()}
    labels: dict[str | None, set[int]] = {"test": set(), None: set()}
    for record in index.records:
        people[record.official_split].update(record.identities)
        labels[record.official_split].add(record.label)
    assert people["test"].isdisjoint(people[None])
    assert labels == {"test": {REAL, FAKE}, None: {REAL, FAKE}}
    listed = (celebdf.root / "List_of_testing_videos.txt").read_text().splitlines()
    assert len(listed) == sum(record.official_split == "test" for record in index.records)
    assert not list(celebdf.root.rglob("*mask*"))


def test_celebdf_shows_the_same_person_in_all_clips_of_one_name(celebdf: Made) -> None:
    clips = sorted((celebdf.root / "Celeb-real").iterdir())
    means = {clip.stem: read_video(clip)[0][50:110, 50:110].mean(axis=(0, 1)) for clip in clips}
    between: list[float] = []
    within: list[float] = []
    for one, other in combinations(means, 2):
        distance = float(np.abs(means[one] - means[other]).mean())
        (within if one.split("_")[0] == other.split("_")[0] else between).append(distance)
    assert np.mean(within) < 0.6 * np.mean(between)


def test_record_names_kind_and_region_of_every_fake(ffpp: Made, dfdc: Made, celebdf: Made) -> None:
    assert ffpp.record["methods"] == METHOD_KINDS
    for name, fake in ffpp.record["fakes"].items():
        assert fake["kind"] == METHOD_KINDS[name.split("/")[1]]
    for made in (ffpp, dfdc, celebdf):
        assert len(made.record["fakes"]) == made.summary.fakes
        assert all((made.root / name).is_file() for name in made.record["fakes"])
        assert set(Counter(fake["kind"] for fake in made.record["fakes"].values())) == set(METHOD_KINDS.values())


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
def test_the_files_do_not_give_the_label_away(layout: str, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(layout)
    fakes = made.record["fakes"]
    names = [*fakes, *dict.fromkeys(fake["original"] for fake in fakes.values())]
    labels = [name in fakes for name in names]
    sizes = [(made.root / name).stat().st_size for name in names]
    assert 0.4 < roc_auc_score(labels, sizes) < 0.6
    assert {read_video(made.root / name).shape for name in names[::5]} == {(4, 160, 160, 3)}


def test_same_request_same_bytes_whatever_the_jobs(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    synthesize(one, jobs=1, **TINY)
    synthesize(two, jobs=2, **TINY)
    assert digests(one) == digests(two)
    other = tmp_path / "other"
    synthesize(other, jobs=1, seed=1, **TINY)
    clip = "original_sequences/youtube/c23/videos/000.mp4"
    assert digests(one)[clip] != digests(other)[clip]


def test_a_finished_set_is_left_alone_and_an_interrupted_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert synthesize(whole, jobs=1, **TINY).made
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    again = synthesize(whole, jobs=1, **TINY)
    assert not again.made
    assert again.fakes == 16
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}

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
    assert digests(broken) == digests(whole)

    with pytest.raises(ConfigError, match="holds another set"):
        synthesize(whole, jobs=1, seed=1, **TINY)


def test_an_interrupted_set_of_another_layout_leaves_nothing_behind(tmp_path: Path) -> None:
    tiny = {**TINY, "frames": 1, "fakes_per_real": 1}
    layouts: tuple[LayoutName, ...] = ("celebdf", "dfdc")
    for layout in layouts:
        synthesize(tmp_path / layout, layout=layout, jobs=1, **tiny)
    (tmp_path / "celebdf/synth.json").rename(tmp_path / "celebdf/synth.unfinished.json")
    synthesize(tmp_path / "celebdf", layout="dfdc", jobs=1, **tiny)
    assert digests(tmp_path / "celebdf") == digests(tmp_path / "dfdc")


def test_refuses_a_folder_it_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="was not written by this command"):
        synthesize(tmp_path, **TINY)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    with pytest.raises(ConfigError, match="is no folder"):
        synthesize(tmp_path / "thesis.txt", **TINY)


@pytest.mark.parametrize(
    "wrong", [{"fakes_per_real": 0}, {"fakes_per_real": 6}, {"frames": 0}, {"size": 129}, {"size": 64}, {"jobs": 0}]
)
def test_refuses_arguments_out_of_range(wrong: dict[str, int], tmp_path: Path) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ConfigError, match=f"{name}: {value}"):
        synthesize(tmp_path / "out", **{**TINY, **wrong})
    assert not (tmp_path / "out").exists()
