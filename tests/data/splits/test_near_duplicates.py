from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from resgat_pl.core.types import Split
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.splits.fingerprints import FINGERPRINT, Fingerprints, fingerprint, perceptual_hash
from resgat_pl.data.splits.leakage import Leak
from resgat_pl.data.splits.near_duplicates import BITS, LIMIT, find_duplicates, match
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.evaluation.corruptions import Corruption, CorruptionKind

Image = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Pictures = tuple[list[str], Fingerprints]


@pytest.fixture(scope="module")
def faces() -> list[Image]:
    """Twelve drawn people, cut to the face."""
    drawn = [draw_clip([np.random.default_rng(n)], np.random.default_rng(100 + n), 1, 128).frames[0] for n in range(12)]
    return [np.ascontiguousarray(picture[20:116, 16:112]) for picture in drawn]


def prints_of(pictures: list[Image]) -> Pictures:
    return [str(n) for n in range(len(pictures))], np.concatenate([fingerprint(picture) for picture in pictures])


def with_hashes(hashes: Hashes) -> Fingerprints:
    """Pictures of which only the hashes are known."""
    found = np.zeros(len(hashes), FINGERPRINT)
    found["hashes"][:, 0] = hashes
    found["hashes"][:, 1] = np.random.default_rng(9).integers(0, 2**63, hashes.shape, np.uint64)
    return found


def distance(a: Hashes, b: Hashes) -> int:
    return sum((int(x) ^ int(y)).bit_count() for x, y in zip(a, b, strict=True))


def each_with_itself(count: int) -> tuple[str, ...]:
    return tuple(sorted(f"{n} ~ {n}" for n in range(count)))


@pytest.mark.parametrize(
    ("kind", "strength"), [("jpeg", 1), ("jpeg", 4), ("blur", 3), ("resize", 3), ("h264", 3), ("noise", 3)]
)
def test_the_same_pictures_damaged_are_found(faces: list[Image], kind: CorruptionKind, strength: int) -> None:
    damaged = [Corruption(kind, strength)(face, seed=0) for face in faces]
    (leak,) = find_duplicates({"train": prints_of(faces), "test": prints_of(damaged)})
    assert leak == Leak("duplicate", ("train", "test"), each_with_itself(len(faces)))


@pytest.mark.parametrize("side", [48, 63, 64, 200, 512])
def test_the_same_pictures_in_another_size_are_found(faces: list[Image], side: int) -> None:
    resized = [np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8) for face in faces]
    (leak,) = find_duplicates({"val": prints_of(resized), "test": prints_of(faces)})
    assert leak.names == each_with_itself(len(faces))


def test_darker_is_the_same_picture_and_grey_too(faces: list[Image]) -> None:
    darker = [np.asarray(face * 0.6 + 10, np.uint8) for face in faces]
    grey = [np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8) for face in faces]
    for changed in (darker, grey):
        (leak,) = find_duplicates({"train": prints_of(faces), "test": prints_of(changed)})
        assert leak.names == each_with_itself(len(faces))


def test_different_people_are_not_found(faces: list[Image]) -> None:
    names, prints = prints_of(faces)
    assert find_duplicates({"train": (names[::2], prints[::2]), "test": (names[1::2], prints[1::2])}) == []
    for a, b in combinations(prints, 2):  # they share their eyes' and mouths' shapes, which lie alike
        assert match(a, b, False) is None
        assert match(a, b, True) is None
    hashes = prints["hashes"][:, 0]
    assert min(distance(a, b) for a, b in combinations(hashes, 2)) > LIMIT + 10


def test_only_across_splits(faces: list[Image]) -> None:
    twice = prints_of([*faces[:3], *faces[:3]])
    assert find_duplicates({"train": twice}) == []
    assert find_duplicates({"train": twice, "test": prints_of(faces[3:])}) == []
    assert find_duplicates({}) == []
    three = {split: ([split], fingerprint(faces[0])) for split in reversed(SPLITS)}
    assert [(leak.splits, leak.names) for leak in find_duplicates(three)] == [
        (("train", "val"), ("train ~ val",)),
        (("train", "test"), ("train ~ test",)),
        (("val", "test"), ("val ~ test",)),
    ]


def test_a_pair_of_videos_is_one_pair_however_many_pictures_are_alike(faces: list[Image]) -> None:
    changed = [np.ascontiguousarray(face[8:, ::-1]) for face in faces[:2]]
    (_, train), (_, test) = prints_of(faces[:2]), prints_of([*faces[:2], *changed])
    (leak,) = find_duplicates({"train": (["a", "a"], train), "test": (["b", "b", "c", "c"], test)})
    plain, described = leak.names
    assert plain == "a ~ b", "the copy that is not changed describes it best"
    assert described.startswith("a ~ c (mirrored, ")


