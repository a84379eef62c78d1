from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.self_blends.camera import Camera, Source

from ...helpers.drawn_faces import SIDE, drawn_face


def camera(seed: int, source: Source = "photo", side: int = SIDE) -> Camera:
    return Camera(np.random.default_rng(seed), source, side)


@pytest.mark.parametrize("source", ["photo", "video"])
def test_one_camera_makes_the_same_of_the_same(source: Source) -> None:
    image, _ = drawn_face(0)
    for seed in range(12):
        shots = [camera(seed, source).shoot(image) for _ in range(2)]
        device = camera(seed, source)
        again = [device.shoot(image), device.shoot(image.copy())]
        assert (shots[0] == shots[1]).all()
        assert (again[0] == again[1]).all()  # to the grain of the noise
        assert (shots[0] == again[0]).all()
        assert shots[0].shape == image.shape


def test_partners_differ_where_the_forgery_is_alone() -> None:
    """But for codecs, which spread it by a block."""
    image, _ = drawn_face(1)
    fake = image.copy()
    fake[40:60, 40:60] = 255 - fake[40:60, 40:60]
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[40:60, 40:60] = 1
    for seed in range(20):
        device = camera(seed)
        seen = device.follow(mask)
        difference = np.abs(device.shoot(image).astype(int) - device.shoot(fake)).mean(axis=2)
        assert difference[seen > 0.9].mean() > 15
        assert difference[seen == 0].mean() < 0.1 * difference[seen > 0.9].mean()


def test_landmarks_go_where_the_picture_goes() -> None:
    """Dots on a black picture are found again at the landmarks, and the eye on the left stays the first."""
    points = np.array([[45, 50], [82, 52], [63, 68], [50, 88], [78, 90]], np.float32)
    mirrored = 0
    for seed in range(16):
        device = camera(seed)
        seen = device.move(points)
        for place, point in enumerate(points):
            dot = np.zeros((SIDE, SIDE), np.float32)
            dot[int(point[1]), int(point[0])] = 1
            y, x = np.unravel_index(int(device.follow(dot).argmax()), dot.shape)
            assert np.abs(seen - (x, y)).max(axis=1).min() < 1.6, place
        assert seen[0, 0] < seen[1, 0]
        assert seen[3, 0] < seen[4, 0]
        gap = np.abs(seen - points)
        mirrored += bool(device._mirror)
        assert gap.max() < 0.45 * SIDE
    assert 2 < mirrored < 14


def test_mirrored_landmarks_stay_on_the_eyes() -> None:
    """Drawn eyes are darker than the skin around them, mirrored or not."""
    image, landmarks = drawn_face(3)
    for seed in range(12):
        device = camera(seed)
        shot = device.shoot(image).mean(axis=2)
        for x, y in device.move(landmarks * SIDE)[:2]:
            if not (12 < x < SIDE - 12 and 12 < y < SIDE - 12):
                continue
            eye = shot[round(float(y)) - 3 : round(float(y)) + 4, round(float(x)) - 6 : round(float(x)) + 7]
            around = shot[round(float(y)) - 12 : round(float(y)) + 13, round(float(x)) - 12 : round(float(x)) + 13]
            assert eye.min() <= np.quantile(around, 0.1)


def test_masks_stay_in_range() -> None:
    mask = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    for seed in range(10):
        seen = camera(seed).follow(mask)
        assert seen.dtype == np.float32
        assert seen.min() >= 0
        assert seen.max() <= 1


def test_portraits_lose_more_than_videos() -> None:
    """They were never compressed before."""
    image, _ = drawn_face(0)
    flat = np.full_like(image, 128)
    rates = {}
    for source in ("photo", "video"):
        coded = [bool(device._crf or device._quality) for device in (camera(seed, source) for seed in range(200))]  # type: ignore[arg-type]
        rates[source] = np.mean(coded)
    assert rates["photo"] > rates["video"] + 0.15
    assert camera(0).shoot(flat).shape == flat.shape
