"""Read-outs of parts that only some networks have: mask of nodes, routing of capsules, gates of edges, two grids."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor

from resgat_pl.explain.base import Attribution, Unit
from resgat_pl.explain.methods.graph import ReadOut
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import Contributions
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.head import CapsuleHead
from resgat_pl.nn.levels import LevelGrid


@explainer("variant", "The network's own mask: how probably each node is manipulated. No share of the logit.")
class PredictedMask(ReadOut):
    """The network's own mask m_j, of ``mask_head: aux`` or ``gate``: how probably each node is manipulated.

    It is trained to find what was manipulated, and does not say what the verdict rests on: of ``aux`` it is no part of
    the logit at all, of ``gate`` one of three factors. Unsigned: the same map for either target.

    Example:
        >>> import torch
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64, mask_head="aux")
        >>> PredictedMask(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "probability"
    signed: ClassVar[bool] = False
    averaged: ClassVar[bool] = True

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        if getattr(net, "node_gate", None) is not None:
            return None
        return "needs a mask head (net.mask_head). Contribution and NodeEvidence explain this network."

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        return Attribution(cast("Tensor", found.mask), found.output.logit, found.bias)


@explainer("variant", "Routing coefficients of the capsules: to which class each node's vote goes, however weak it is.")
class Routing(ReadOut):
    """The share of each node's vote that is routed to *fake* less that to *real*, in [-1, 1], mean over the heads.

    The agreement of a capsule network. A coefficient says where a vote goes and not what it adds: that is
    ``Contribution``, which of capsules too adds up to the logit.

    Example:
        >>> import torch
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64, head="capsule")
        >>> Routing(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "attention"
    averaged: ClassVar[bool] = True

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        if isinstance(getattr(net, "head", None), CapsuleHead):
            return None
        return "needs a head with routing (net.head capsule). Contribution explains this network."

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        return Attribution(cast("Tensor", found.routing), found.output.logit, found.bias)


@explainer("variant", "Share of the edges from each node that the bottleneck keeps, and each edge's own share.")
class KeptEdges(ReadOut):
    """The gates of a bottleneck: how far each edge is kept, in [0, 1], and the mean over the edges that leave a node.

    A part of the computation itself: an edge with a gate of 0 sends nothing. Unsigned, and no share of the logit;
    ``EdgeContribution`` is what each edge adds after its gate.

    Example:
        >>> import torch
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64, bottleneck=True)
        >>> KeptEdges(net).attribute(torch.rand(1, 3, 64, 64)).edge_scores.shape
        torch.Size([1, 12])
    """

    unit: ClassVar[Unit] = "probability"
    signed: ClassVar[bool] = False
    averaged: ClassVar[bool] = True

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        if getattr(net, "edge_gate", None) is not None:
            return None
        return "needs an edge bottleneck (net.bottleneck). EdgeContribution explains the edges of this network."

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        kept, source = cast("Tensor", found.kept), found.output.edge_index[0]
        nodes = torch.zeros_like(found.node).index_add(1, source, kept) / source.bincount()
        return Attribution(nodes, found.output.logit, found.bias, kept)


class _OneLevel(ReadOut):
    """The contributions of the nodes of one grid, of a graph of two."""

    exact: ClassVar[bool] = True

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        if isinstance(getattr(net, "grid", None), LevelGrid):
            return None
        return "needs a graph of two grids (net.encoder_stage [3, 4]). Contribution explains this network."

    @staticmethod
    def of_level(found: Contributions, level: int) -> Attribution:
        """The nodes of a grid; those of the other are in the bias."""
        mine = cast("Tensor", found.level) == level
        others = (found.node * ~mine).sum(dim=1)
        return Attribution(found.node * mine, found.output.logit, found.bias + others)


@explainer("variant", "What the nodes of the finer grid add to the logit; those of the coarser are in the bias.")
class FineContribution(_OneLevel):
    """The exact shares of the fine nodes alone, of ``encoder_stage: [3, 4]``; the others' are in the bias.

    Example:
        >>> import torch
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64, encoder_stage=[3, 4])
        >>> FineContribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 4, 4])
    """

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        return _OneLevel.of_level(found, 0)


@explainer("variant", "What the nodes of the coarser grid add to the logit; those of the finer are in the bias.")
class CoarseContribution(_OneLevel):
    """The exact shares of the coarse nodes alone, divided over their cells; the others' are in the bias.

    Example:
        >>> import torch
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64, encoder_stage=[3, 4])
        >>> CoarseContribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 4, 4])
    """

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        return _OneLevel.of_level(found, 1)
