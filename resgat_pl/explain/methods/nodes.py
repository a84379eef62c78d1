"""Read-outs by dropping nodes: the encoder runs once, and only the attention of the remaining nodes is computed again.

A *coalition* is the set of nodes that stay. A dropped node leaves as source and as target: it sends nothing, the
softmax of its neighbours runs over their remaining sources, and of its own output only the layer's constants stay, as
if it had no features and no neighbours. The mean is still taken over all N nodes. So the full coalition has the logit,
and the empty one b', the bias of ``nn.contribution`` (of heads but ``linear``, the answer to the same constants).
Gates of nodes and edges depend on their own features alone, so a dropped node changes no other gate; of a network of
two passes the second loses nodes, and what the first one has fed back stays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Attribution, Explainer, at_least, positive
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.grid import SLOTS, Grid
from resgat_pl.nn.head import Head, LinearHead, MLPHead, NodeHead
from resgat_pl.nn.resgat import ResGAT

_SUBSETS = 2 ** len(SLOTS)
_CHUNK = 2**22
"""Numbers in the largest tensor of ``coalition_logits`` that grows with the coalitions."""


def coalition_logits(net: ResGAT, graph: GraphState, coalitions: Tensor) -> Tensor:
    """Logits of graphs that have lost nodes, for many coalitions at once.

    A target's output depends only on which of its five sources are there. So each image gets one table of 32 outputs
    a node, already multiplied by the head's first layer, and a coalition costs N look-ups, however many heads and
    features there are. Each of the 32 is a separate softmax: no weight that is left can underflow.

    Args:
        net: Network that made ``graph``. Dropout is left out.
        graph: From ``net.graph``, B images.
        coalitions: ``(M, N)`` bool, True for the nodes that stay; the same coalitions for all images.

    Returns:
        ``(B, M)`` float.

    Raises:
        ConfigError: ``coalitions`` are not bool or have another number of nodes.
    """
    grid = net.grid
    if coalitions.ndim != 2 or coalitions.shape[1] != grid.num_nodes or coalitions.dtype != torch.bool:
        raise ConfigError(
            f"The coalitions are {tuple(coalitions.shape)} {coalitions.dtype}; give (M, {grid.num_nodes}) bool, True "
            "for the nodes that stay."
        )
    if isinstance(net.head, NodeHead) or grid.level is not None:
        return _one_by_one(net, graph, coalitions)
    constant = net.gat.constant
    weight, bias, rest = _halves(net.head, constant)
    alone = F.linear(constant, weight, bias)
    values = net.gat.along(graph, weight[None])
    if graph.gate is not None:
        values = values * graph.gate[:, :, None, None]
    table = _outputs_by_subset(grid, graph, values) / grid.num_nodes
    images, width = len(graph.nodes), len(alone)
    size = max(1, _CHUNK // max(len(SLOTS) * grid.num_nodes, images * width))
    logits = []
    for part in torch.split(coalitions, size):
        rows = _table_rows(grid, part.to(table.device))
        hidden = alone + F.embedding_bag(rows, table, mode="sum").reshape(-1, images, width)
        logits.append(rest(hidden))
    return torch.cat(logits).T


def _halves(head: Head, constant: Tensor) -> tuple[Tensor, Tensor | None, Callable[[Tensor], Tensor]]:
    """Weight and bias of a head's first layer, and the rest, from ``(M, B, P)`` to logits ``(M, B)``.

    Of a normalised head and of those from outside the first layer is the identity: all features are looked up, since
    their length is needed or what they do is not known.
    """
    if isinstance(head, LinearHead):
        return head.weight, head.bias, lambda hidden: hidden.squeeze(-1)
    if isinstance(head, MLPHead):
        return head.hidden.weight, head.hidden.bias, lambda hidden: head.out(hidden.relu()).squeeze(-1)
    return (
        torch.eye(len(constant)).to(constant),
        None,
        lambda pooled: head(pooled.flatten(0, 1)).reshape(pooled.shape[:2]),
    )


def _one_by_one(net: ResGAT, graph: GraphState, coalitions: Tensor) -> Tensor:
    """Logits ``(B, M)`` without a table: attention and answer of every coalition, from scores and values at hand.

    For a head that reads nodes one by one, whose answer depends on all that are there at once, and for a graph of two
    grids, whose coarse nodes have too many sources for a table of subsets.
    """
    grid, head = net.grid, net.head
    if isinstance(head, NodeHead):
        votes, constant = net.gat.along(graph, head.directions[None]), net.gat.constant_along(head.directions)
    else:
        weight, bias, rest = _halves(head, net.gat.constant)
        votes, constant = net.gat.along(graph, weight[None]), F.linear(net.gat.constant, weight, bias)
    size = max(1, _CHUNK // max(votes[0].numel(), graph.scores[0].numel()))
    logits = []
    for place in range(len(votes)):
        mine = []
        for part in torch.split(coalitions.to(votes.device), size):
            there = part[:, grid.neighbours] & part[:, :, None] & grid.present
            scores = graph.scores[place].masked_fill(~there.unsqueeze(-1), -torch.inf)
            weights = scores.softmax(dim=2).masked_fill(~there.unsqueeze(-1), 0)  # also where no score was left
            if graph.kept is not None:
                weights = weights * graph.kept[place, :, :, None]
            heard = grid.sum_by_source(weights) / grid.num_nodes
            if graph.gate is not None:
                heard = heard * graph.gate[place, :, None]
            if isinstance(head, NodeHead):
                mine.append(head(votes[place].expand(len(part), -1, -1, -1), heard, constant).logit)
            else:
                mine.append(rest((constant + heard.flatten(1) @ votes[place].flatten(0, 1))[:, None])[:, 0])
        logits.append(torch.cat(mine))
    return torch.stack(logits)


def _outputs_by_subset(grid: Grid, graph: GraphState, values: Tensor) -> Tensor:
    """Output of every target for every subset of its sources, from ``values (B, N, heads, P)``: ``(32 N, B · P)``.

    The bits of a subset's number are the slots, the lowest being the target itself; without it there is no output.
    """
    sent = grid.gather(values)
    numbers = torch.arange(_SUBSETS, device=sent.device)
    kept = (numbers[:, None] >> torch.arange(len(SLOTS), device=sent.device) & 1).bool()
    scores = graph.scores.unsqueeze(2).masked_fill(~kept.unsqueeze(-1), -torch.inf)
    attention = scores.softmax(dim=3).masked_fill(~kept[:, :1].unsqueeze(-1), 0)  # also where no score was left
    if graph.kept is not None:
        attention = attention * graph.kept[:, :, None, :, None]
    outputs = attention.flatten(3) @ sent.flatten(2, 3)
    return outputs.permute(1, 2, 0, 3).flatten(2).flatten(0, 1).contiguous()


def _table_rows(grid: Grid, coalitions: Tensor) -> Tensor:
    """Rows ``(M, N)`` int64 of ``_outputs_by_subset`` that add up to each coalition."""
    bits = 2 ** torch.arange(len(SLOTS), device=coalitions.device)
    subsets = (coalitions[:, grid.neighbours] & grid.present).mul(bits).sum(dim=-1)
    rows: Tensor = torch.arange(grid.num_nodes, device=coalitions.device) * _SUBSETS + subsets
    return rows


class _ByCoalitions(Explainer):
    """Choose coalitions, ask for their logits, sum up. ``n_graph`` is the number of coalitions."""

    needs: ClassVar[type[DetectorNet]] = ResGAT
    net: ResGAT

    @abstractmethod
    def coalitions(self, nodes: int) -> Tensor:
        """``(M, N)`` bool on the CPU; the same at every call."""

    @abstractmethod
    def summarise(self, coalitions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Shares ``(B, N)`` and bias ``(B,)`` from ``coalitions (M, N)`` and their ``logits (B, M)``."""

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        graph = self.net.graph(self.net.encode(images))
        coalitions = self.coalitions(self.net.grid.num_nodes).to(images.device)
        nodes, bias = self.summarise(coalitions, coalition_logits(self.net, graph, coalitions))
        return Attribution(nodes, self.net.classify(graph).logit, bias, graph=len(coalitions))


