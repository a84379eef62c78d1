from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.splits.copy_candidates import Index
from resgat_pl.data.splits.fingerprints import FEATURES, FINGERPRINT, Fingerprints, fingerprint, mirrored
from resgat_pl.data.splits.near_duplicates import Match, find_duplicates, match

Image = NDArray[np.uint8]


def scene(seed: int, height: int = 192, width: int = 192) -> Image:
    """Coloured shapes on a soft texture."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 6, 3), np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(25):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(4, 30)), int(rng.integers(4, 20))
        colour = tuple(map(int, rng.integers(0, 255, 3)))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def moved(image: Image, scale: float = 1, x: float = 0, y: float = 0, turn: float = 0) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    matrix[:, 2] += x * width, y * height
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def replaced(image: Image) -> Image:
    """A quarter of the area is another scene's."""
    image, other = image.copy(), scene(99, *image.shape[:2])
    height, width = image.shape[:2]
    image[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = other[: height // 2, : width // 2]
    return image


def titled(image: Image) -> Image:
    """With as much of a broadcaster's text as is usual."""
    image = image.copy()
    for y, text in ((25, "LIVE  NEWS 24"), (150, "BREAKING: ABC")):
        cv2.putText(image, text, (10, y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
    return image


def boxed(image: Image) -> Image:
    """In a wider frame with black bars."""
    return np.pad(image, ((0, 0), (60, 60), (0, 0)))


def mirror(image: Image) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def jpeg(image: Image, quality: int = 70) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


SCENES = [scene(seed) for seed in range(6)]
ALTERATIONS: dict[str, tuple[Callable[[Image], Image], str]] = {
    "smaller in the frame": (lambda image: moved(image, 0.91), "scaled by -9%"),
    "larger in the frame": (lambda image: moved(image, 1.13), "scaled by +13%"),
    "shifted": (lambda image: moved(image, x=0.1, y=-0.095), "shifted by 14%"),
    "cropped": (lambda image: image[15:, :170], "shifted by"),
    "mirrored": (mirror, "mirrored"),
    "mirrored and shifted": (lambda image: mirror(moved(image, x=0.12)), "mirrored, shifted by 12%"),
    "turned": (lambda image: moved(image, turn=5), "turned by 5°"),
    "stored on its side": (lambda image: np.ascontiguousarray(np.rot90(image)), "turned by 90°"),
    "a part replaced": (replaced, "% differs"),
    "all together": (
        lambda image: jpeg(moved(replaced(image), 1.08, 0.06, -0.05)),
        "scaled by +8%",
    ),
    "half the size": (lambda image: cv2.resize(moved(image, x=0.1), None, fx=0.5, fy=0.5), "shifted by 10%"),
    "in other light": (lambda image: (moved(image, x=0.1) * 0.6 + 20).astype(np.uint8), "shifted by 10%"),
    "with text": (lambda image: titled(moved(image, x=-0.1)), "shifted by 10%"),
    "with black bars": (lambda image: boxed(moved(image, x=0.1)), "shifted by 10%"),
}


def prints_of(images: list[Image]) -> tuple[list[str], Fingerprints]:
    return [str(n) for n in range(len(images))], np.concatenate([fingerprint(np.asarray(i, np.uint8)) for i in images])


@pytest.fixture(scope="module")
def known() -> tuple[list[str], Fingerprints]:
    return prints_of(SCENES)


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_an_altered_copy_is_found_and_described(kind: str, known: tuple[list[str], Fingerprints]) -> None:
    alter, how = ALTERATIONS[kind]
    altered = prints_of([alter(image) for image in SCENES])
    for sides in (("train", "test"), ("test", "train")):  # whichever is looked up in the other
        (leak,) = find_duplicates(dict(zip(sides, (known, (altered[0] * 2, np.tile(altered[1], 2))), strict=True)))
        assert [name.split(" (")[0] for name in leak.names] == [f"{n} ~ {n}" for n in range(len(SCENES))]
    described = [match(a, b, "mirrored" in kind) for a, b in zip(known[1], altered[1], strict=True)]
    assert sum(how in str(each) for each in described) >= 5, [str(each) for each in described]


def test_other_scenes_are_not_found(known: tuple[list[str], Fingerprints]) -> None:
    others = prints_of([scene(seed) for seed in range(100, 112)])
    assert find_duplicates({"train": known, "test": others}) == []
    for a, b in combinations([*known[1], *others[1]], 2):
        assert match(a, b, False) is None
        assert match(a, b, True) is None


def test_text_that_many_videos_carry_makes_no_copies() -> None:
    names, prints = prints_of([titled(image) for image in SCENES])
    assert find_duplicates({"train": (names[::2], prints[::2]), "test": (names[1::2], prints[1::2])}) == []
    black = [titled(np.zeros_like(image)) for image in SCENES[:1]]
    assert find_duplicates({"train": prints_of(black), "test": (names, prints)}) == []


def test_bars_are_cut_off() -> None:
    plain, barred = fingerprint(SCENES[0])[0], fingerprint(boxed(SCENES[0]))[0]
    assert np.array_equal(plain["hashes"], barred["hashes"])
    assert np.array_equal(plain["codes"], barred["codes"])
    dark = np.zeros((90, 160, 3), np.uint8)
    dark[40:44, 60:70] = 200  # a light in the dark is no picture between bars
    assert fingerprint(dark)["size"][0].tolist() == [213, 120]


def test_a_mirrored_picture_has_the_mirrored_codes() -> None:
    one, other = fingerprint(SCENES[1])[0], fingerprint(mirror(SCENES[1]))[0]
    turned = mirrored(one["codes"][: one["count"]])
    distance = np.bitwise_count(turned[:, None] ^ other["codes"][None, : other["count"]]).sum(axis=2)
    place = one["points"][: one["count"]].astype(float)
    place[:, 0] = one["size"][0] - 1 - place[:, 0]
    nearest = other["points"][distance.argmin(axis=1)].astype(float)
    kept = distance.min(axis=1) <= 20
    assert kept.mean() > 0.5
    assert np.median(np.hypot(*(place - nearest)[kept].T)) < 1.5
    assert np.array_equal(mirrored(mirrored(one["codes"])), one["codes"])


def test_features_are_spread_over_the_picture() -> None:
    """A page of text in one corner leaves most features to the rest."""
    image = SCENES[2].copy()
    for line in range(8):
        cv2.putText(image, "Lorem ipsum", (2, 8 + 8 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1)
    found = fingerprint(image)[0]
    points = found["points"][: found["count"]] / found["size"]
    assert (points < 0.5).all(axis=1).mean() < 0.45


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 7), (2000, 30)])
def test_odd_shapes_have_a_fingerprint(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    found = fingerprint(image)
    assert found.shape == (1,)
    assert found.dtype == FINGERPRINT
    assert np.isfinite(found["points"]).all()
    assert find_duplicates({"train": (["a"], found), "test": (["b"], fingerprint(SCENES[0]))}) == []


def test_the_description_names_what_is_changed_only() -> None:
    assert str(Match(False)) == ""
    assert str(Match(False, 1.01, 0.01, 1.0, 0.05)) == ""
    assert (
        str(Match(True, 0.9, 0.137, -4.6, 0.25))
        == "mirrored, scaled by -10%, shifted by 14%, turned by 5°, 25% differs"
    )


def random_prints(count: int, seed: int) -> Fingerprints:
    rng = np.random.default_rng(seed)
    found = np.zeros(count, FINGERPRINT)
    found["codes"] = rng.integers(0, 2**64, found["codes"].shape, np.uint64, endpoint=False)
    found["count"] = rng.integers(0, FEATURES + 1, count)
    return found


def test_features_in_common_are_counted() -> None:
    train, test = random_prints(300, 0), random_prints(50, 1)
    train["count"][7] = train["count"][9] = test["count"][[3, 4]] = FEATURES
    test["codes"][3, 10:40] = train["codes"][7, :30]
    test["codes"][3, 10:40, 0] ^= np.uint64(1 << 40)  # one bit of another feature's piece
    test["codes"][4, :5] = mirrored(train["codes"][9, 50:55])
    found = {place: candidates for place, candidates in Index(train).find(test) if candidates}
    assert {place: [tuple(each) for each in of] for place, of in found.items()} == {
        3: [(7, False, 30)], 4: [(9, True, 5)]
    }  # fmt: skip


def test_what_thousands_of_pictures_share_costs_no_more_than_a_few() -> None:
    """A logo's features: each is looked up in the first pictures that have it, and a copy is still found."""
    train, test = random_prints(2000, 0), random_prints(20, 1)
    train["count"] = test["count"] = FEATURES
    train["codes"][:, :12] = test["codes"][:, :12] = train["codes"][0, :12]
    test["codes"][5, 12:] = train["codes"][1900, 12:]
    found = dict(Index(train).find(test))
    assert max(map(len, found.values())) <= 257
    assert found[5][0][:2] == (1900, False)
    assert found[5][0].votes >= FEATURES - 12


def test_nothing_to_look_up() -> None:
    none = np.zeros(0, FINGERPRINT)
    assert list(Index(none).find(random_prints(2, 0))) == []
    assert [candidates for _, candidates in Index(random_prints(2, 0)).find(np.zeros(3, FINGERPRINT))] == [[], [], []]
