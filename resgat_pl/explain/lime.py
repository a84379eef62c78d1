"""Read-outs by perturbation: LIME on squares or superpixels of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.errors import ConfigError
from resgat_pl.explain.gradient import check_evaluation_mode
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.types import FAKE

Segments = Literal["squares", "quickshift"]
"""What LIME switches on and off: ``squares`` are the cells of the network's grid, ``quickshift`` superpixels."""
Classifier = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Images ``(B, H, W, 3)`` float32 in [0, 1] → probabilities ``(B, 2)`` float64 of real and fake."""


@torch.no_grad()
def lime_map(
    net: ResGAT,
    image: Tensor,
    samples: int = 1000,
    segments: Segments = "quickshift",
    seed: int = 0,
    batch_size: int = 32,
) -> Tensor:
    """LIME (Ribeiro et al., KDD 2016) for the *fake* class, by the authors' package with its defaults.

    Segments are replaced by their mean colour at random, half of them each time, and a ridge regression weighted by
    similarity to the image explains the probability by the segments that are left. The ResGAT paper's figure uses
    ``quickshift`` and 1000 samples. Global random states are neither read nor changed.

    Args:
        net: Network in evaluation mode.
        image: ``(3, H, W)`` float in [0, 1], RGB.
        samples: Perturbed images to classify, the unperturbed one included.
        segments: What is perturbed.
        seed: Of the perturbations and of the superpixels: the same seed gives the same map.
        batch_size: Images classified at once; does not matter to the result beyond float precision.

    Returns:
        ``(H, W)`` float32 on the CPU, for each pixel the weight of its segment: the change of the probability of
        *fake* that the segment brings, negative if it speaks for *real*.

    Raises:
        ConfigError: The network is in training mode; the image has another shape or is too small for a grid of 2×2
            nodes; an argument is out of range; lime or scikit-image is not installed.
    """
    check_evaluation_mode(net)
    _check(image, samples, segments, seed, batch_size)
    pixels = image.detach().float().permute(1, 2, 0).cpu().numpy()
    table = _squares(net, *pixels.shape[:2]) if segments == "squares" else _superpixels(pixels, seed)
    device = next(net.parameters()).device

    def classify(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        logit = net(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(device)).logit
        fake = logit.double().cpu().sigmoid()  # float32 would round a confident answer to 1
        return torch.stack([1 - fake, fake], dim=1).numpy()

    weights = _lime(pixels, table, classify, samples, seed, batch_size)
    return torch.from_numpy(weights[table])


def lime_nodes(net: ResGAT, weights: Tensor) -> Tensor:
    """Average a map of pixels, such as that of ``lime_map``, over the cells of the network's grid.

    Args:
        net: Network whose grid is meant.
        weights: ``(H, W)`` float, a value a pixel of an image of that size.

    Returns:
        ``(N,)`` float. For ``squares`` these are the weights of the squares themselves.

    Raises:
        ConfigError: An image of that size is too small for a grid of 2×2 nodes.
    """
    cells = torch.from_numpy(_squares(net, *weights.shape)).flatten().to(weights.device)
    sums = weights.new_zeros(int(cells.max()) + 1).index_add(0, cells, weights.flatten())
    return sums / cells.bincount()


def _check(image: Tensor, samples: int, segments: str, seed: int, batch_size: int) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ConfigError(
            f"The image is {tuple(image.shape)} {image.dtype}; give one image (3, H, W) of floats in [0, 1]."
        )
    if segments not in get_args(Segments):
        raise ConfigError(f"segments is {segments!r}; it must be {' or '.join(get_args(Segments))}.")
    for name, value, least in (("samples", samples, 2), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}.")


def _squares(net: ResGAT, height: int, width: int) -> NDArray[np.int64]:
    """Node ``(H, W)`` of each pixel: the image divided evenly into the cells of its grid."""
    rows, columns = net.backbone.grid_shape(height, width)
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return row[:, None] * columns + column


def _superpixels(pixels: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Segment ``(H, W)`` of each pixel, numbered from 0, with the parameters of lime's default.

    lime passes its seed under a name that scikit-image has dropped, and silently draws the same superpixels always.
    """
    try:
        from skimage.segmentation import quickshift
    except ImportError as error:
        raise _missing("scikit-image", error) from error
    segments = quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=seed)  # type: ignore[no-untyped-call]
    return np.asarray(segments, np.int64)


def _lime(
    pixels: NDArray[np.float32],
    table: NDArray[np.int64],
    classify: Classifier,
    samples: int,
    seed: int,
    batch_size: int,
) -> NDArray[np.float32]:
    """Weight ``(segments,)`` of each segment for the fake class."""
    try:
        from lime.lime_image import LimeImageExplainer
    except ImportError as error:
        raise _missing("lime", error) from error

    class Explainer(LimeImageExplainer):  # type: ignore[misc]  # lime has no types, so its classes are Any
        """lime's own, without the progress bar that it cannot switch off and without its loop over pixels."""

        def data_labels(
            self,
            image: NDArray[np.float32],
            fudged_image: NDArray[np.float32],
            segments: NDArray[np.int64],
            classifier_fn: Classifier,
            num_samples: int,
            batch_size: int = 10,
        ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            """Draw the same perturbations from the same random numbers."""
            count = int(segments.max()) + 1
            kept = self.random_state.randint(0, 2, num_samples * count).reshape(num_samples, count)
            kept[0] = 1
            answers = [
                classifier_fn(np.where(batch[:, segments, None] == 1, image, fudged_image))
                for batch in np.split(kept, range(batch_size, num_samples, batch_size))
            ]
            return kept, np.concatenate(answers)

    explanation = Explainer(random_state=seed).explain_instance(
        pixels,
        classify,
        labels=(FAKE,),
        top_labels=None,
        num_samples=samples,
        batch_size=batch_size,
        segmentation_fn=lambda _: table,
        random_seed=seed,
    )
    weights = np.zeros(int(table.max()) + 1, np.float32)
    for segment, weight in explanation.local_exp[FAKE]:
        weights[segment] = weight
    return weights


def _missing(package: str, error: ImportError) -> ConfigError:
    return ConfigError(f'LIME needs {package}, which cannot be imported ({error}): pip install "resgat-pl[figures]".')
