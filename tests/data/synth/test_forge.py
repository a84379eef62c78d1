from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.synth.alterations import KINDS, STRENGTHS, View
from resgat_pl.data.synth.blend import _LANDMARKS, REGIONS, SoftMask, pose
from resgat_pl.data.synth.clip import Clip, generator
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.forge import draw_flicker, draw_span, forge


@pytest.fixture(scope="module")
def clip() -> Clip:
    people = [generator(3, "one"), generator(3, "two")]
    return draw_clip(people, generator(3, "clip"), frames=3, size=256)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_fake_equals_the_original_outside_the_mask_and_differs_inside(clip: Clip, kind: str, region: str) -> None:
    before = clip.frames.copy()
    for face in (0, 1):
        frames, masks = forge(clip, face, kind, region, generator(0, kind, region))
        assert frames.dtype == np.uint8 and frames.shape == before.shape
        assert np.array_equal(frames[~masks], before[~masks])
        change = np.abs(frames.astype(int) - before).mean(axis=-1)
        assert all(1.0 < change[number][mask].mean() < 40 for number, mask in enumerate(masks))
    assert np.array_equal(clip.frames, before), "the genuine clip stays as it is"


def test_only_the_chosen_face_is_altered(clip: Clip) -> None:
    for face, half in ((0, np.s_[:, :, 140:]), (1, np.s_[:, :, :116])):
        _, masks = forge(clip, face, "recoloured", "nose", generator(0, "half"))
        assert masks.any()
        assert not masks[half].any()


def test_region_moves_with_the_face(clip: Clip) -> None:
    shifted = Clip(np.roll(clip.frames, 9, axis=1), clip.landmarks + np.array([0, 9], np.float32))
    _, here = forge(clip, 0, "recoloured", "mouth", generator(0, "move"))
    _, there = forge(shifted, 0, "recoloured", "mouth", generator(0, "move"))
    assert np.array_equal(np.roll(here, 9, axis=1), there)


def test_pose_finds_the_face_that_was_placed() -> None:
    rng = generator(0, "pose")
    for _ in range(20):
        true = np.hstack([rng.normal(0, 8, (2, 2)) + 60 * np.eye(2), rng.uniform(80, 200, (2, 1))])
        found = pose((_LANDMARKS @ true[:, :2].T + true[:, 2]).astype(np.float32))
        assert np.allclose(found, true, atol=1e-3)


@pytest.mark.parametrize("name", REGIONS)
def test_mask_is_soft_and_lies_on_its_region(name: str) -> None:
    unit, size = 58.0, 256
    face = np.array([[unit, 0, 128], [0, unit, 110]])
    region = REGIONS[name]
    for seed in range(5):
        weight = SoftMask.draw(generator(seed, name), name).place(face, size)
        rows, columns = np.nonzero(weight)
        assert abs(columns.mean() - (128 + unit * region.x)) < 0.15 * unit
        assert abs(rows.mean() - (110 + unit * region.y)) < 0.15 * unit
        width = np.ptp(columns) / (2 * unit)
        assert 0.22 < width < 0.55 or name == "whole_face"
        assert ((weight > 0.02) & (weight < 0.98)).sum() > 0.15 * rows.size, "feathered"
        assert np.abs(np.diff(weight, axis=1)).max() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_strength_grows(kind: str, clip: Clip) -> None:
    patch = clip.frames[0, 60:180, 10:130]
    view = View(pose(clip.landmarks[0, 0]) - np.array([[0, 0, 10], [0, 0, 60]]), REGIONS["mouth"], generator(0, "x"))
    for seed in range(4):
        alter = KINDS[kind](generator(seed, kind))
        changes = [np.abs(alter(patch, view, s).astype(int) - patch).mean() for s in (STRENGTHS[0], STRENGTHS[-1])]
        assert 0 < changes[0] < changes[1]


def test_kinds_both_add_and_remove_detail(clip: Clip) -> None:
    def detail(frames: np.ndarray, masks: np.ndarray) -> float:
        steps = np.abs(np.diff(frames.astype(float), axis=2)).mean(axis=-1)
        return float(steps[masks[:, :, 1:]].mean())

    more: dict[str, list[bool]] = {}
    for kind in KINDS:
        for seed in range(6):
            frames, masks = forge(clip, 0, kind, "whole_face", generator(seed, "detail"))
            more.setdefault(kind, []).append(detail(frames, masks) > detail(clip.frames, masks))
    assert all(more["sharpened"])
    assert not any(more["resampled"])
    assert len(set(more["renoised"])) == 2, "noise is added to some and taken from others"


def test_a_span_alters_its_frames_and_no_other(clip: Clip) -> None:
    frames, masks = forge(clip, 0, "recoloured", "nose", generator(0, "span"), span=range(1, 2))
    assert masks.any(axis=(1, 2)).tolist() == [False, True, False]
    assert [bool((frames[number] != clip.frames[number]).any()) for number in range(3)] == [False, True, False]


def test_spans_have_the_share_that_was_asked_for() -> None:
    rng = generator(0, "spans")
    spans = [draw_span(rng, 20, 0.4) for _ in range(400)]
    assert {len(span) for span in spans if span} == {8}
    assert {span.start for span in spans if span} == set(range(13)), "anywhere in the clip"
    assert draw_span(rng, 20, 1.0) is None
    short = draw_span(rng, 1, 0.1)
    assert short == range(1)


def test_flicker_changes_the_strength_from_frame_to_frame(clip: Clip) -> None:
    def change(flicker: list[float] | None) -> list[float]:
        factor = None if flicker is None else np.array(flicker)
        frames, masks = forge(clip, 0, "recoloured", "nose", generator(0, "flicker"), change=15, flicker=factor)
        apart = np.abs(frames.astype(float) - clip.frames).mean(axis=-1)
        return [float(apart[number][masks[number]].mean()) for number in range(3)]

    steady, varied = change(None), change([1.0, 0.1, 1.9])
    assert varied[0] == pytest.approx(steady[0])
    assert varied[1] < 0.3 * steady[1]
    assert varied[2] > 1.4 * steady[2]
    drawn = draw_flicker(generator(0, "drawn"), 500, 0.9)
    assert drawn is not None and 0.1 <= drawn.min() < 0.15 and 1.85 < drawn.max() <= 1.9
    assert draw_flicker(generator(0, "drawn"), 5, 0.0) is None
