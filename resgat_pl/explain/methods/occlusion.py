"""Hiding parts of the image, and explaining by what the logit does then."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from resgat_pl.explain.base import Attribution, Explainer, count_passes, one_of
from resgat_pl.explain.methods.pixels import Fill, baseline_of, inpaint, node_of_pixel
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.detector_net import DetectorNet


class HiddenParts:
    """One image of which any segments can be hidden: the game that ``Occlusion`` and the Shapley values play.

    Args:
        net: Network in evaluation mode.
        image: ``(3, H, W)`` float in [0, 1], RGB, on the network's device.
        table: Segment ``(H, W)`` int64, numbered from 0, of each pixel, there as well.
        fill: What hidden pixels show: see ``pixels.Fill``, or a picture or colour, see ``pixels.baseline_of``.
        batch_size: Images that go through the network at once.

    Attributes:
        segments: Their number.

    Raises:
        ConfigError: ``fill`` is unknown or does not fit.
    """

    def __init__(self, net: DetectorNet, image: Tensor, table: Tensor, fill: Fill | Tensor, batch_size: int) -> None:
        self.net = net
        self.image = image
        self.table = table
        self.batch_size = batch_size
        self.segments = int(table.max()) + 1
        if not isinstance(fill, Tensor):
            one_of(get_args(Fill), fill=fill)
        self._hidden = None if isinstance(fill, str) and fill == "inpaint" else baseline_of(image[None], fill)

    @torch.no_grad()
    def logits(self, kept: Tensor) -> Tensor:
        """Logit ``(M,)`` float32 of each coalition ``kept (M, segments)`` bool: the segments that are not hidden."""
        parts = [
            self.net(self._images(part)).logit for part in torch.split(kept.to(self.table.device), self.batch_size)
        ]
        return torch.cat(parts)

    def _images(self, kept: Tensor) -> Tensor:
        shown = kept[:, self.table]
        if self._hidden is None:
            return torch.stack([inpaint(self.image, ~one) for one in shown])
        return torch.where(shown[:, None], self.image, self._hidden)


@explainer("occlusion")
class Occlusion(Explainer):
    """Occlusion (Zeiler & Fergus, ECCV 2014) of one square at a time, the cells of the network's grid.

    A node's value is how much the logit falls when its square is hidden. Squares act together, so the values need not
    add up; the bias is the logit with every square hidden, and the gap measures how far they are from it.

    Args:
        fill: What a hidden square shows: see ``pixels.Fill``, or a picture ``(3, H, W)`` or a colour ``(3, 1, 1)``.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Occlusion(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def __init__(self, model: nn.Module, fill: Fill | Tensor = "mean", batch_size: int = 32) -> None:
        super().__init__(model, batch_size)
        self.fill = fill

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if ``fill`` is unknown or does not fit."""
        table = node_of_pixel(self.net, *images.shape[2:])
        count = int(table.max()) + 1
        one_less = ~torch.eye(count, dtype=torch.bool)
        kept = torch.cat([torch.ones(1, count, dtype=torch.bool), torch.zeros(1, count, dtype=torch.bool), one_less])
        with count_passes(self.net) as passes:
            found = [HiddenParts(self.net, image, table, self.fill, self.batch_size).logits(kept) for image in images]
        logits = torch.stack(found)
        return passes.attribution(logits[:, :1] - logits[:, 2:], logits[:, 0], logits[:, 1])
