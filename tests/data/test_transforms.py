from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.transforms import DFDCAugmentation, FlipAugmentation
from resgat_pl.errors import ConfigError

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
