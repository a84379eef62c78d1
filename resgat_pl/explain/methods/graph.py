"""Read-outs of the graph attention: the paper's own, and the exact decomposition of the logit."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from resgat_pl.core.types import ResGATOutput
from resgat_pl.explain.base import Attribution, Explainer, Explanation, Unit, evaluation_mode
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import Contributions, contributions
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT


def attention_map(output: ResGATOutput) -> Tensor:
    """The paper's node importance: attention averaged over heads, summed over a node's outgoing edges.

    It is the attention that a node receives, whatever sign its value has, and perfectly uniform attention already
    draws a ring (border nodes have fewer neighbours). Read it beside the contributions.

    Returns:
        ``(B, N)`` float, 0 or more; its mean over the nodes is 1.
    """
    return _by_node(output.attention.mean(dim=-1), output.edge_index[0])


def uniform_map(edge_index: Tensor) -> Tensor:
    """``(N,)`` float, ``attention_map`` of perfectly uniform attention: the pattern it shows without any model."""
    target = edge_index[1]
    return _by_node((1 / target.bincount().float())[target][None], edge_index[0])[0]


class ReadOut(Explainer):
    """A map that is read off one forward pass, which ``nn.contribution`` takes apart."""

    needs: ClassVar[type[DetectorNet]] = ResGAT
    decomposes: ClassVar[bool] = True
    net: ResGAT

    @staticmethod
    @abstractmethod
    def read(found: Contributions) -> Attribution:
        """Read the map off a pass, for the class *fake*."""

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        return self.read(contributions(self.net, images))


@torch.no_grad()
def read_outs(
    net: ResGAT, images: Tensor, methods: Sequence[type[ReadOut]], batch_size: int
) -> tuple[dict[str, Explanation], Tensor]:
    """Read several maps off the same passes.

    Args:
        net: Its mode is restored.
        images: ``(B, 3, H, W)`` float in [0, 1], RGB.
        methods: Which maps.
        batch_size: Images that go through the network at once.

    Returns:
        By the method's name what ``method(net).attribute(images)`` finds, and the attention ``(B, E, heads)`` float32
        of these passes; all on the CPU.
    """
    weight = next(net.parameters())
    started = time.perf_counter()
    attention: list[Tensor] = []
    parts: dict[type[ReadOut], list[Attribution]] = {method: [] for method in methods}
    with evaluation_mode(net):
        for batch in torch.split(images, batch_size):
            found = contributions(net, batch.to(weight.device, weight.dtype))
            attention.append(found.output.attention.float().cpu())
            for method, mine in parts.items():
                mine.append(method.read(found))
    seconds = (time.perf_counter() - started) / len(images)
    lattice = net.lattice(*images.shape[2:])
    explained = {
        method.__name__: Explanation.from_parts(method, net, lattice, mine, seconds).cpu()
        for method, mine in parts.items()
    }
    return explained, torch.cat(attention)


@explainer("graph", "The paper's map: the attention paid to a node by the others, whatever the sign of its evidence.")
class Attention(ReadOut):
    """The paper's explanation, see ``attention_map``. Unsigned, and biased towards a ring.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Attention(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "attention"
    signed: ClassVar[bool] = False

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        output = found.output
        return Attribution(attention_map(output), output.logit, found.bias, output.attention.mean(dim=-1))


@explainer("graph", "Attention above or below what perfectly uniform attention would show.")
class AttentionExcess(Attention):
    """``Attention`` without its ring: what is above (or below) perfectly uniform attention. Its sign is not a class.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> AttentionExcess(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        output = found.output
        return Attribution(attention_map(output) - uniform_map(output.edge_index), output.logit, found.bias)


@explainer("graph", "What each node adds to the logit, attention times value; nodes and bias add up to it exactly.")
class Contribution(ReadOut):
    """The default: the exact share c_j of each node in the logit, see ``nn.contribution``.

    One forward pass. With an ``mlp`` head the shares are those of its local linear form, with a ``normalised`` one
    those at the length of the pooled features, and still add up.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Contribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    exact: ClassVar[bool] = True

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        return Attribution(found.node, found.output.logit, found.bias, found.edge)


@explainer("graph", "The evidence of each node, whatever attention it gets: the value factor of the contribution.")
class NodeEvidence(ReadOut):
    """The value factor of ``Contribution``: the evidence of a node, whatever attention it gets.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> NodeEvidence(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        return Attribution(found.evidence, found.output.logit, found.bias)


@explainer("graph")
class EdgeContribution(ReadOut):
    """The exact share of each edge in the logit; a node's value is the sum over its incoming edges.

    Where ``Contribution`` adds an edge to its source node, this adds it to its target node: both add up.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> EdgeContribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    exact: ClassVar[bool] = True

    @staticmethod
    def read(found: Contributions) -> Attribution:
        """See ``ReadOut``."""
        received = _by_node(found.edge, found.output.edge_index[1])
        return Attribution(received, found.output.logit, found.bias, found.edge)


def _by_node(per_edge: Tensor, ends: Tensor) -> Tensor:
    """Sum ``(B, E)`` over the edges of each node: ``(B, N)``."""
    nodes = int(ends.max()) + 1
    return per_edge.new_zeros(len(per_edge), nodes).scatter_add_(1, ends.expand_as(per_edge), per_edge)
