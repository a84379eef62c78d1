"""Damage that sharing a video does to its faces, in five strengths, to measure the robustness of a detector.

In the manner of Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019): one corruption at a time, in five severities, for testing and never for training. The kinds
and their values are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.media.intra_frame import through_h264

CorruptionKind = Literal["jpeg", "blur", "noise", "resize", "h264"]
Image = NDArray[np.uint8]

_QUALITY: Final = (90, 70, 50, 30, 10)
_SIGMA: Final = (0.5, 1.0, 2.0, 3.0, 4.0)
_SIDE: Final = 224  # sigma is in pixels of a crop of this side, so that a face of any size is blurred alike
_NOISE: Final = (2, 5, 10, 20, 40)
_SHRINK: Final = (1.5, 2, 3, 4, 6)
_CRF: Final = (18, 23, 30, 36, 42)

STRENGTHS: Final[Mapping[CorruptionKind, tuple[str, ...]]] = {
    "jpeg": tuple(f"quality {quality}" for quality in _QUALITY),
    "blur": tuple(f"sigma {sigma:g} px" for sigma in _SIGMA),
    "noise": tuple(f"sd {sd}" for sd in _NOISE),
    "resize": tuple(f"1/{factor:g} side" for factor in _SHRINK),
    "h264": tuple(f"CRF {crf}" for crf in _CRF),
}
"""Labels of the strengths 1 to 5 of each kind, for axes; sigma at a side of 224 px, sd in grey levels of 255."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of damage to a face crop at one strength. The same (image, seed) gives the same result.

    - ``jpeg``: coded as JPEG with chroma at half the resolution, quality 90 to 10.
    - ``blur``: Gaussian, with a sigma of 0.5 to 4 px for a longer side of 224 px and in proportion for others.
    - ``noise``: independent Gaussian noise in each channel, standard deviation 2 to 40 grey levels. One seed gives the
      same pattern at all strengths.
    - ``resize``: shrunk to 1/1.5 to 1/6 of the side by area and enlarged again linearly.
    - ``h264``: coded by libx264 at CRF 18 to 42. It is *one intra frame* of the crop alone, not the motion-compensated
      coding of a clip: nothing is taken from other frames, neither their detail nor their errors. In drawn clips of 24
      frames at the same CRF, a frame came out 0.3 to 2 dB closer to its source (PSNR) than coded alone. To judge the
      compression of videos, compress videos.

    Args:
        kind: Kind of damage.
        strength: From 1 (mild) to 5 (severe); ``STRENGTHS`` says what that is.

    Raises:
        ConfigError: The kind is unknown or the strength is out of range.
    """

    kind: CorruptionKind
    strength: int

    def __post_init__(self) -> None:
        if self.kind not in get_args(CorruptionKind):
            known = ", ".join(get_args(CorruptionKind))
            raise ConfigError(f"kind: {self.kind!r} is no known corruption. Give one of {known}.")
        if self.strength not in range(1, 6):
            raise ConfigError(
                f"strength: {self.strength!r} of {self.kind}. Give a whole number from 1 (mild) to 5 (severe)."
            )

    def __call__(self, image: Image, seed: int) -> Image:
        """Damaged copy of ``image (H, W, 3)`` uint8 RGB.

        Args:
            image: Stays unchanged.
            seed: At least 0; only ``noise`` is random.
        """
        return _APPLY[self.kind](image, self.strength - 1, seed)


def _jpeg(image: Image, step: int, _: int) -> Image:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY[step]])
    return _uint8(cv2.cvtColor(_uint8(cv2.imdecode(code, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB))


def _blur(image: Image, step: int, _: int) -> Image:
    return _uint8(cv2.GaussianBlur(image, (0, 0), _SIGMA[step] * max(image.shape[:2]) / _SIDE))


def _noise(image: Image, step: int, seed: int) -> Image:
    grain = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return _uint8(np.clip(np.rint(image + grain * np.float32(_NOISE[step])), 0, 255))


def _resize(image: Image, step: int, _: int) -> Image:
    height, width = image.shape[:2]
    small = (max(1, round(width / _SHRINK[step])), max(1, round(height / _SHRINK[step])))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return _uint8(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR))


def _h264(image: Image, step: int, _: int) -> Image:
    return through_h264(image, _CRF[step])


def _uint8(image: object) -> Image:
    return np.asarray(image, np.uint8)


_APPLY: Final[Mapping[CorruptionKind, Callable[[Image, int, int], Image]]] = {
    "jpeg": _jpeg,
    "blur": _blur,
    "noise": _noise,
    "resize": _resize,
    "h264": _h264,
}
