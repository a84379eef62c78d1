"""The interface of losses that are added to the detection loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pydoc import locate
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FaceBatch
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.nn.contribution import Contributions, decompose
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.levels import Levels
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT


@dataclass
class LossInput:
    """A training step as a loss sees it; what several losses need is computed once.

    Attributes:
        net: The network.
        batch: What it was trained on at this step.
        graph: Nodes and attention of the batch.
        found: The decomposed logits of the batch.
        encode: Images ``(B, 3, H, W)`` → nodes ``(B, N, F)``, as for the batch.
        progress: Share of the training that is done, in [0, 1]; 1 where it has no end.

    Example:
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
        >>> batch = {"image": torch.rand(2, 3, 64, 64), "label": torch.tensor([1.0, 0.0])}
        >>> graph = net.graph(net.encode(batch["image"]))
        >>> LossInput(net, batch, graph, decompose(net, graph), net.encode).pairs
        tensor([[0, 1]])
    """

    net: ResGAT
    batch: FaceBatch
    graph: GraphState
    found: Contributions
    encode: Callable[[Tensor], Tensor]
    progress: float = 1.0

    @cached_property
    def lattice(self) -> Lattice:
        """Place of the nodes in the pixels of the batch."""
        return self.levels.lattices[0]

    @cached_property
    def levels(self) -> Levels:
        """Places of the nodes of every grid, of which ``lattice`` is the finest."""
        side = self.batch["mask"] if "mask" in self.batch else self.batch["image"]
        return self.net.levels(*side.shape[-2:])

    @cached_property
    def pooled(self) -> Tensor:
        """Pooled features ``(B, heads · C)`` of the batch."""
        if self.graph.pooled is not None:
            return self.graph.pooled
        # A linear head reads GATv1 without them.
        graph = self.graph
        return cast("Tensor", self.net.gat.attend(graph.nodes, self.net.grid, None, graph.gate, graph.kept).pooled)

    def decompose(self, images: Tensor) -> Contributions:
        """The decomposed logits of other images ``(B, 3, H, W)``."""
        return decompose(self.net, self.net.graph(self.encode(images)))

    @cached_property
    def pairs(self) -> Tensor:
        """Positions ``(P, 2)`` int64 of each fake and its genuine partner, which order ``paired`` puts behind it."""
        label = self.batch["label"]
        first = torch.arange(0, len(label) - 1, 2, device=label.device)
        is_pair = (label[first] == 1) & (label[first + 1] == 0)
        return torch.stack([first, first + 1], dim=1)[is_pair]


class AuxiliaryLoss(ABC):
    """A loss that is added to the detection loss with a weight, and logged as ``train/<name>``.

    Args:
        weight: More than 0.

    Attributes:
        name: What it is logged as.
        needs_masks: Whether batches must carry masks.
        needs_pairs: Whether batches must hold each fake with its genuine partner (``data.order`` paired).
        needs_landmarks: Whether batches must carry landmarks.

    Raises:
        ConfigError: The weight is out of range.

    Example:
        >>> class SmallLogits(AuxiliaryLoss):
        ...     name = "small_logits"
        ...     def __call__(self, step):
        ...         return step.found.output.logit.square().mean()
        >>> SmallLogits(weight=0.1).weight
        0.1
    """

    name: ClassVar[str]
    needs_masks: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = False
    needs_landmarks: ClassVar[bool] = False

    def __init__(self, weight: float = 1.0) -> None:
        if not 0 < weight < math.inf:
            raise ConfigError(f"The weight of the loss {type(self).__name__} is {weight}; it must be more than 0.")
        self.weight = weight

    def check_net(self, net: ResGAT) -> None:  # noqa: B027 - most train what every ResGAT has
        """Make sure that a network has the part that the loss trains.

        Raises:
            ConfigError: It has not; the message names the option.
        """

    @abstractmethod
    def __call__(self, step: LossInput) -> Tensor:
        """The loss ``()`` of a step, before the weight."""

    def prepare(self, net: ResGAT, data: FaceDataModule) -> None:
        """Check and note what the loss needs of the network and the data; on each process, before the first step."""
        return


def loss_classes(losses: Sequence[Any]) -> list[type[AuxiliaryLoss]]:
    """The classes of losses in a configuration that has been parsed: objects, or entries with a class path."""
    # A path that leads nowhere was refused by the parser.
    found = [locate(loss.class_path) if hasattr(loss, "class_path") else type(loss) for loss in losses]
    return cast("list[type[AuxiliaryLoss]]", found)
