from __future__ import annotations

import pickle

import albumentations as A
import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.transforms import (
    Augmentation,
    DFDCAugmentation,
    FlipAugmentation,
    Steps,
    Transform,
    as_augmentation,
)

NOTHING = {"blur": 0.0, "noise": 0.0, "transpose": 0.0, "rotate": 0.0, "resize": 0.0}
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)


def test_same_seed_same_result_in_any_instance() -> None:
    one, two = DFDCAugmentation(), DFDCAugmentation()
    one(IMAGE, 5)  # what came before does not matter
    for seed in range(10):
        assert np.array_equal(one(IMAGE, seed), two(IMAGE, seed))


def test_seeds_differ() -> None:
    augmentation = DFDCAugmentation()
    assert len({augmentation(IMAGE, seed).tobytes() for seed in range(40)}) > 20


def test_steps_are_independent() -> None:
    both = DFDCAugmentation(**{**NOTHING, "transpose": 0.5, "noise": 0.5})  # type: ignore[arg-type]  # probabilities
    flat = np.full((8, 8, 3), 100, np.uint8)
    flat[0] = 255
    found = {}
    for seed in range(200):
        image = both(flat, seed).astype(int)
        transposed = image[1:, 0].mean() > image[0, 1:].mean()
        noisy = image[1:, 1:].std() > 0
        found[transposed, noisy] = found.get((transposed, noisy), 0) + 1
    assert len(found) == 4
    assert min(found.values()) > 25


@pytest.mark.parametrize("step", list(NOTHING))
def test_each_step_follows_its_probability(step: str) -> None:
    assert np.array_equal(DFDCAugmentation(**NOTHING)(IMAGE, 1), IMAGE)  # type: ignore[arg-type]  # probabilities only
    always = DFDCAugmentation(**{**NOTHING, step: 1.0})  # type: ignore[arg-type]  # probabilities only
    assert not np.array_equal(always(IMAGE, 1), IMAGE)
    half = DFDCAugmentation(**{**NOTHING, step: 0.5})  # type: ignore[arg-type]  # probabilities only
    changed = sum(not np.array_equal(half(IMAGE, seed), IMAGE) for seed in range(100))
    assert 30 < changed < 70


def test_transposition_swaps_rows_and_columns() -> None:
    always = DFDCAugmentation(**{**NOTHING, "transpose": 1.0})  # type: ignore[arg-type]  # probabilities only
    assert np.array_equal(always(IMAGE, 0), IMAGE.transpose(1, 0, 2))


def test_flip() -> None:
    assert np.array_equal(FlipAugmentation(1.0)(IMAGE, 0), IMAGE[:, ::-1])


def test_bad_probability() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.blur is 1\.5"):
        DFDCAugmentation(blur=1.5)


def test_noise_is_gaussian_of_the_strength_asked_for_and_changes_no_brightness() -> None:
    grey = np.full((160, 160, 3), 128, np.uint8)
    for std in (0.01, 0.03, 0.06):
        noisy = DFDCAugmentation(**{**NOTHING, "noise": 1.0}, noise_std=(std, std))  # type: ignore[arg-type]  # as above
        found = noisy(grey, 3).astype(float) - 128
        assert found.std() == pytest.approx(np.sqrt((255 * std) ** 2 + 1 / 12), rel=0.02)
        assert abs(found.mean()) < 4 * found.std() / np.sqrt(found.size)
        inside = np.mean(np.abs(found) <= 255 * std)
        assert inside == pytest.approx(0.683, abs=0.12)  # whole grey levels are coarse for the weakest
        flat = found.reshape(-1, 3)
        assert np.abs(np.corrcoef(flat.T)[np.triu_indices(3, 1)]).max() < 0.03, "channels are independent"
        assert abs(np.corrcoef(found[:, 1:].ravel(), found[:, :-1].ravel())[0, 1]) < 0.03, "and neighbours"


def test_noise_stays_in_range() -> None:
    noisy = DFDCAugmentation(**{**NOTHING, "noise": 1.0})  # type: ignore[arg-type]  # probabilities only
    for level in (0, 255):
        found = noisy(np.full((48, 48, 3), level, np.uint8), 0).astype(int)
        assert np.abs(found - level).max() < 60


def test_masks_move_along_and_only_that() -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[5:20, 10:40] = 255
    image = np.repeat(mask[:, :, None], 3, axis=2)
    moving = DFDCAugmentation(**{**NOTHING, "transpose": 0.5, "rotate": 0.7})  # type: ignore[arg-type]  # as above
    blurring = DFDCAugmentation(transpose=0, rotate=0)
    for seed in range(30):
        changed, moved = moving.with_mask(image, mask, seed)
        assert np.array_equal(changed, moving(image, seed))
        assert ((changed[:, :, 0] > 127) != (moved > 127)).mean() < 0.03
        assert np.array_equal(blurring.with_mask(image, mask, seed)[1], mask)


def test_steps_that_hold_steps_are_seeded_too() -> None:
    class Either(Augmentation):
        def transforms(self) -> list[A.BasicTransform]:
            return [A.OneOf([A.GaussNoise(p=1), A.Rotate(p=1)], p=0.5)]

    one, two = Either(), Either()
    changed = [one(IMAGE, seed) for seed in range(40)]
    assert all(np.array_equal(image, two(IMAGE, seed)) for seed, image in enumerate(changed))
    assert 8 < sum(np.array_equal(image, IMAGE) for image in changed) < 32


def test_a_transform_of_albumentations_is_an_augmentation() -> None:
    given = A.HorizontalFlip(p=1.0)
    for augmentation in (as_augmentation(given), FaceDataModule("crops", augmentation=given).augmentation):
        assert augmentation is not None
        assert np.array_equal(augmentation(IMAGE, 0), IMAGE[:, ::-1])
    flip = FlipAugmentation()
    assert as_augmentation(flip) is flip
    assert as_augmentation(None) is None


@pytest.mark.parametrize("other", [A.Compose, A.OneOf, FlipAugmentation, Augmentation, dict])
def test_what_is_no_single_transform(other: type) -> None:
    assert not issubclass(other, Transform)
    assert issubclass(A.GaussianBlur, Transform)


def test_steps_in_order_each_with_its_seed() -> None:
    steps = Steps([A.HorizontalFlip(p=0.5), A.GaussianBlur(p=0.5)])
    results = {steps(IMAGE, seed).tobytes() for seed in range(30)}
    assert IMAGE.tobytes() in results
    assert IMAGE[:, ::-1].tobytes() in results
    assert len(results) > 4
    again = pickle.loads(pickle.dumps(steps))  # noqa: S301 - its own, as a loading process gets it
    assert np.array_equal(again(IMAGE, 7), steps(IMAGE, 7))


def test_steps_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps has a Compose"):
        Steps([A.Compose([A.HorizontalFlip()])])
    for step in (A.Normalize(p=1.0), A.ToGray(num_output_channels=1, p=1.0), A.ToFloat(p=1.0)):
        with pytest.raises(ConfigError, match=r"must be \(H, W, 3\) uint8"):
            Steps([step])(IMAGE, 0)
