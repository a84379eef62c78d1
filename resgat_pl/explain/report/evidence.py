"""The evidence sheet of a face: each named region enlarged, its noise and its spectrum, beside another region.

After the forensic step of Silva et al., "Deepfake forensics analysis" (FSI: Synergy 2022): what the detector points at
is shown to a human, with measurements that do not come from the detector. They are descriptions, not tests: skin,
beard and blur differ from region to region on genuine faces too. The percentile says how usual a value is among these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.face_regions import REGIONS
from resgat_pl.explain.drawing.sheet import SIDE, Strip, draw_sheet
from resgat_pl.explain.regions import region_weights
from resgat_pl.explain.report.face_records import RegionEvidence
from resgat_pl.nn.node_geometry import Lattice

CAPTION: Final = (
    "Crop: the region as the network saw it, enlarged. Residual: what a blur of 1 px takes away, eight times as "
    "strong; a seam or another noise may show here, and so do hair, pores and JPEG blocks. Spectrum: mean power over "
    "all directions by frequency; a fall at high frequencies is blur or enlargement, a peak a regular pattern. Beside "
    "it is the region of the same face that says least, which is not known to be untouched. None of this is a proof: "
    "the percentile says how usual a value is among genuine faces, where a reference was given."
)
_LEAST: Final = 24
"""Side in px below which a region has no spectrum worth drawing."""
_GAIN: Final = 8.0
_MASK: Final = 64  # samples along each side to find a region's place
_SPLIT: Final = 0.25  # cycles per px
_FLOOR: Final = 1e-12

Picture = NDArray[np.uint8]


class Patch(NamedTuple):
    """A square of a face.

    Attributes:
        box: x0, y0, x1, y1 in px of the crop.
        pixels: ``(P, P, 3)`` uint8 RGB.
        noise: Standard deviation of the noise in grey levels of 255 (Immerkær 1996).
        high: Power above a quarter of a cycle per px, as a share of all but the mean, in dB.
    """

    box: tuple[int, int, int, int]
    pixels: Picture
    noise: float
    high: float


@dataclass
class Reference:
    """Genuine faces with which values are compared.

    Attributes:
        faces: Gives ``(image (S, S, 3) uint8 RGB, landmarks (5, 2))`` of each; called once for each region.
        known: Values found so far, by region and side.
        identity: What tells these faces from others, such as the fingerprint of their manifest.
    """

    faces: Callable[[], Sequence[tuple[Picture, NDArray[np.float32]]]]
    known: dict[tuple[str, int], NDArray[np.float64]] = field(default_factory=dict)
    identity: str = ""

    def percentile(self, region: str, side: int, noise: float, high: float) -> tuple[float, float]:
        """Shares in [0, 1] of the genuine faces that have less noise, and less power at high frequencies, there."""
        if (region, side) not in self.known:
            patches = [patch_at(image, centre_of(landmarks, region), side) for image, landmarks in self.faces()]
            self.known[region, side] = np.array([(patch.noise, patch.high) for patch in patches]).reshape(-1, 2)
        table = self.known[region, side]
        less, equal = (table < (noise, high)).mean(axis=0), (table == (noise, high)).mean(axis=0)
        shares = less + equal / 2
        return float(shares[0]), float(shares[1])


def evidence_of(
    image: Picture,
    landmarks: NDArray[np.float32],
    regions: Mapping[str, float],
    named: Sequence[str],
    frame: int,
    reference: Reference | None = None,
) -> tuple[list[RegionEvidence], bytes]:
    """Measure and draw the named regions of a face beside the region that says least.

    Args:
        image: ``(S, S, 3)`` uint8 RGB, the crop as the network saw it.
        landmarks: ``(5, 2)`` in [0, 1] of the crop, usable.
        regions: Contributions in logits, by the names of ``REGIONS``.
        named: Regions that the words name, strongest first.
        frame: Number of the frame in its file.
        reference: Genuine faces to compare with.

    Returns:
        One record a region, and the sheet as a PNG file; empty where no region of the face is named.
    """
    named = [region for region in named if region != "background"]
    others = [region for region in REGIONS if region not in {*named, "background"}]
    if not named or not others:
        return [], b""
    beside = min(others, key=lambda region: abs(regions.get(region, 0.0)))
    found, strips = [], []
    for region in named:
        side = side_of(landmarks, region, image.shape[0])
        mine, other = (patch_at(image, centre_of(landmarks, name), side) for name in (region, beside))
        ranks = None if reference is None else reference.percentile(region, side, mine.noise, mine.high)
        record = RegionEvidence(
            region=region,
            contribution=regions.get(region, 0.0),
            beside=beside,
            frame=frame,
            box=list(mine.box),
            noise=round(mine.noise, 3),
            noise_beside=round(other.noise, 3),
            high=round(mine.high, 2),
            high_beside=round(other.high, 2),
            noise_percentile=None if ranks is None else ranks[0],
            high_percentile=None if ranks is None else ranks[1],
        )
        found.append(record)
        strips.append(_strip(record, mine, other))
    title = f"Evidence sheet of frame {frame}: named regions of the face beside the {beside}"
    return found, draw_sheet(strips, title, panel=1.6)[0]


def sentence(record: RegionEvidence) -> str:
    """The numbers of a region in words."""
    said = (
        f"The {record.region} ({_signed(record.contribution)} logit): noise {record.noise:.2f} grey levels "
        f"(the {record.beside}: {record.noise_beside:.2f}), high frequencies {_signed(record.high, 1)} dB "
        f"({_signed(record.high_beside, 1)} dB)"
    )
    if record.noise_percentile is None or record.high_percentile is None:
        return f"{said}."
    return (
        f"{said}; of the genuine faces of the reference {record.noise_percentile:.0%} have less noise there, and "
        f"{record.high_percentile:.0%} less power at high frequencies."
    )


def centre_of(landmarks: NDArray[np.float32], region: str) -> tuple[float, float]:
    """Middle of a region, x and y in [0, 1] of the crop."""
    inside = _inside(landmarks, region)
    if not inside.any():
        return 0.5, 0.5
    rows, columns = np.nonzero(inside)
    return (float(columns.mean()) + 0.5) / _MASK, (float(rows.mean()) + 0.5) / _MASK


def side_of(landmarks: NDArray[np.float32], region: str, size: int) -> int:
    """Side in px of the square around a region in a crop of ``size`` px."""
    inside = _inside(landmarks, region)
    spans = [np.ptp(np.nonzero(inside)[axis]) + 1 if inside.any() else 1 for axis in (0, 1)]
    return int(np.clip(round(max(spans) * size / _MASK), min(_LEAST, size), size))


def patch_at(image: Picture, centre: tuple[float, float], side: int) -> Patch:
    """A square of ``side`` px around a place of a crop, moved inside where it would reach beyond."""
    size = image.shape[0]
    x, y = (int(np.clip(round(share * size - side / 2), 0, size - side)) for share in centre)
    pixels = image[y : y + side, x : x + side]
    grey = _grey(pixels)
    return Patch((x, y, x + side, y + side), pixels, noise_level(grey), _high(spectrum(grey)))


def noise_level(grey: NDArray[np.float64]) -> float:
    """Standard deviation of the noise of a picture (Immerkær, "Fast noise variance estimation", CVIU 1996).

    A Laplacian mask takes away what is constant, linear or quadratic. Strong texture counts as noise.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 5, (64, 64))
        >>> round(noise_level(100 + np.arange(64) + noise))
        5
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)
    inner = cv2.filter2D(grey, cv2.CV_64F, mask)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(inner).mean())


