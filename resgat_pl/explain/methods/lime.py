"""LIME on squares or superpixels of the image, as in the paper's figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE
from resgat_pl.explain.base import Attribution, Explainer, Unit, count_passes, evaluation_mode, optional
from resgat_pl.explain.methods.pixels import Segments, check_perturbing, mean_by_cell, node_of_pixel, segment
from resgat_pl.explain.registry import explainer

Classifier = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Images ``(B, H, W, 3)`` float32 in [0, 1] → probabilities ``(B, 2)`` float64 of real and fake."""


@explainer("lime")
class LIME(Explainer):
    """LIME (Ribeiro et al., KDD 2016) of the probability, by the authors' package with its defaults.

    Segments are replaced by their mean colour at random, half of them each time, and a ridge regression weighted by
    similarity to the image explains the probability by the segments that are left. The ResGAT paper's figure uses
    ``quickshift`` and 1000 samples. A node's value is the mean over the pixels of its cell of the weight of their
    segment, which is how much probability the segment brings. The bias is the logit with every segment hidden.

    Args:
        samples: Perturbed images to classify, the unperturbed one included.
        segments: What is perturbed, see ``pixels.Segments``.
        seed: Of the perturbations and of the superpixels: the same seed gives the same map.

    Raises:
        ConfigError: See ``Explainer``, or an argument is out of range.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> LIME(net, samples=10, segments="squares").attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "probability"

    def __init__(
        self,
        model: nn.Module,
        samples: int = 1000,
        segments: Segments = "quickshift",
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, batch_size)
        check_perturbing(samples, segments, seed)
        self.samples = samples
        self.segments = segments
        self.seed = seed

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if lime or scikit-image is not installed."""
        squares = node_of_pixel(self.net, *images.shape[2:])
        nodes, hidden = [], []
        with count_passes(self.net) as passes:
            for image in images:
                table = segment(self.net, image, self.segments, self.seed)
                nodes.append(mean_by_cell(self.weights(image, table)[None], squares))
                hidden.append(mean_by_cell(image, table)[:, table])
            logit, bias = self.net(images).logit, self.net(torch.stack(hidden)).logit
        return passes.attribution(torch.cat(nodes), logit, bias)

    def weights(self, image: Tensor, table: Tensor) -> Tensor:
        """Weight ``(H, W)`` float32 for *fake* of the segment ``table (H, W)`` of each pixel of ``image (3, H, W)``."""
        parameter = next(self.net.parameters())

        def classify(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
            given = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
            logit = self.net(given.to(parameter.device, parameter.dtype)).logit
            fake = logit.double().cpu().sigmoid()  # float32 would round a confident answer to 1
            return torch.stack([1 - fake, fake], dim=1).numpy()

        explanation = _quiet_lime()(random_state=self.seed).explain_instance(
            image.detach().float().permute(1, 2, 0).cpu().numpy(),
            classify,
            labels=(FAKE,),
            top_labels=None,
            num_samples=self.samples,
            batch_size=self.batch_size,
            segmentation_fn=lambda _: table.cpu().numpy(),
            random_seed=self.seed,
        )
        weights = np.zeros(int(table.max()) + 1, np.float32)
        for number, found in explanation.local_exp[FAKE]:
            weights[number] = found
        return torch.from_numpy(weights).to(table.device)[table]


@torch.no_grad()
def lime_map(
    net: nn.Module,
    image: Tensor,
    samples: int = 1000,
    segments: Segments = "quickshift",
    seed: int = 0,
    batch_size: int = 32,
) -> Tensor:
    """LIME at the resolution of the image. Global random states are neither read nor changed.

    Args:
        net: See ``Explainer``.
        image: ``(3, H, W)`` float in [0, 1], RGB.
        samples: Perturbed images to classify, the unperturbed one included.
        segments: What is perturbed.
        seed: Of the perturbations and of the superpixels.
        batch_size: Images classified at once; does not matter to the result beyond float precision.

    Returns:
        ``(H, W)`` float32 on the CPU, for each pixel the weight of its segment: the change of the probability of
        *fake* that the segment brings, negative if it is evidence for *real*.

    Raises:
        ConfigError: The image has another shape or is too small for a grid of 2×2 nodes; an argument is out of range;
            lime or scikit-image is not installed.
    """
    explainer = LIME(net, samples, segments, seed, batch_size)
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ConfigError(
            f"The image is {tuple(image.shape)} {image.dtype}; give one image (3, H, W) of floats in [0, 1]."
        )
    with evaluation_mode(explainer.net):
        return explainer.weights(image, segment(explainer.net, image, segments, seed)).cpu()


def _quiet_lime() -> Any:
    class Quiet(optional("lime.lime_image", "LimeImageExplainer", "LIME", "lime")):  # type: ignore[misc]  # Any
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

    return Quiet
