"""Importance of the parts of the face: what the logit does when a region shows something else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resgat_pl.explain.base import Attribution, Explainer, at_least, count_passes, evaluation_mode
from resgat_pl.explain.methods.pixels import Baseline, baseline_of, check_reference, node_of_pixel, sum_by_cell
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, region_weights
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.node_geometry import Lattice


@explainer("importance")
class PartialDependence(Explainer):
    """Partial dependence (Friedman, Annals of Statistics 2001) of the logit on a face region's own content.

    The feature is the share of a region's own content, from all to none, while the rest of the face stays: other
    content is blended into one region of ``regions.REGIONS`` at a time. The curve of one face is what Goldstein et al.
    (JCGS 2015) call its individual conditional expectation, and the mean over many faces the partial dependence. A
    region's value is the slope of the least-squares line through the curve: how much the logit rises, from none to all,
    for its own content. A slope has a sign, which the range of the curve (Greenwell et al. 2018) has not, and a curve
    that rises and falls again has little of it: ``curves`` gives the curve itself.

    Crops are aligned well enough that a region has nearly the same place in every face. The value of a region is spread
    over the nodes by area, so the nodes add up to what the regions add up to. Regions act together, so neither need add
    up to the logit; the bias is the mean logit of the content itself, and the gap measures how far they are from it.

    Args:
        content: What regions are blended with: a baseline, see ``pixels.baseline_of``, or faces ``(R, 3, H, W)``, over
            ``draws`` of which the curve is averaged.
        steps: Points of the curve beside the image itself.
        landmarks: ``(5, 2)`` float, where the landmarks lie in the faces, see ``regions.LANDMARKS``; None is where they
            lie on average.
        draws: Reference faces an image, fewer if there are fewer.
        seed: Of the choice of reference faces.

    Raises:
        ConfigError: See ``Explainer``, or an argument is out of range.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> PartialDependence(net, draws=1, steps=1).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        content: Baseline | Tensor = "blur",
        steps: int = 4,
        landmarks: Tensor | None = None,
        draws: int = 4,
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, batch_size)
        at_least(1, steps=steps, draws=draws)
        at_least(0, seed=seed)
        self.source = content
        self.steps = steps
        self.landmarks = AVERAGE_LANDMARKS if landmarks is None else landmarks
        self.draws = draws
        self.seed = seed

    @torch.no_grad()
    def curves(self, images: Tensor) -> Tensor:
        """Curve of each region of ``images (B, 3, H, W)`` float in [0, 1], RGB, for the class *fake*.

        Returns:
            ``(B, 9, steps + 1)`` float32, logits; the first point is the image itself, at the last the region shows
            nothing by itself.

        Raises:
            ConfigError: Landmarks or content do not fit.
        """
        device = next(self.net.parameters()).device
        with evaluation_mode(self.net):
            found = [self._logits(batch.to(device)) for batch in torch.split(images, self.batch_size)]
        return torch.cat([_curve(logit, blended) for logit, blended, _ in found])

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if landmarks or content do not fit."""
        with count_passes(self.net) as passes:
            logit, blended, bias = self._logits(images)
        lost = torch.arange(self.steps + 1).to(blended) / self.steps
        lost = lost - lost.mean()
        slopes = -(_curve(logit, blended) @ lost) / (lost @ lost)
        return passes.attribution(slopes @ self._area(images), logit, bias)

    def _regions(self, images: Tensor) -> Tensor:
        """Share ``(9, H, W)`` of each pixel in each region."""
        pixels = Lattice.even(*images.shape[2:])
        return region_weights(self.landmarks[None], pixels)[0].to(images)

    def _area(self, images: Tensor) -> Tensor:
        """Share ``(9, N)`` of each region's area that lies on each node; 0 if no pixel of it is in the image."""
        area = sum_by_cell(self._regions(images), node_of_pixel(self.net, *images.shape[2:]))
        return area / area.sum(dim=1, keepdim=True).clamp_min(1e-12)

    def _logits(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``(B,)``, those ``(B, 9, T)`` of the blends, and those ``(B,)`` of the content; the last two means."""
        regions, content = self._regions(images), self._content(images)
        blended = [self._blend(image, pictures, regions) for image, pictures in zip(images, content, strict=True)]
        return self.net(images).logit, torch.stack(blended), self._replaced(content)

    def _blend(self, image: Tensor, content: Tensor, regions: Tensor) -> Tensor:
        """Mean logit ``(9, T)`` of one image ``(3, H, W)`` blended with ``content (K, 3, H, W)``."""
        strengths = torch.arange(1, self.steps + 1).to(image) / self.steps
        shape = len(regions), len(strengths), len(content)
        logits = []
        for part in torch.split(torch.arange(shape[0] * shape[1] * shape[2], device=image.device), self.batch_size):
            region, strength, picture = torch.unravel_index(part, shape)
            share = (regions[region] * strengths[strength, None, None])[:, None]
            logits.append(self.net(image + share * (content[picture] - image)).logit)
        return torch.cat(logits).reshape(shape).mean(dim=2)

    def _replaced(self, content: Tensor) -> Tensor:
        """Mean logit ``(B,)`` of the content ``(B, K, 3, H, W)``, which all images have in common if it is expanded."""
        common = content.stride(0) == 0
        pictures = content[0] if common else content.flatten(0, 1)
        logit = torch.cat([self.net(part).logit for part in torch.split(pictures, self.batch_size)])
        return logit.reshape(-1, content.shape[1]).mean(dim=1).expand(len(content))

    def _content(self, images: Tensor) -> Tensor:
        """Replacements for regions: ``(B, K, 3, H, W)``, K pictures for each of ``images (B, 3, H, W)``."""
        if isinstance(self.source, Tensor) and self.source.ndim == 4:
            return self._draw(self.source, images)
        return baseline_of(images, self.source)[:, None]

    def _draw(self, reference: Tensor, images: Tensor) -> Tensor:
        """The same ``(B, K, 3, H, W)`` for each image, so that values compare between faces."""
        check_reference(reference, images)
        order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(self.seed))[: self.draws]
        drawn = reference[order.to(reference.device)].to(images)
        return drawn.expand(len(images), *drawn.shape)


@explainer("importance")
class PermutationImportance(PartialDependence):
    """Permutation importance (Breiman, Machine Learning 2001; Fisher et al., JMLR 2019) of face regions, for each face.

    A feature's values are exchanged between samples, and it matters if the prediction then changes. Here the feature is
    the content of a region: it is replaced by the same region of other faces, and the region's value is how much the
    logit falls, on average over the draws. Breiman averages over a data set; this is the term of one face, and the mean
    over many faces is his importance, of the logit instead of the error. Unlike a grey square, a region of a real face
    keeps the image plausible, but pasting leaves a seam, which a detector of fakes may take for a trace. Reference
    faces should be genuine, of the crops' kind and not among the explained. It is the partial dependence on their
    content with a single step.

    Args:
        reference: ``(R, 3, H, W)`` float in [0, 1], RGB, other faces.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> explainer = PermutationImportance(net, reference=torch.rand(2, 3, 64, 64), draws=1)
        >>> explainer.attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        reference: Tensor,
        landmarks: Tensor | None = None,
        draws: int = 8,
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, reference, 1, landmarks, draws, seed, batch_size)
        self.reference = reference

    def _content(self, images: Tensor) -> Tensor:
        return self._draw(self.reference, images)


def _curve(logit: Tensor, blended: Tensor) -> Tensor:
    return torch.cat([logit[:, None, None].expand(-1, blended.shape[1], 1), blended], dim=2)
