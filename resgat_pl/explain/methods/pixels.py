"""From pixels to nodes: the cells of the grid, superpixels, and what hidden pixels are replaced by."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import at_least, one_of, optional
from resgat_pl.nn.detector_net import DetectorNet

Segments = Literal["squares", "quickshift"]
"""Parts that are switched on and off: ``squares`` are the cells of the network's grid, ``quickshift`` superpixels."""
Baseline = Literal["mean", "blur", "black"]
"""An image without information: of the image's mean colour, the image blurred, or black.

None is neutral. ``black`` does not change dark pixels, and so finds nothing about them. ``blur`` keeps the face, but
blending and resampling blur as well, so for a detector of fakes it can add evidence where it should remove it.
``mean``, the default of all methods that hide pixels, has no detail that could look real or fake.
"""
Fill = Literal["mean", "blur", "black", "inpaint"]
"""Content of hidden pixels: a ``Baseline``, or what inpainting (Telea 2004) draws from the pixels that are left."""

_BLUR: Final = 1 / 14
"""Standard deviation of the blur as a share of the shorter side: half a cell of a 7×7 grid."""


def node_of_pixel(net: DetectorNet, height: int, width: int) -> Tensor:
    """Node ``(H, W)`` int64 of each pixel, the nearest one, on the net's device: see ``nn.lattice``.

    Raises:
        ConfigError: An image of that size is too small for a grid of 2×2 nodes.
    """
    return net.lattice(height, width).cells(height, width).to(next(net.parameters()).device)


def sum_by_cell(pixels: Tensor, table: Tensor) -> Tensor:
    """Sum ``(B, H, W)`` over the pixels of each segment of ``table (H, W)`` int64: ``(B, segments)``."""
    sums = pixels.new_zeros(len(pixels), int(table.max()) + 1)
    return sums.index_add_(1, table.flatten(), pixels.flatten(1))


def mean_by_cell(pixels: Tensor, table: Tensor) -> Tensor:
    """Average ``(B, H, W)`` over the pixels of each segment of ``table (H, W)`` int64: ``(B, segments)``."""
    return sum_by_cell(pixels, table) / table.flatten().bincount()


def segment(net: DetectorNet, image: Tensor, segments: Segments, seed: int) -> Tensor:
    """Segment ``(H, W)`` int64, numbered from 0, of each pixel of ``image (3, H, W)``, on the net's device.

    Raises:
        ConfigError: ``segments`` is unknown, or scikit-image is not installed.
    """
    one_of(get_args(Segments), segments=segments)
    if segments == "squares":
        return node_of_pixel(net, *image.shape[1:])
    pixels = image.detach().float().permute(1, 2, 0).cpu().numpy()
    # Lime's defaults. It passes its seed under a name that scikit-image has dropped, and so draws the same ones always.
    quickshift = optional("skimage.segmentation", "quickshift", "quickshift", "scikit-image")
    table = np.asarray(quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=seed), np.int64)
    return torch.from_numpy(table).to(next(net.parameters()).device)


def check_perturbing(samples: int, segments: str, seed: int) -> None:
    """Refuse arguments of methods that hide segments at random, with a ``ConfigError``."""
    at_least(2, samples=samples)
    at_least(0, seed=seed)
    one_of(get_args(Segments), segments=segments)


def check_reference(reference: Tensor, images: Tensor) -> None:
    """Refuse other faces ``(R, 3, H, W)`` that have not the size of ``images (B, 3, H, W)``, with a ``ConfigError``."""
    if reference.ndim != 4 or reference.shape[1:] != images.shape[1:] or not len(reference):
        raise ConfigError(
            f"The reference is {tuple(reference.shape)}, the images are {tuple(images.shape[1:])}: give at least one "
            "face of their size, (R, 3, H, W)."
        )


def baseline_of(images: Tensor, baseline: Baseline | Tensor) -> Tensor:
    """Baseline ``(B, 3, H, W)`` of each of ``images (B, 3, H, W)``, floats in [0, 1], RGB.

    Args:
        images: What is explained.
        baseline: A kind of baseline, or one for all images: a picture ``(3, H, W)`` or a colour ``(3, 1, 1)``.

    Raises:
        ConfigError: ``baseline`` is unknown, or of another shape than the images.
    """
    if isinstance(baseline, Tensor):
        if baseline.ndim != 3 or any(a not in (1, b) for a, b in zip(baseline.shape, images.shape[1:], strict=True)):
            raise ConfigError(
                f"The baseline is {tuple(baseline.shape)}, the images are {tuple(images.shape[1:])}: give a picture of "
                "their size, or a colour (3, 1, 1)."
            )
        return baseline.to(images).expand_as(images)
    one_of(get_args(Baseline), baseline=baseline)
    if baseline == "black":
        return torch.zeros_like(images)
    if baseline == "mean":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    sigma = min(images.shape[2:]) * _BLUR
    blurred: Tensor = gaussian_blur(images, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2)
    return blurred


def inpaint(image: Tensor, hidden: Tensor) -> Tensor:
    """Draw over the hidden pixels from what is around them (Telea, J. Graphics Tools 2004), by OpenCV.

    Args:
        image: ``(3, H, W)`` float in [0, 1], RGB.
        hidden: ``(H, W)`` bool.

    Returns:
        ``(3, H, W)`` float in [0, 1] on the image's device, in steps of 1/255 where hidden, and the image elsewhere; of
        the image's mean colour if all is hidden.
    """
    if bool(hidden.all()):
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    import cv2

    picture = (image * 255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    drawn = cv2.inpaint(picture, hidden.byte().cpu().numpy(), 3, cv2.INPAINT_TELEA)
    return torch.where(hidden, torch.from_numpy(drawn).permute(2, 0, 1).to(image) / 255, image)