@explainer("nodes")
class NodeAblation(_ByCoalitions):
    """The fall of the logit when a node is dropped and attention turns to the others: z(all) − z(all but j).

    The causal check of ``Contribution``, which keeps the attention fixed. The losses of single nodes need not add up,
    and ``completeness_gap`` measures how far they are from it; the bias is z of no node.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> NodeAblation(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def coalitions(self, nodes: int) -> Tensor:
        """None, all, and all but each node."""
        return torch.cat([_none_and_all(nodes), ~torch.eye(nodes, dtype=torch.bool)])

    def summarise(self, coalitions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See ``_ByCoalitions``."""
        return logits[:, 1:2] - logits[:, 2:], logits[:, 0]


class _Sampled(_ByCoalitions):
    """Random coalitions, from a generator of their own: the same seed gives every image the same coalitions.

    Args:
        samples: Coalitions to evaluate for each image, at most.
        seed: Of the coalitions.

    Raises:
        ConfigError: See ``Explainer``; ``samples`` or ``seed`` is out of range.
    """

    def __init__(self, model: nn.Module, batch_size: int = 32, samples: int = 2000, seed: int = 0) -> None:
        super().__init__(model, batch_size)
        at_least(2, samples=samples)
        at_least(0, seed=seed)
        self.samples = samples
        self.seed = seed

    def random(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), the same at every call."""
        return torch.rand(*shape, generator=torch.Generator().manual_seed(self.seed))


@explainer("nodes")
class NodeShapley(_Sampled):
    """Shapley values of the nodes: what a node adds to the logit, averaged over the orders in which nodes can arrive.

    Estimated from random permutations (Castro et al., Computers & Operations Research 2009), each taken forwards and
    backwards (antithetic pairs; Mitchell et al., JMLR 2022). Every permutation's steps lead from z of no node to z of
    all, so the values and the bias, z of no node, add up to the logit however few the samples are.

    One pair takes 2 (N − 1) coalitions: 2000 of them are 20 pairs on 7×7 nodes but 5 on 14×14.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> NodeShapley(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    exact: ClassVar[bool] = True

    def coalitions(self, nodes: int) -> Tensor:
        """None, all, and what has arrived after each step of each permutation but the last.

        Raises:
            ConfigError: ``samples`` are too few for one pair of permutations.
        """
        pairs = (self.samples - 2) // (2 * (nodes - 1))
        if not pairs:
            raise ConfigError(
                f"samples is {self.samples}, but Shapley values of {nodes} nodes take at least {2 * nodes}: two "
                "permutations, one the reverse of the other."
            )
        arrival = self.random(pairs, nodes).argsort(dim=1)
        arrival = torch.cat([arrival, nodes - 1 - arrival])
        arrived = arrival[:, None] < torch.arange(1, nodes)[:, None]
        return torch.cat([_none_and_all(nodes), arrived.flatten(0, 1)])

    def summarise(self, coalitions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See ``_ByCoalitions``."""
        nodes = coalitions.shape[1]
        arrived = coalitions[2:].reshape(-1, nodes - 1, nodes)
        arrival = nodes - 1 - arrived.sum(dim=1)
        path = logits[:, 2:].reshape(len(logits), -1, nodes - 1)
        ends = logits[:, :2, None, None].expand(-1, -1, path.shape[1], 1)
        steps = torch.cat([ends[:, 0], path, ends[:, 1]], dim=2).diff(dim=2)
        return steps.gather(2, arrival.expand(len(logits), -1, -1)).mean(dim=1), logits[:, 0]


@explainer("nodes")
class NodeLIME(_Sampled):
    """LIME (Ribeiro et al., KDD 2016) on nodes instead of pixels, of the logit instead of the probability.

    As in the authors' package for images: every node stays with probability ½ and the first coalition is that of all
    nodes; a ridge regression (α = 1, intercept not penalised) of the logit on the nodes that stay weights a coalition
    by √exp(−d² / width²), d = 1 − √(share of nodes that stay) being its cosine distance from all nodes. The map is
    the regression's coefficients and the bias its intercept; they need not add up to the logit.

    Args:
        samples: Coalitions to evaluate for each image.
        seed: Of the coalitions.
        kernel_width: ``width`` above.

    Raises:
        ConfigError: See ``Explainer``; ``samples``, ``seed`` or ``kernel_width`` is out of range.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> NodeLIME(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def __init__(
        self, model: nn.Module, batch_size: int = 32, samples: int = 1000, seed: int = 0, kernel_width: float = 0.25
    ) -> None:
        super().__init__(model, batch_size, samples, seed)
        positive(kernel_width=kernel_width)
        self.kernel_width = kernel_width

    def coalitions(self, nodes: int) -> Tensor:
        """All nodes, then at random."""
        kept = self.random(self.samples, nodes) < 0.5
        kept[0] = True
        return kept

    def summarise(self, coalitions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See ``_ByCoalitions``."""
        kept, answers = coalitions.double().cpu(), logits.T.double().cpu()  # not every accelerator has doubles
        distance = 1 - kept.mean(dim=1, keepdim=True).sqrt()
        weight = torch.exp(-((distance / self.kernel_width) ** 2) / 2)
        middle, mean = ((weight * values).sum(dim=0) / weight.sum() for values in (kept, answers))
        weighted = (weight * (kept - middle)).T
        slopes = torch.linalg.solve(
            weighted @ (kept - middle) + torch.eye(len(middle), dtype=kept.dtype), weighted @ (answers - mean)
        )
        return slopes.T.to(logits), (mean - middle @ slopes).to(logits)


@explainer("nodes")
class NodeRISE(_Sampled):
    """RISE (Petsiuk et al., BMVC 2018) on nodes: the mean logit with a node less the mean logit without it.

    Every node stays with probability ½. RISE itself weights masks by the answer and so gives an unsigned map whose
    level depends on the mean answer; the difference is in logits and signed. For every coalition its complement is
    taken as well, so that all nodes stay equally often. The bias is what is left of the mean logit when half of each
    share is taken off: b' where nodes only add up.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> NodeRISE(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    def coalitions(self, nodes: int) -> Tensor:
        """At random, then the complements."""
        kept = self.random(self.samples // 2, nodes) < 0.5
        return torch.cat([kept, ~kept])

    def summarise(self, coalitions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See ``_ByCoalitions``."""
        sign = 2 * coalitions.to(logits.dtype) - 1
        share = 2 * logits @ sign / len(sign)
        return share, logits.mean(dim=1) - share.sum(dim=1) / 2


def _none_and_all(nodes: int) -> Tensor:
    return torch.tensor([[False], [True]]).expand(2, nodes)
