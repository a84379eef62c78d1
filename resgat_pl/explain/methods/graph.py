"""Read-outs of the graph attention: the paper's own, and the exact decomposition of the logit."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from resgat_pl.core.types import ResGATOutput
from resgat_pl.explain.base import Attribution, Explainer, Unit
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import contributions


def attention_map(output: ResGATOutput) -> Tensor:
    """The paper's node importance: attention averaged over heads, summed over a node's outgoing edges.

    It is the attention that a node receives, whatever sign its value has, and perfectly uniform attention already
    draws a ring (border nodes have fewer neighbours). Read it beside the contributions.

    Returns:
        ``(B, N)`` float, 0 or more; its mean over the nodes is 1.
    """
    return _by_source(output.attention.mean(dim=-1), output.edge_index)


def uniform_map(edge_index: Tensor) -> Tensor:
    """``(N,)`` float, ``attention_map`` of perfectly uniform attention: the pattern it shows without any model."""
    target = edge_index[1]
    return _by_source((1 / target.bincount().float())[target][None], edge_index)[0]


@explainer("graph", "The paper's map: the attention paid to a node by the others, whatever the sign of its evidence.")
class Attention(Explainer):
    """The paper's explanation, see ``attention_map``. Unsigned, and biased towards a ring.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Attention(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "attention"
    signed: ClassVar[bool] = False

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = contributions(self.net, images)
        output = found.output
        return Attribution(attention_map(output), output.logit, found.bias, output.attention.mean(dim=-1))


@explainer("graph", "Attention above or below what perfectly uniform attention would show.")
class AttentionExcess(Explainer):
    """``Attention`` without its ring: what is above (or below) perfectly uniform attention. Its sign is not a class.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> AttentionExcess(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "attention"
    signed: ClassVar[bool] = False

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = contributions(self.net, images)
        output = found.output
        return Attribution(attention_map(output) - uniform_map(output.edge_index), output.logit, found.bias)


@explainer("graph", "What each node adds to the logit, attention times value; nodes and bias add up to it exactly.")
class Contribution(Explainer):
    """The default: the exact share c_j of each node in the logit, see ``nn.contribution``.

    One forward pass. With an ``mlp`` head the shares are those of its local linear form, and still add up.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Contribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    exact: ClassVar[bool] = True

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = contributions(self.net, images)
        return Attribution(found.node, found.output.logit, found.bias, found.edge)


@explainer("graph", "The evidence of each node, whatever attention it gets: the value factor of the contribution.")
class NodeEvidence(Explainer):
    """The value factor of ``Contribution``: the evidence of a node, whatever attention it gets.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> NodeEvidence(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = contributions(self.net, images)
        return Attribution(found.evidence, found.output.logit, found.bias)


@explainer("graph")
class EdgeContribution(Explainer):
    """The exact share of each edge in the logit; a node's value is the sum over its incoming edges.

    Where ``Contribution`` adds an edge to its source node, this adds it to its target node: both add up.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> EdgeContribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    exact: ClassVar[bool] = True

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = contributions(self.net, images)
        received = _by_node(found.edge, found.output.edge_index[1])
        return Attribution(received, found.output.logit, found.bias, found.edge)


def _by_source(per_edge: Tensor, edge_index: Tensor) -> Tensor:
    return _by_node(per_edge, edge_index[0])


def _by_node(per_edge: Tensor, ends: Tensor) -> Tensor:
    """Sum ``(B, E)`` over the edges of each node: ``(B, N)``."""
    nodes = int(ends.max()) + 1
    return per_edge.new_zeros(len(per_edge), nodes).scatter_add_(1, ends.expand_as(per_edge), per_edge)
