"""Several methods as one map: mean rank where they agree, and nothing where they do not."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Final

import torch
from scipy.special import chdtri
from torch import Tensor

from resgat_pl.evaluation.metrics.rank import kendall_w, ranks
from resgat_pl.explain.base import Attribution, Explainer, Unit
from resgat_pl.explain.methods.graph import AttentionExcess, Contribution
from resgat_pl.explain.methods.nodes import NodeLIME, NodeShapley, coalition_logits
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT

METHODS: Final = (Contribution, AttentionExcess, NodeShapley, NodeLIME)
"""The methods that are asked, in the order of ``rankings``."""
_SAMPLES: Final = 2000
_CHANCE: Final = 0.05


@cache
def least_agreement(nodes: int, methods: int = len(METHODS)) -> float:
    """Kendall's W that independent rankings of so many nodes pass in fewer than one of twenty cases.

    By the χ² of Friedman's test, which is on the safe side for few methods: four pass in about one of forty cases.
    Neighbouring nodes are alike, so that maps agree by chance more often than this test, which takes the nodes as
    independent, allows for: it is the least to be asked.

    Example:
        >>> round(least_agreement(49), 3)
        0.339
    """
    return float(chdtri(nodes - 1, _CHANCE)) / (methods * (nodes - 1))


def consensus(rankings: Tensor) -> tuple[Tensor, Tensor]:
    """Join the rankings of several methods.

    Args:
        rankings: ``(M, B, N)`` float, ranks in [-1, 1] as ``metrics.rank.ranks`` gives them.

    Returns:
        The map ``(B, N)``: the mean rank of a node that every method has in the same half of the nodes, 0 of all
        others, and 0 everywhere on a face where W is not above ``least_agreement``. And Kendall's W ``(B,)`` in [0, 1].

    Example:
        >>> one = torch.tensor([[-1.0, -0.5, 0.0, 0.5, 1.0]])
        >>> consensus(torch.stack([one, one, one, one]))[0]
        tensor([[-1.0000, -0.5000,  0.0000,  0.5000,  1.0000]])
        >>> consensus(torch.stack([one, -one, one, -one]))  # no agreement, no map
        (tensor([[0., 0., 0., 0., 0.]]), tensor([0.]))
    """
    agreement = kendall_w(rankings)
    same = (rankings > 0).all(dim=0) | (rankings < 0).all(dim=0)
    enough = agreement > least_agreement(rankings.shape[2], len(rankings))
    return rankings.mean(dim=0) * (same & enough[:, None]), agreement


@explainer(
    "nodes", "Mean rank of a node by four methods, where all have it in the same half; blank where they disagree."
)
class Consensus(Explainer):
    """Consensus of ``Contribution``, ``AttentionExcess``, ``NodeShapley`` and ``NodeLIME``, see ``consensus``.

    What it shows is what no choice of the method would have changed. All four read one network's graph, so what they
    agree on is a property of the network, and need not be one of the face. ``Explanation.agreement`` is Kendall's W: 1
    if all rank the nodes alike, about 0.25 of four that have nothing in common.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> found = Consensus(net).attribute(torch.rand(1, 3, 64, 64))
        >>> found.node_map.shape, found.agreement.shape
        (torch.Size([1, 2, 2]), torch.Size([1]))
    """

    unit: ClassVar[Unit] = "rank"
    averaged: ClassVar[bool] = True
    needs: ClassVar[type[DetectorNet]] = ResGAT
    decomposes: ClassVar[bool] = True
    net: ResGAT

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        graph = self.net.graph(self.net.encode(images))
        found = decompose(self.net, graph)
        maps, passes = [method.read(found).nodes for method in (Contribution, AttentionExcess)], 0
        samples = max(_SAMPLES, 4 * self.net.grid.num_nodes)
        for method in (NodeShapley(self.net, samples=samples), NodeLIME(self.net)):
            coalitions = method.coalitions(self.net.grid.num_nodes).to(images.device)
            maps.append(method.summarise(coalitions, coalition_logits(self.net, graph, coalitions))[0])
            passes += len(coalitions)
        joined, agreement = consensus(torch.stack([ranks(nodes).to(images) for nodes in maps]))
        return Attribution(joined, found.output.logit, found.bias, graph=passes, agreement=agreement)