def spectrum(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of a square picture by frequency, mean over all directions.

    A Hann window keeps the borders from looking like edges.

    Returns:
        ``(P // 2,)`` float64: bin k is the mean over k to k + 1 cycles per picture.

    Example:
        >>> wave = np.sin(2 * np.pi * 8 * np.arange(64) / 64)[None].repeat(64, axis=0)
        >>> int(spectrum(wave).argmax())
        8
    """
    side = grey.shape[0]
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * window))) ** 2
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset).astype(int)
    inside = radius < side // 2
    total = np.bincount(radius[inside], power[inside], side // 2)
    return total / np.bincount(radius[inside], minlength=side // 2)


def residual(pixels: Picture) -> Picture:
    """High-pass residual, ``(P, P, 3)`` uint8: what a Gaussian of 1 px takes away, times 8, on middle grey."""
    grey = _grey(pixels)
    shown = np.clip(128 + _GAIN * (grey - cv2.GaussianBlur(grey, (0, 0), 1.0)), 0, 255)
    return shown.astype(np.uint8)[..., None].repeat(3, axis=2)


def _high(power: NDArray[np.float64]) -> float:
    """Share of the power above ``_SPLIT`` cycles per px in dB; each ring counts with all its directions."""
    rings = np.arange(len(power)) + 0.5
    energy = power * rings
    share = energy[rings / (2 * len(power)) >= _SPLIT].sum() / max(energy[1:].sum(), _FLOOR)
    return float(10 * np.log10(max(share, _FLOOR)))


def _grey(pixels: Picture) -> NDArray[np.float64]:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64)


def _inside(landmarks: NDArray[np.float32], region: str) -> NDArray[np.bool_]:
    weights = region_weights(torch.from_numpy(np.asarray(landmarks, np.float32))[None], Lattice.even(_MASK, _MASK))
    inside: NDArray[np.bool_] = (weights[0, REGIONS.index(region)] > 0.5).numpy()
    return inside


def _strip(record: RegionEvidence, mine: Patch, other: Patch) -> Strip:
    panels = [mine.pixels, residual(mine.pixels), other.pixels, residual(other.pixels), _plot(mine, other, record)]
    titles = ["crop", "residual × 8", f"{record.beside}: crop", "residual × 8", "spectrum"]
    return Strip(record.region, [_enlarged(panel) for panel in panels], titles, sentence(record))


def _enlarged(picture: Picture) -> Picture:
    """Without smoothing: a pixel shall be seen as one."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)


def _plot(mine: Patch, other: Patch, record: RegionEvidence) -> Picture:
    """Both spectra in dB over frequency, from 0 to half a cycle per px."""
    canvas = np.full((SIDE, SIDE, 3), 255, np.uint8)
    curves = [10 * np.log10(np.maximum(spectrum(_grey(patch.pixels))[1:], _FLOOR)) for patch in (mine, other)]
    high = max(float(curve.max()) for curve in curves)
    low = max(min(float(curve.min()) for curve in curves), high - 90)  # dB; below is rounding
    left, top, right, bottom = 12, 48, SIDE - 10, SIDE - 30
    cv2.rectangle(canvas, (left, top), (right, bottom), (200, 200, 200), 1)
    for place, (curve, colour) in enumerate(zip(curves, ((178, 24, 43), (90, 90, 90)), strict=True)):
        x = np.linspace(left, right, len(curve))
        y = bottom - np.clip((curve - low) / max(high - low, 1e-9), 0, 1) * (bottom - top)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(canvas, [points], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
        name = (record.region, record.beside)[place]
        _write(canvas, name, (left, 18 + 22 * place), colour)
    _write(canvas, "0", (left, SIDE - 9), (60, 60, 60))
    _write(canvas, "0.5 cycles/px", (right - 126, SIDE - 9), (60, 60, 60))
    _write(canvas, f"{high - low:.0f} dB", (right - 62, top + 20), (60, 60, 60))
    return canvas


def _write(canvas: Picture, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.58, colour, 1, cv2.LINE_AA)


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
