"""Shapley values of the parts of an image, by captum."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Attribution, Explainer, count_passes, optional
from resgat_pl.explain.methods.gnn import seeded
from resgat_pl.explain.methods.occlusion import HiddenParts
from resgat_pl.explain.methods.pixels import Fill, Segments, check_perturbing, node_of_pixel, segment, sum_by_cell
from resgat_pl.explain.registry import explainer


@explainer("shap")
class KernelSHAP(Explainer):
    """Kernel SHAP (Lundberg & Lee, NeurIPS 2017): Shapley values of squares or superpixels, by weighted regression.

    Hidden segments show ``fill``. The values are of the logit and add up: the bias is the logit with everything hidden.
    captum draws the coalitions from the Shapley kernel; here each is followed by its complement (Covert & Lee, AISTATS
    2021, section 4), which brings the values nearer to the exact ones at the same cost. A superpixel's value is spread
    evenly over its pixels and summed over each node's cell.

    Args:
        samples: Coalitions per image, at least two for each segment; the first two are all segments and none.
        segments: See ``pixels.Segments``.
        fill: What hidden segments show: see ``pixels.Fill``, or a picture ``(3, H, W)`` or a colour ``(3, 1, 1)``.
        seed: Of the coalitions and of the superpixels.

    Raises:
        ConfigError: See ``Explainer``, or an argument is out of range.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> KernelSHAP(net, samples=16).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    exact: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        samples: int = 1000,
        segments: Segments = "squares",
        fill: Fill | Tensor = "mean",
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, batch_size)
        check_perturbing(samples, segments, seed)
        self.samples = samples
        self.segments = segments
        self.fill = fill
        self.seed = seed

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``.

        Raises:
            ConfigError: There are too few samples for the segments, ``fill`` is unknown or does not fit, or captum
                or scikit-image is not installed.
        """
        squares = node_of_pixel(self.net, *images.shape[2:])
        nodes, biases = [], []
        with count_passes(self.net) as passes:
            for image in images:
                table = segment(self.net, image, self.segments, self.seed)
                game = HiddenParts(self.net, image, table, self.fill, self.batch_size)
                if self.samples < 2 * game.segments:
                    raise ConfigError(
                        f"samples is {self.samples}, but the image has {game.segments} segments: give at least "
                        f"{2 * game.segments}, better ten times as many."
                    )
                values, bias = self._values(game, image)
                biases.append(bias)
                spread = values.double().to(table.device) / table.flatten().bincount()  # evenly over the pixels
                nodes.append(sum_by_cell(spread[table][None], squares).float())
            logit = self.net(images).logit
        return passes.attribution(torch.cat(nodes), logit, torch.stack(biases).to(logit))

    def _values(self, game: HiddenParts, image: Tensor) -> tuple[Tensor, Tensor]:
        """Shapley values ``(segments,)`` float of an image, and the logit with everything hidden."""
        everything = torch.ones(1, game.segments, device=image.device)
        whole, bias = game.logits(torch.cat([everything, torch.zeros_like(everything)]) > 0.5)
        with seeded(self.seed, image.device):
            values = _paired_kernel_shap(lambda coalitions: game.logits(coalitions > 0.5)).attribute(
                everything,
                baselines=torch.zeros_like(everything),
                n_samples=self.samples,
                perturbations_per_eval=self.batch_size,
            )[0]
        # captum weighs the coalitions of all segments and of none a million times; what is left is shared out evenly.
        return values + (whole - bias - values.sum()) / game.segments, bias


def _paired_kernel_shap(play: Any) -> Any:  # captum is not installed everywhere
    """Captum's ``KernelShap`` that evaluates the complement after each coalition it draws."""

    class Paired(optional("captum.attr", "KernelShap", "KernelSHAP")):  # type: ignore[misc]  # captum has no types, so its classes are Any
        def kernel_shap_perturb_generator(self, original_inp: Any, **kwargs: object) -> Generator[Tensor, None, None]:
            for place, coalition in enumerate(super().kernel_shap_perturb_generator(original_inp, **kwargs)):
                yield coalition
                if place >= 2:  # the first two are all segments and none
                    yield 1 - coalition

    return Paired(play)
