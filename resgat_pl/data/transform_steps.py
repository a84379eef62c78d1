"""Steps of an augmentation that do what albumentations' own do, faster."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray


class Transpose(A.Transpose):  # type: ignore[misc]  # albumentations is not typed here
    """The same pixels as its base class, in a tenth of the time: that one copies element by element."""

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        """Swap rows and columns, of a mask too."""
        return cv2.transpose(img).astype(np.uint8, copy=False)


class Rotate(A.Rotate):  # type: ignore[misc]  # albumentations is not typed here
    """The same pixels as its base class, in two thirds of the time: OpenCV turns four channels faster than three."""

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        """Turn an image."""
        turned: NDArray[np.uint8] = super().apply(cv2.cvtColor(img, cv2.COLOR_RGB2RGBA), **params)
        return cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)


_QUANTILES: Final = np.array([NormalDist().inv_cdf((step + 0.5) / 256) for step in range(256)])
_NORMAL: Final = _QUANTILES / _QUANTILES.std()
"""256 values that are equally likely and have the standard normal distribution, up to 2.9 standard deviations."""


class GaussNoise(A.GaussNoise):  # type: ignore[misc]  # as above
    """Rounded Gaussian noise from one random byte a value: a tenth of the time, and no darker on average.

    The base class draws doubles and cuts the sum's fraction off, which darkens the image by half a grey level.
    """

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the noise, int16 in grey levels."""
        image = data["image"]
        table = np.rint(255 * self.py_random.uniform(*self.std_range) * _NORMAL).astype(np.int16)
        drawn = self.random_generator.integers(2**64, size=-(-image.size // 8), dtype=np.uint64).view(np.uint8)
        return {"noise_map": cv2.LUT(drawn[: image.size].reshape(image.shape), table)}

    def apply(self, img: NDArray[np.uint8], noise_map: NDArray[np.int16], **params: Any) -> NDArray[np.uint8]:
        """Add it; what leaves the range is cut off."""
        return cv2.add(img, noise_map, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
