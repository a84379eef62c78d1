"""Explanations by gradient: on the encoder's feature map, or on the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import (
    Attribution,
    Explainer,
    Explanation,
    Passes,
    Target,
    Unit,
    at_least,
    completeness_gap,
    count_passes,
    optional,
)
from resgat_pl.explain.methods.pixels import (
    Baseline,
    baseline_of,
    check_reference,
    mean_by_cell,
    node_of_pixel,
    sum_by_cell,
)
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.encoders.two_stages import TwoStages
from resgat_pl.nn.resgat import ResGAT


@explainer("gradient")
class GradCAM(Explainer):
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the logit on the encoder's feature map, by captum.

    m_j = Σ_f a_f x_jf with a_f = (1/N) Σ_i ∂z/∂x_if (their Eqs. 1 and 2), x_j being the features of node j. Under
    uniform attention m_j is exactly ``NodeEvidence``: averaging the gradient over the nodes takes the attention out,
    and the evidence of each node is left. The bias is b' of ``nn.contribution``, with which the map then adds
    up to the logit; the gap measures how far from uniform attention is.

    Args:
        relu: True keeps only evidence for the target, as in the ResGAT paper's figure and Selvaraju's Eq. 2; the
            map is then unsigned. False keeps the sign.

    Of other detectors than ResGAT the bias is the logit of nodes that are all zero: without attention, as with a mean
    and a linear head, the map then adds up exactly (class activation mapping, Zhou et al., CVPR 2016).

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> GradCAM(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    needs: ClassVar[type[DetectorNet]] = EncoderNet
    net: EncoderNet

    def __init__(self, model: nn.Module, relu: bool = False, batch_size: int = 32) -> None:
        super().__init__(model, batch_size)
        if getattr(self.net, "pooling", "") == "cls":
            raise ConfigError(
                "GradCAM explains by the feature map, and net.pooling is cls: the logit follows from the class token "
                "alone. Methods of pixels explain it, such as InputXGradient, Occlusion and KernelSHAP."
            )
        self.relu = relu

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        if not isinstance(getattr(net, "backbone", None), TwoStages):
            return None
        return "explains one feature map, and this network reads two (encoder_stage [3, 4]). Contribution explains it."

    def attribute(self, images: Tensor, target: Target = "fake") -> Explanation:
        """See ``Explainer``; raises ConfigError also if captum is not installed."""
        found = super().attribute(images, target)
        if not self.relu:
            return found
        nodes = found.node_map.relu()  # of the target: that of real is not the negative of that of fake
        return replace(
            found, node_map=nodes, signed=False, completeness_gap=completeness_gap(nodes, found.logit, found.bias)
        )

    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        grad_cam = optional("captum.attr", "LayerGradCam", "Grad-CAM")
        parts: list[tuple[Tensor, Tensor]] = []

        def logit(batch: Tensor) -> Tensor:
            parts.append(self._logit_and_bias(batch))
            return parts[-1][0]  # one number an image, and so no target for captum to choose

        with _differentiable(self, images) as (pixels, passes):
            maps = grad_cam(logit, self.net.backbone).attribute(pixels)
        return passes.attribution(maps.flatten(1), *parts[0])

    def _logit_and_bias(self, images: Tensor) -> tuple[Tensor, Tensor]:
        net = self.net
        if isinstance(net, ResGAT) and net.has_contributions:
            found = decompose(net, net.graph(net.encode(images)))
            return found.output.logit, found.bias
        nodes: list[Tensor] = []
        keep = net.backbone.register_forward_hook(lambda _, __, maps: nodes.append(maps.flatten(2).transpose(1, 2)))
        try:
            logit = net(images).logit
        finally:
            keep.remove()
        with torch.no_grad():
            return logit, net.forward_nodes(torch.zeros_like(nodes[0])).logit


@explainer("gradient")
class InputXGradient(Explainer):
    """Input × gradient (Shrikumar et al., "Not just a black box", 2016): pixel values times the logit's gradient.

    Summed over the channels and over the pixels of each node's cell: one pass of the image and one back, of any
    detector. The bias is the logit of a black image, so the gap measures how far the logit is from linear in them.

    Example:
        >>> from resgat_pl.nn.pooled import PooledClassifier
        >>> net = PooledClassifier("resnet18", encoder_stage=3, image_size=64)
        >>> InputXGradient(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 4, 4])
    """

    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        with _differentiable(self, images) as (pixels, passes):
            logit = self.net(pixels.requires_grad_()).logit
            (gradient,) = torch.autograd.grad(logit.sum(), pixels)
            with torch.no_grad():
                bias = self.net(torch.zeros_like(pixels)).logit
        nodes = sum_by_cell((gradient * images).sum(dim=1), node_of_pixel(self.net, *images.shape[2:]))
        return passes.attribution(nodes, logit, bias)


@explainer("gradient")
class IntegratedGradients(Explainer):
    """Integrated gradients (Sundararajan et al., ICML 2017) of the logit on the pixels, by captum.

    The gradient is integrated along the straight line from a baseline to the image (Gauss-Legendre), times the
    difference of the two, and summed over the channels and over the pixels of each node's cell. The bias is the logit
    of the baseline, so the gap is the error of the integration: more steps make it smaller.

    Args:
        steps: Gradients an image.
        baseline: See ``pixels.baseline_of``.

    Raises:
        ConfigError: See ``Explainer``, or ``steps`` is not positive.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> IntegratedGradients(net, steps=2).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def __init__(
        self, model: nn.Module, steps: int = 32, baseline: Baseline | Tensor = "mean", batch_size: int = 32
    ) -> None:
        super().__init__(model, batch_size)
        at_least(1, steps=steps)
        self.steps = steps
        self.baseline = baseline

    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if captum is not installed, or the baseline does not fit."""
        captums = optional("captum.attr", "IntegratedGradients", "IntegratedGradients")
        with _differentiable(self, images) as (pixels, passes):
            baseline = baseline_of(pixels, self.baseline)
            found = captums(lambda batch: self.net(batch).logit).attribute(
                pixels, baseline, n_steps=self.steps, internal_batch_size=self.batch_size
            )
            with torch.no_grad():
                logit, bias = self.net(pixels).logit, self.net(baseline).logit
        nodes = sum_by_cell(found.detach().sum(dim=1), node_of_pixel(self.net, *images.shape[2:]))
        return passes.attribution(nodes, logit, bias)


@explainer("gradient")
class GradientSHAP(Explainer):
    """Expected gradients (Erion et al., Nature MI 2021), which approximate SHAP values of the pixels.

    Integrated gradients averaged over a distribution of baselines, by one random point on each line:
    mean over s of (x − b_s) · ∇z(b_s + u_s (x − b_s)), u_s uniform in [0, 1]. Summed like ``IntegratedGradients``; the
    bias is the mean logit of the b_s. captum's ``GradientShap`` is the same estimate, but draws from global random
    states, again for each batch, and puts all samples into one batch; here every image has the same draws.

    Args:
        reference: ``(R, 3, H, W)`` float in [0, 1], RGB, faces to draw baselines from, with replacement; None draws
            Gaussian noise around ``baseline``.
        baseline: See ``pixels.baseline_of``; without ``reference``.
        noise: Standard deviation of that noise, of values in [0, 1].
        samples: Gradients an image.
        seed: Of the draws.

    Raises:
        ConfigError: See ``Explainer``, or an argument is out of range.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> GradientSHAP(net, samples=2).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        reference: Tensor | None = None,
        baseline: Baseline | Tensor = "mean",
        noise: float = 0.1,
        samples: int = 32,
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, batch_size)
        at_least(1, samples=samples)
        at_least(0, seed=seed, noise=noise)
        self.reference = reference
        self.baseline = baseline
        self.noise = noise
        self.samples = samples
        self.seed = seed

    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if the baseline or the reference does not fit."""
        maps, biases = [], []
        with _differentiable(self, images) as (pixels, passes):
            random = torch.Generator().manual_seed(self.seed)
            along = torch.split(torch.rand(self.samples, 1, 1, 1, generator=random).to(pixels), self.batch_size)
            drawn = torch.split(self._draw(pixels, random), self.batch_size)
            centres = baseline_of(pixels, self.baseline)
            for image, centre in zip(pixels, centres, strict=True):
                found, bias = torch.zeros_like(image), image.new_zeros(())
                for part, u in zip(drawn, along, strict=True):
                    baselines = part if self.reference is not None else (centre + part).clamp(0, 1)
                    points = (baselines + u * (image - baselines)).requires_grad_()
                    (gradient,) = torch.autograd.grad(self.net(points).logit.sum(), points)
                    found += ((image - baselines) * gradient).sum(dim=0) / self.samples
                    with torch.no_grad():
                        bias += self.net(baselines).logit.sum() / self.samples
                maps.append(found.sum(dim=0))
                biases.append(bias)
            with torch.no_grad():
                logit = self.net(pixels).logit
        nodes = sum_by_cell(torch.stack(maps), node_of_pixel(self.net, *images.shape[2:]))
        return passes.attribution(nodes, logit, torch.stack(biases))

    def _draw(self, images: Tensor, random: torch.Generator) -> Tensor:
        """``(samples, 3, H, W)``, baselines or the noise of them."""
        if self.reference is None:
            return torch.randn(self.samples, *images.shape[1:], generator=random).to(images) * self.noise
        check_reference(self.reference, images)
        rows = torch.randint(len(self.reference), (self.samples,), generator=random)
        return self.reference[rows.to(self.reference.device)].to(images)


@explainer("gradient")
class Saliency(Explainer):
    """Saliency (Simonyan et al., ICLR workshop 2014), by captum: how much the logit reacts to each pixel.

    The greatest absolute gradient of a pixel's channels, averaged over each node's cell. It has no sign and no scale of
    evidence: a pixel to which the logit reacts need not be why it is what it is. The bias is the value of the
    tangent at the image for a black one.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Saliency(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "gradient"
    signed: ClassVar[bool] = False

    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if captum is not installed."""
        captums = optional("captum.attr", "Saliency", "Saliency")
        logits: list[Tensor] = []

        def logit(batch: Tensor) -> Tensor:
            logits.append(self.net(batch).logit)
            return logits[-1]

        with _differentiable(self, images) as (pixels, passes):
            gradient = captums(logit).attribute(pixels.requires_grad_(), abs=False).detach()
        nodes = mean_by_cell(gradient.abs().amax(dim=1), node_of_pixel(self.net, *images.shape[2:]))
        bias = logits[0].detach() - (gradient * images).sum(dim=(1, 2, 3))
        return passes.attribution(nodes, logits[0], bias)


@contextmanager
def _differentiable(explainer: Explainer, images: Tensor) -> Iterator[tuple[Tensor, Passes]]:
    """Record gradients whatever the caller does, on a copy: inference mode's tensors could not be derived from."""
    with torch.inference_mode(False), torch.enable_grad(), count_passes(explainer.net) as passes:
        yield images.detach().clone(), passes
