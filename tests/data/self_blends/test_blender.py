from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.self_blends.blender import DEFAULT_FAMILIES, DEFAULT_SHAPES, Pair, SelfBlend
from resgat_pl.data.self_blends.families import FAMILIES
from resgat_pl.data.self_blends.masks import SHAPES

from ...helpers.drawn_faces import SIDE, drawn_face


def pair(seed: int, person: int = 0, blend: SelfBlend | None = None) -> Pair:
    image, landmarks = drawn_face(person)
    return (blend or SelfBlend())(image, landmarks, seed)


def test_everything_of_a_pair_is_in_range() -> None:
    for seed in range(15):
        made = pair(seed, seed % 3)
        assert made.genuine.shape == made.fake.shape == (SIDE, SIDE, 3)
        assert made.mask.shape == (SIDE, SIDE)
        assert made.genuine.dtype == made.fake.dtype == made.mask.dtype == np.uint8
        assert made.landmarks.shape == (5, 2)
        assert made.landmarks.dtype == np.float32
        assert made.landmarks[0, 0] < made.landmarks[1, 0]
        assert made.family in FAMILIES
        assert made.shape in SHAPES


def test_a_transparent_forgery_is_manipulated_in_its_middle() -> None:
    for seed in range(20):
        made = pair(seed)
        assert made.mask.max() > 230, (made.family, made.shape)


def test_partners_differ_inside_the_mask() -> None:
    inside, outside = [], []
    for seed in range(40):
        made = pair(seed, seed % 4)
        difference = np.abs(made.genuine.astype(int) - made.fake).mean(axis=2)
        inside.append(difference[made.mask > 100].mean())
        outside.append(difference[made.mask == 0].mean())
    assert np.median(inside) > 4
    assert np.median(outside) < 0.1 * np.median(inside)


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    """Order of sets, hash seeds and threads change nothing."""
    code = (
        "import hashlib, numpy as np\n"
        "from resgat_pl.data.self_blends import SelfBlend\n"
        "image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)\n"
        "points = np.array([[.37, .42], [.63, .42], [.5, .57], [.37, .68], [.63, .68]], np.float32)\n"
        "digest = hashlib.sha256()\n"
        "for seed in range(12):\n"
        "    made = SelfBlend()(image, points, seed)\n"
        "    for part in (made.genuine, made.fake, made.mask, made.landmarks):\n"
        "        digest.update(part.tobytes())\n"
        "found = digest.hexdigest()\n"
    )
    here: dict[str, str] = {}
    exec(code, here)  # noqa: S102 - the lines above
    there = subprocess.run(
        [sys.executable, "-c", f"{code}print(found)"], capture_output=True, text=True, check=True, env=None
    )
    assert there.stdout.strip() == here["found"]
    assert len(here["found"]) == hashlib.sha256().digest_size * 2


def test_seeds_differ() -> None:
    assert len({pair(seed).fake.tobytes() for seed in range(10)}) == 10


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_is_left_out_is_never_drawn(family: str) -> None:
    others = SelfBlend({name: 1.0 for name in FAMILIES if name != family})
    assert all(pair(seed, blend=others).family != family for seed in range(20))
    assert pair(0, blend=SelfBlend({family: 1.0})).family == family


def test_shapes_that_are_asked_for() -> None:
    assert {pair(seed, blend=SelfBlend(shapes={"eyes": 1})).shape for seed in range(8)} == {"eyes"}


def test_all_families_and_shapes_are_drawn_unless_chosen() -> None:
    assert set(DEFAULT_FAMILIES) == set(FAMILIES)
    assert set(DEFAULT_SHAPES) == set(SHAPES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": {"blnd": 1}}, "self_blend.families has 'blnd'.*Did you mean"),
        ({"shapes": {"nose": 1}}, "self_blend.shapes has 'nose'"),
        ({"families": {"blend": -1}}, "at least 0"),
        ({"families": {"blend": 0}}, "one of them above"),
        ({"source": "film"}, "photo or video"),
    ],
)
def test_mistakes(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SelfBlend(**options)  # type: ignore[arg-type]


def test_crops_that_cannot_be_blended() -> None:
    image, landmarks = drawn_face(0)
    with pytest.raises(ConfigError, match="20×20 px is too small"):
        SelfBlend()(image[:20, :20], landmarks, 0)
    with pytest.raises(ConfigError, match="landmark of the crop is missing"):
        SelfBlend()(image, np.full((5, 2), np.nan, np.float32), 0)


def test_odd_sides_are_made_even() -> None:
    image, landmarks = drawn_face(0)
    assert SelfBlend()(image[:101, :101], landmarks, 0).fake.shape == (100, 100, 3)
