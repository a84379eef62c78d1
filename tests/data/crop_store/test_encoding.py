"""One way to encode a crop and to size it for the network; each equal to the lines that it replaced."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.crop_store.encoding import as_stored, encode_crop, resize_crop


@pytest.fixture
def crop() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (64, 64), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_png_is_lossless_and_has_the_bytes_of_earlier_releases(crop: NDArray[np.uint8]) -> None:
    options = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    expected = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    assert encode_crop(crop, "png", 50) == expected
    assert np.array_equal(as_stored(crop, "png"), crop)
    decoded = cv2.imdecode(np.frombuffer(expected, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(decoded, crop)


@pytest.mark.parametrize("quality", [1, 60, 95, 100])
def test_jpeg_has_the_bytes_of_earlier_releases(crop: NDArray[np.uint8], quality: int) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    expected = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)[1]
    assert encode_crop(crop, "jpg", quality) == expected.tobytes()
    assert np.array_equal(as_stored(crop, "jpg", quality), cv2.imdecode(expected, cv2.IMREAD_COLOR_RGB))


@pytest.mark.parametrize("side", [32, 48, 64, 100])
def test_crops_and_masks_are_resized_alike(crop: NDArray[np.uint8], side: int) -> None:
    for image in (crop, crop[:, :, 0]):
        shrinks = side < 64
        expected = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        resized = resize_crop(image, side)
        assert np.array_equal(resized, image if side == 64 else expected)
        assert resized.flags.c_contiguous
