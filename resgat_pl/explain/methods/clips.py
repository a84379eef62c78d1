"""Explanations of clips: the exact ledger over frames and nodes, and Shapley values of whole frames."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.loading.clips import clip_places
from resgat_pl.explain.base import Attribution, Explainer, Explanation, evaluation_mode
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.video.ledger import clip_ledger
from resgat_pl.nn.video.net import VideoResGAT
from resgat_pl.nn.video.shapley import frame_shapley


class ClipExplainer(Explainer):
    """Base class: the logit of a clip, divided among its frames and nodes.

    ``attribute`` takes every image as a clip of one frame; ``attribute_faces`` takes clips as the detector was tested
    on them. The map of frame t is m · c_tj, m being the number of frames, so that it and the bias add up to a logit of
    frame t, and the mean of these over the frames is the logit of the clip.
    """

    needs: ClassVar[type[DetectorNet]] = VideoResGAT
    exact: ClassVar[bool] = True
    net: VideoResGAT

    @abstractmethod
    def shares(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Contributions ``(T, N)``, bias ``()`` and logit ``()`` of the clip with nodes ``(T, N, F)``."""

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        alone = torch.zeros(1, dtype=torch.long)
        parts = [self._clip(nodes[None], alone)[0] for nodes in self.net.encode(images)]
        nodes, logit, bias = zip(*((part.nodes, part.logit, part.bias) for part in parts), strict=True)
        return Attribution(torch.cat(nodes), torch.cat(logit), torch.cat(bias))

    @torch.no_grad()
    def attribute_faces(self, images: Tensor, lengths: Sequence[int]) -> tuple[Explanation, list[Tensor]]:
        """Explain ``images (B, 3, H, W)`` float in [0, 1], RGB, which are faces over time, one after the other.

        Args:
            images: Frames.
            lengths: Number of frames of each face.

        Returns:
            The explanation of all frames, and of each face the logits ``(k,)`` float32 of its clips.
        """
        started = time.perf_counter()
        parts: list[Attribution] = []
        faces: list[Tensor] = []
        with evaluation_mode(self.net):
            for nodes in torch.split(_encoded(self.net, images, self.batch_size), list(lengths)):
                clips = [self._clip(nodes, place) for place in _places(self.net, len(nodes))]
                parts += [part for part, _ in clips]
                faces.append(torch.stack([logit for _, logit in clips]).float().cpu())
        seconds = (time.perf_counter() - started) / len(images)
        lattice = self.net.lattice(*images.shape[2:])
        return Explanation.from_parts(type(self), self.net, lattice, parts, seconds).cpu(), faces

    def _clip(self, nodes: Tensor, place: Tensor) -> tuple[Attribution, Tensor]:
        """Explain one clip of a face's frames; entries of frames that it repeats are added up."""
        share, bias, logit = self.shares(nodes[place.to(nodes.device)])
        own, where = torch.unique(place, return_inverse=True)
        summed = share.new_zeros(len(own), share.shape[1]).index_add_(0, where.to(share.device), share) * len(own)
        rest = logit - bias - share.sum()  # rounding, of an exact method
        bias = bias.expand(len(own))
        return Attribution(summed, summed.sum(dim=1) + bias + rest, bias), logit


@explainer("clip", "What each node of each frame adds to the logit of the clip; with the bias they add up to it.")
class ClipContribution(ClipExplainer):
    """The ledger of ``nn.video``: nodes, with what they receive over time, see ``clip_ledger``.

    Raises:
        ConfigError: The temporal part or the head has no additive form.

    Example:
        >>> net = VideoResGAT("mean", encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> found, faces = ClipContribution(net).attribute_faces(torch.rand(3, 3, 64, 64), [3])
        >>> found.node_map.shape, torch.allclose(found.logit.mean(), faces[0], atol=1e-5)
        (torch.Size([3, 2, 2]), True)
    """

    def __init__(self, model: torch.nn.Module, batch_size: int = 32) -> None:
        super().__init__(model, batch_size)
        if not self.net.is_additive:
            part, head = type(self.net.temporal).__name__, type(self.net.head).__name__
            raise ConfigError(
                f"ClipContribution is a sum over frames and nodes, and this network ({part} over frames, {head}) has "
                "none: take FrameShapley, which attributes the logit to whole frames."
            )

    def shares(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the base class."""
        found = clip_ledger(self.net, nodes[None])
        return found.cell[0], found.bias[0], found.logit[0]


@explainer("clip", "What each frame adds to the logit of the clip (Shapley), evenly spread: when, and not where.")
class FrameShapley(ClipExplainer):
    """Shapley values of whole frames, see ``nn.video.frame_shapley``; each is spread evenly over the nodes.

    Example:
        >>> net = VideoResGAT("lstm", encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> found, faces = FrameShapley(net).attribute_faces(torch.rand(3, 3, 64, 64), [3])
        >>> found.node_map[0].std().item(), torch.allclose(found.logit.mean(), faces[0], atol=1e-5)
        (0.0, True)
    """

    def shares(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the base class."""
        found = frame_shapley(self.net, nodes)
        return (found.share / nodes.shape[1])[:, None].expand(-1, nodes.shape[1]), found.bias, found.logit


@torch.no_grad()
def clip_logits(net: VideoResGAT, images: Tensor, lengths: Sequence[int], batch_size: int) -> list[Tensor]:
    """Logits ``(k,)`` float32, on the CPU, of the clips of each face; arguments as of ``attribute_faces``."""
    faces = torch.split(_encoded(net, images, batch_size), list(lengths))
    return [net.forward_nodes(nodes[_places(net, len(nodes)).to(nodes.device)]).logit.float().cpu() for nodes in faces]


def _places(net: VideoResGAT, count: int) -> Tensor:
    """``(k, T)`` int64, the frames of a face in its clips, as in training and tests."""
    return torch.from_numpy(clip_places(count, net.clip_frames))


def _encoded(net: VideoResGAT, images: Tensor, batch_size: int) -> Tensor:
    """Nodes ``(B, N, F)`` of images."""
    weight = next(net.parameters())
    return torch.cat([net.encode(part.to(weight.device, weight.dtype)) for part in torch.split(images, batch_size)])
