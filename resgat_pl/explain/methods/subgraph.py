"""The smallest part of the graph that decides: the fewest nodes that keep the verdict, and the fewest that turn it.

Nodes are dropped as in ``methods.nodes``: the attention of those that stay is computed again, so each number is a logit
of the network itself on a smaller graph. The search is greedy, so what it finds is an upper bound on the fewest nodes.
Where all smaller sets are few enough to be tried, they are, and the certificate says that none of them will do. For a
set function that adds up, greedy is exact.

Edges are counted by their exact contributions, with the attention as it is. These add up, so the strongest edges are
the fewest; they are a statement on the ledger, not on a network without the other edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Attribution, Explainer, Unit
from resgat_pl.explain.methods.nodes import coalition_logits
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.head import LinearHead
from resgat_pl.nn.resgat import ResGAT

SetFunction = Callable[[Tensor], Tensor]
"""Logits ``(M,)`` of the graphs that hold only the nodes of each of ``(M, N)`` bool."""
PROVEN_UP_TO: Final = 20_000
"""Sets that are tried to prove a number of nodes the smallest: all of up to 3 of 49 nodes, or up to 2 of 196. A head
that is not linear, of which a set takes longer, gets a tenth of them."""
_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class Part:
    """Some nodes with the logit that they leave.

    Attributes:
        nodes: Numbers of the nodes, row by row from the top left, in the order in which they were taken.
        logit: Of the graph that holds only these nodes (``keeps``), or all but these (``turns``).
        smallest: True if no smaller set does the same: all of them were tried.
    """

    nodes: tuple[int, ...]
    logit: float
    smallest: bool


@dataclass(frozen=True)
class Certificate:
    """The numbers of one face that can be checked: which nodes keep its verdict, and whose removal turns it.

    Attributes:
        verdict: ``fake`` if ``logit`` is above ``limit``, else ``real``.
        logit: Of the whole graph.
        limit: What logits are compared with.
        bias: Of the graph without any node.
        total: Nodes of the graph.
        keeps: The nodes that alone give the same verdict; none of them where the bias does.
        turns: The nodes without which it is the other one; None where no removal turns it, not even of all.
        edges: ``(keep, turn, all)``: the fewest edges whose contributions with the bias keep the verdict, and the
            fewest without which the sum turns (None: none do); None for a head without contributions.
    """

    verdict: str
    logit: float
    limit: float
    bias: float
    total: int
    keeps: Part
    turns: Part | None
    edges: tuple[int, int | None, int] | None = None

    @property
    def sentence(self) -> str:
        """The certificate in words, with its numbers."""
        keeps, turns = self.keeps, self.turns
        if keeps.nodes:
            said = f"{len(keeps.nodes)} of {self.total} nodes suffice for {self.verdict}"
            said += f" (logit {_number(keeps.logit)} with these alone{_proof(keeps)})"
        else:
            said = f"No node is needed for {self.verdict}: without any the logit is {_number(self.bias)}"
        if turns is None:
            said += "; no removal of nodes that was tried turns it"
        else:
            said += f"; without {len(turns.nodes)} of them it turns (logit {_number(turns.logit)}{_proof(turns)})"
        return said + (f"; limit {_number(self.limit)}." if self.limit else ".")

    @property
    def edge_sentence(self) -> str:
        """The numbers of the edges in words; empty without contributions."""
        if self.edges is None:
            return ""
        keep, turn, every = self.edges
        suffice = f"{keep} of {every} edges suffice" if keep else f"none of {every} edges is needed"
        less = ", and leaving edges out does not turn their sum"
        if turn is not None:
            less = f", and without the strongest {turn} their sum turns"
        return f"By their contributions, with the attention as it is, {suffice}{less}."


def certify(net: ResGAT, images: Tensor, limit: float = 0.0) -> list[Certificate]:
    """Search the smallest deciding parts of the graphs of some faces.

    Args:
        net: In evaluation mode.
        images: ``(B, 3, H, W)`` float in [0, 1], RGB, on the network's device.
        limit: Logit above which a face is called fake.

    Returns:
        One certificate a face.

    Example:
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64).eval()
        >>> found = certify(net, torch.rand(1, 3, 64, 64))[0]
        >>> found.total, len(found.keeps.nodes) <= 16
        (16, True)
    """
    with torch.no_grad():
        graph = net.graph(net.encode(images))
        return [_certificate(net, graph_of(graph, place), limit) for place in range(len(images))]


def _certificate(net: ResGAT, graph: GraphState, limit: float) -> Certificate:
    total = net.grid.num_nodes
    device = graph.nodes.device

    def logits(sets: Tensor) -> Tensor:
        return coalition_logits(net, graph, sets.to(device))[0].double().cpu()

    ends = torch.tensor([[False], [True]]).expand(2, total)
    bias, logit = logits(ends).tolist()
    tries = PROVEN_UP_TO if isinstance(net.head, LinearHead) else PROVEN_UP_TO // 10
    keeps, turns = smallest_parts(logits, total, limit, tries)
    edges = None
    if net.has_contributions:
        found = decompose(net, graph)
        edges = fewest_terms(found.edge[0].double().cpu(), float(found.bias[0]), limit)
    verdict = "fake" if logit > limit else "real"
    return Certificate(verdict, logit, limit, bias, total, keeps, turns, edges)


def smallest_parts(
    logits: SetFunction, total: int, limit: float = 0.0, tries: int | None = None
) -> tuple[Part, Part | None]:
    """The fewest nodes that keep the verdict of the full set and the fewest whose removal turns it, found greedily.

    Each step takes the node that moves the logit farthest. What turns out to be needless in the end is left out again,
    so that no single node can be spared.

    Args:
        logits: The set function.
        total: Number of nodes.
        limit: Logit above which the verdict is fake.
        tries: Sets that may be tried for a proof; None for ``PROVEN_UP_TO``.

    Returns:
        As of ``Certificate``.

    Example:
        >>> share = torch.tensor([3.0, -1.0, 0.5])
        >>> keeps, turns = smallest_parts(lambda sets: sets.double() @ share.double() - 2, 3)
        >>> keeps.nodes, turns.nodes
        ((0,), (0,))
    """
    tries = PROVEN_UP_TO if tries is None else tries
    full = torch.ones(1, total, dtype=torch.bool)
    sign = 1.0 if float(logits(full)[0]) > limit else -1.0

    def kept(values: Tensor) -> Tensor:
        return values > limit if sign > 0 else values <= limit

    keeps = _search(logits, total, lambda chosen: chosen, kept, sign, tries)
    turns = _search(logits, total, lambda chosen: ~chosen, lambda values: ~kept(values), -sign, tries)
    if keeps is None:  # the full set keeps its verdict
        raise ConfigError("The same graph has other logits at every call: put the network into evaluation mode.")
    return keeps, turns


def _search(
    logits: SetFunction,
    total: int,
    left: Callable[[Tensor], Tensor],
    done: Callable[[Tensor], Tensor],
    sign: float,
    tries: int,
) -> Part | None:
    """Greedily the fewest nodes with ``done(logits(left(nodes)))``, or the fewest of all sets where these are few."""
    chosen = torch.zeros(total, dtype=torch.bool)
    order: list[int] = []
    value = logits(left(chosen)[None])
    while not bool(done(value)[0]):
        if len(order) == total:
            return _proven(logits, total, left, done, None, tries)
        free = (~chosen).nonzero().flatten()
        tried = chosen.repeat(len(free), 1)
        tried[torch.arange(len(free)), free] = True
        values = logits(left(tried))
        best = int((sign * values).argmax())
        order.append(int(free[best]))
        chosen, value = tried[best], values[best : best + 1]
    for node in list(order):  # what was taken early may be needless now
        spared = chosen.clone()
        spared[node] = False
        without = logits(left(spared)[None])
        if bool(done(without)[0]):
            chosen, value = spared, without
            order.remove(node)
    return _proven(logits, total, left, done, Part(tuple(order), float(value[0]), smallest=False), tries)


def _proven(
    logits: SetFunction,
    total: int,
    left: Callable[[Tensor], Tensor],
    done: Callable[[Tensor], Tensor],
    greedy: Part | None,
    tries: int,
) -> Part | None:
    """Try all sets smaller than a greedy one, as long as they are few, and take the first that will do."""
    tried = 0
    for size in range(total + 1 if greedy is None else len(greedy.nodes)):
        tried += math.comb(total, size)
        if tried > tries:
            return greedy
        for some in _batches(combinations(range(total), size)):
            sets = torch.zeros(len(some), total, dtype=torch.bool)
            if size:
                sets.scatter_(1, torch.tensor(some), value=True)
            values = logits(left(sets))
            if (found := done(values).nonzero().flatten()).numel():
                place = int(found[0])
                return Part(tuple(some[place]), float(values[place]), smallest=True)
    return None if greedy is None else replace(greedy, smallest=True)


def _batches(sets: Iterator[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    while some := list(islice(sets, _AT_ONCE)):
        yield some


def fewest_terms(terms: Tensor, bias: float, limit: float = 0.0) -> tuple[int, int | None, int]:
    """The fewest terms of a sum that keep its side of a limit, and the fewest whose removal turns it; exact.

    Args:
        terms: ``(E,)`` float64.
        bias: What is there without any term.
        limit: Sums above it are on one side, all others on the other.

    Returns:
        The two numbers, the second None where no removal turns the sum, and E.

    Example:
        >>> fewest_terms(torch.tensor([2.0, -1.0, 0.5, 3.0]), -2.5)
        (1, 1, 4)
    """
    zero = terms.new_zeros(1)
    fake = float(terms.sum()) + bias > limit
    falling = terms.sort(descending=fake).values  # the verdict's own side first
    added = bias + torch.cat([zero, falling.cumsum(0)])
    left = bias + terms.sum() - torch.cat([zero, falling.cumsum(0)])
    keeps = (added > limit) == fake
    keeps[-1] = True  # all of them do, whatever the order in which they are rounded
    turned = ((left > limit) != fake).nonzero().flatten()
    return int(keeps.nonzero()[0]), (int(turned[0]) if len(turned) else None), len(terms)


@explainer("nodes", "The fewest nodes, found greedily, that alone give the same verdict: a small graph that decides.")
class MinimalSubgraph(Explainer):
    """The nodes of ``Certificate.keeps``: 1 for the first that was taken, less for each further one, 0 for the rest.

    The search ends as soon as the verdict is there. ``n_graph`` is not counted: sets of nodes are looked up in one
    table of the graph. See ``certify`` for the numbers.

    Args:
        limit: Logit above which a face is called fake.

    Raises:
        ConfigError: See ``Explainer``; ``limit`` is NaN.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> MinimalSubgraph(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "mask"
    signed: ClassVar[bool] = False
    averaged: ClassVar[bool] = True
    needs: ClassVar[type[DetectorNet]] = ResGAT
    net: ResGAT

    def __init__(self, model: nn.Module, batch_size: int = 32, limit: float = 0.0) -> None:
        super().__init__(model, batch_size)
        if math.isnan(limit):
            raise ConfigError("limit is NaN; give a logit.")
        self.limit = limit

    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = certify(self.net, images, self.limit)
        nodes = images.new_zeros(len(found), self.net.grid.num_nodes)
        for row, one in zip(nodes, found, strict=True):
            size = len(one.keeps.nodes)
            row[list(one.keeps.nodes)] = 1 - torch.arange(size).to(row) / max(1, 2 * size)
        logit, bias = (images.new_tensor([getattr(one, name) for one in found]) for name in ("logit", "bias"))
        return Attribution(nodes, logit, bias)


def graph_of(graph: GraphState, place: int) -> GraphState:
    """The graph of one image."""
    return GraphState(*(None if part is None else part[place : place + 1] for part in graph))  # type: ignore[arg-type]


def _proof(part: Part) -> str:
    return ", and no fewer will do" if part.smallest else ", found greedily: fewer may do"


def _number(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
