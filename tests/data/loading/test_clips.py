"""Clips of a manifest: each crop once, faces apart, and what stands for a clip."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.loading.clips import FaceClips, check_clips, clip_places
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import EvalSampler, TrainSampler
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.transforms import FlipAugmentation

from ...helpers.clip_sets import write_clips


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Manifest.read(write_clips(tmp_path_factory.mktemp("clips")))


@pytest.mark.parametrize("frames", [1, 3, 4, 16])
@pytest.mark.parametrize("count", [1, 2, 5, 16, 17, 33])
def test_every_frame_is_in_one_clip(count: int, frames: int) -> None:
    places = clip_places(count, frames)
    assert places.shape == (-(-count // frames), frames)
    assert np.unique(places).tolist() == list(range(count))
    assert all(set(one).isdisjoint(other) for one, other in zip(places.tolist(), places[1:].tolist(), strict=False))
    assert (np.diff(places, axis=1) >= 0).all(), "in order"
    for clip in places.tolist():
        times = Counter(clip).values()
        assert max(times) - min(times) <= 1, "repeated evenly"


def test_a_clip_is_of_one_face_and_known_by_an_altered_frame(manifest: Manifest) -> None:
    clips = FaceClips(manifest, manifest.rows_of("train"), 64, 5)
    assert len(clips) == 8
    assert all(len(np.unique(manifest.track_codes[rows])) == 1 for rows in clips.clips)
    assert manifest.column("frame_index")[clips.rows].tolist() == [0] * 4 + [2] * 4, "originals first, then the fakes"
    assert not clips.untouched.any()
    assert clips.about == "8 clips of 5 frames, of 8 faces"
    longer = FaceClips(manifest, manifest.rows_of("train"), 64, 6)
    assert longer.about == "8 clips of 6 frames, of 8 faces, of which 8 have fewer frames, repeated to fill a clip"
    assert clips.altered()[4].tolist() == [False, False, True, True, False]
    assert clips.pairs().tolist() == [[4, 0], [5, 1], [6, 2], [7, 3]]


def test_clips_without_an_altered_frame_are_no_examples(manifest: Manifest) -> None:
    rows = manifest.rows_of("train")
    every, examples = (FaceClips(manifest, rows, 64, 2, examples=wanted) for wanted in (False, True))
    assert len(every) == 8 * 3
    assert len(examples) == 4 * 3 + 4 * 1, "of a fake the clip of frames 2 and 3"
    assert every.untouched.sum() == 4 * 2


def test_frames_are_the_crops_and_change_alike(manifest: Manifest) -> None:
    clips = FaceClips(manifest, manifest.rows_of("val"), 64, 8, FlipAugmentation())
    plain = FaceCrops(manifest, clips.clips[0], 64)
    clip = clips[0]
    assert clip["frames"].tolist() == clips.clips[0].tolist()
    assert torch.equal(clip["image"], torch.stack([plain[place]["image"] for place in range(8)]))
    seeds = [Draw(0, seed) for seed in range(8)]
    flipped = [bool(torch.equal(clips[seed]["image"], clip["image"].flip(-1))) for seed in seeds]
    plain_ones = [bool(torch.equal(clips[seed]["image"], clip["image"])) for seed in seeds]
    assert any(flipped) and any(plain_ones)
    assert all(one != other for one, other in zip(flipped, plain_ones, strict=True)), "all frames of a clip, or none"


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_share_the_clips(manifest: Manifest, ranks: int) -> None:
    clips = FaceClips(manifest, manifest.rows_of("train"), 64, 5)
    clips.rows = np.random.default_rng(0).permutation(clips.rows)  # as the data module does for a limited evaluation
    seen = []
    for rank in range(ranks):
        for batch in ResumableLoader(clips, EvalSampler(clips, ranks, rank), 3, 0):
            assert batch["image"].shape[1:] == (5, 3, 64, 64)
            assert all(
                row in frames for row, frames in zip(batch["row"].tolist(), batch["frames"].tolist(), strict=True)
            )
            seen += batch["row"].tolist()
    assert sorted(seen) == sorted(clips.rows.tolist())


def test_a_resumed_epoch_goes_on_after_its_batches(manifest: Manifest) -> None:
    def loader() -> ResumableLoader:
        clips = FaceClips(manifest, manifest.rows_of("train"), 64, 5, examples=True)
        return ResumableLoader(clips, TrainSampler(clips, 1, 0, 0, "paired"), 2, 0)

    whole = [batch["frames"].tolist() for batch in loader()]
    stopped = loader()
    batches = iter(stopped)
    next(batches)
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    assert [batch["frames"].tolist() for batch in resumed] == whole[1:]


def test_options_that_clips_do_not_go_with() -> None:
    check_clips(None, masks=True)
    check_clips(4, masks=False)
    with pytest.raises(ConfigError, match=r"data\.clip_frames and data\.self_blend are both set"):
        check_clips(4, masks=False, self_blend=object())
    with pytest.raises(ConfigError, match=r"data\.clip_frames is 0"):
        check_clips(0)
