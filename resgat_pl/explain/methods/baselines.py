"""Maps that do not depend on the model: a method that does not beat them explains nothing.

Position alone goes a long way, since forgeries are in the middle of a face crop and never in its corners.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Attribution, Explainer, Unit, at_least, positive
from resgat_pl.explain.methods.graph import uniform_map
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT


class Baseline(Explainer):
    """A map that is drawn without a look at the network's answer.

    The one forward pass is for the logit that is reported beside every map; none of it is explained, so it is all bias.
    The numbers are in [0, 1] and unsigned.
    """

    unit: ClassVar[Unit] = "probability"
    signed: ClassVar[bool] = False

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        logit = self.net(images).logit
        drawn = self.draw(images).to(logit)
        return Attribution(drawn.flatten(1).expand(len(images), -1), logit, logit)

    @abstractmethod
    def draw(self, images: Tensor) -> Tensor:
        """Maps ``(B or 1, h, w)``, or numbers of nodes ``(B or 1, N)``, in [0, 1]; the network has seen the images."""


@explainer("baseline")
class Random(Baseline):
    """Independent uniform numbers: the level of chance of every score.

    They depend on the seed and on the image alone, so a picture gets the same map in any batch.

    Args:
        seed: Of the numbers, 0 or more.
    """

    def __init__(self, model: nn.Module, batch_size: int = 32, seed: int = 0) -> None:
        super().__init__(model, batch_size)
        at_least(0, seed=seed)
        self.seed = seed

    def draw(self, images: Tensor) -> Tensor:
        """See ``Baseline``."""
        pixels = (images.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
        maps = []
        for image in pixels:
            # Both are in one 32-bit number, since the generator ignores the upper half of a longer one.
            generator = torch.Generator().manual_seed(zlib.crc32(image.tobytes(), self.seed))
            maps.append(torch.rand(self.net.lattice(*images.shape[2:]).shape, generator=generator))
        return torch.stack(maps)


@explainer("baseline")
class Uniform(Baseline):
    """``uniform_map``: what the paper's read-out shows of attention that has learnt nothing."""

    unit: ClassVar[Unit] = "attention"
    needs: ClassVar[type[DetectorNet]] = ResGAT
    net: ResGAT

    def draw(self, images: Tensor) -> Tensor:
        """See ``Baseline``."""
        return uniform_map(self.net.grid.edge_index)[None]


def centre_map(lattice: Lattice, width: float = 0.25) -> Tensor:
    """A Gaussian bump in the middle of a picture, ``(h, w)`` float32 in [0, 1].

    Args:
        lattice: Where the nodes are.
        width: Standard deviation as a share of the picture's side.

    Example:
        >>> centre_map(Lattice.even(1, 3)).argmax().item()
        1
    """
    down, across = ((torch.tensor(centres) - 0.5) ** 2 for centres in lattice.centres)
    return torch.exp(-(down[:, None] + across) / (2 * width**2))


@explainer("baseline")
class CentrePrior(Baseline):
    """A Gaussian bump in the middle of the crop.

    Args:
        width: Its standard deviation as a share of the crop's side.
    """

    def __init__(self, model: nn.Module, batch_size: int = 32, width: float = 0.25) -> None:
        super().__init__(model, batch_size)
        positive(width=width)
        self.width = width

    def draw(self, images: Tensor) -> Tensor:
        """See ``Baseline``."""
        return centre_map(self.net.lattice(*images.shape[2:]), self.width)[None]


@explainer("baseline")
class MeanMask(Baseline):
    """Share of training fakes manipulated at each place: the best map that does not look at the picture.

    Args:
        mean: ``(H, W)`` float in [0, 1], the mean over the masks of *training* fakes, at any resolution.

    Raises:
        ConfigError: ``mean`` is no such table.
    """

    def __init__(self, model: nn.Module, mean: Tensor, batch_size: int = 32) -> None:
        super().__init__(model, batch_size)
        if mean.ndim != 2 or not bool(((mean >= 0) & (mean <= 1)).all()):
            raise ConfigError(f"The mean mask is {tuple(mean.shape)}; give (H, W) floats in [0, 1].")
        self.mean = mean.float()

    def draw(self, images: Tensor) -> Tensor:
        """See ``Baseline``."""
        return self.net.lattice(*images.shape[2:]).cover(self.mean[None])