def test_the_hash_is_256_bits_and_the_same_every_time(faces: list[Image]) -> None:
    before = [face.copy() for face in faces]
    hashes = np.stack([perceptual_hash(face) for face in faces])
    assert hashes.dtype == np.uint64
    assert hashes[0].nbytes * 8 == BITS == 256
    _, prints = prints_of(faces)
    assert prints.tobytes() == prints_of(faces)[1].tobytes()
    assert np.array_equal(prints["hashes"][:, 0], hashes)
    assert all(np.array_equal(a, b) for a, b in zip(before, faces, strict=True))
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    assert bits.sum(axis=1).tolist() == [128] * len(faces), "half lie above the median"


def test_plain_pictures_are_not_said_to_be_the_same() -> None:
    rng = np.random.default_rng(0)
    black, white = (np.full((64, 64, 3), level, np.uint8) for level in (0, 255))
    noisy = [np.clip(16 + rng.normal(0, 1, (90, 160, 3)), 0, 255).astype(np.uint8) for _ in range(2)]
    ramp = np.repeat(np.linspace(100, 104, 160, dtype=np.uint8)[None, :, None], 90, 0).repeat(3, 2)
    for one, other in combinations([black, white, *noisy, ramp, black[:1, :1], black[:, :1]], 2):
        assert find_duplicates({"train": prints_of([one]), "test": prints_of([other])}) == []
    assert find_duplicates({"train": prints_of([ramp]), "test": prints_of([ramp])}) == []


def random_hashes(rng: np.random.Generator, sizes: dict[Split, int]) -> dict[Split, tuple[list[str], Hashes]]:
    """A quarter of the hashes are one of eight with some of 40 bits flipped, so that many are near the limit."""
    base = rng.integers(0, 2, (8, BITS), np.uint8)
    found: dict[Split, tuple[list[str], Hashes]] = {}
    for split, size in sizes.items():
        bits = rng.integers(0, 2, (size, BITS), np.uint8)
        near = np.flatnonzero(rng.random(size) < 0.25)
        bits[near] = base[rng.integers(0, 8, len(near))]
        bits[near] ^= (rng.random((len(near), BITS)) < rng.uniform(0, 0.08, (len(near), 1))).astype(np.uint8)
        found[split] = ([f"{split}{n}" for n in range(size)], np.packbits(bits, axis=1).view(np.uint64))
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 30), min_size=3, max_size=3))
def test_equals_a_plain_loop(seed: int, sizes: list[int]) -> None:
    hashes = random_hashes(np.random.default_rng(seed), dict(zip(SPLITS, sizes, strict=True)))
    wanted = []
    for one, other in combinations(SPLITS, 2):
        pairs = [
            f"{a} ~ {b}"
            for a, x in zip(*hashes[one], strict=True)
            for b, y in zip(*hashes[other], strict=True)
            if distance(x, y) <= LIMIT
        ]
        if pairs:
            wanted.append(Leak("duplicate", (one, other), tuple(sorted(pairs))))
    assert find_duplicates({split: (names, with_hashes(each)) for split, (names, each) in hashes.items()}) == wanted


def test_the_limit_is_included() -> None:
    base = np.random.default_rng(1).integers(0, 2, BITS, np.uint8)
    for flipped, found in ((LIMIT, True), (LIMIT + 1, False)):
        bits = base.copy()
        bits[np.random.default_rng(0).permutation(BITS)[:flipped]] ^= 1
        one, other = (with_hashes(np.packbits(each).view(np.uint64)[None]) for each in (base, bits))
        assert bool(find_duplicates({"train": (["a"], one), "test": (["b"], other)})) == found


def test_a_negative_is_not_taken_for_the_picture() -> None:
    """All 256 bits differ, which is 0 of 8 bits."""
    one = np.random.default_rng(1).integers(0, 2**63, (1, 4), np.uint64)
    assert find_duplicates({"train": (["a"], with_hashes(one)), "test": (["b"], with_hashes(~one))}) == []


def test_blocks_change_nothing() -> None:
    hashes = random_hashes(np.random.default_rng(0), {"train": 1700, "val": 2, "test": 2600})
    (one, a), (other, b) = hashes["train"], hashes["test"]
    assert len(a) * len(b) > 200_000, "more than one block"
    signs = [np.unpackbits(side.view(np.uint8), axis=1).astype(np.float32) * 2 - 1 for side in (a, b)]
    distances = (BITS - signs[0] @ signs[1].T) / 2
    wanted = tuple(sorted(f"{one[i]} ~ {other[j]}" for i, j in np.argwhere(distances <= LIMIT).tolist()))
    assert any(name.startswith("train1699 ") or name.startswith("train16") for name in wanted), "also in the last block"
    pictures = {split: (names, with_hashes(each)) for split, (names, each) in hashes.items()}
    found = {leak.splits: leak.names for leak in find_duplicates(pictures)}
    assert found["train", "test"] == wanted
