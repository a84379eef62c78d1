"""Fidelity and sparsity of a map on the graph itself: nodes are dropped, and no pixel is changed.

Fidelity+ and fidelity− are those of GraphFramEx (Amara et al., LoG 2022), of the probability and of the network's own
answer; sparsity is read off the same coalitions (``methods.nodes``), so a map costs one encoder pass a face.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from resgat_pl.explain.base import evaluation_mode
from resgat_pl.explain.benchmark.faithfulness import few, first_nodes, order_of
from resgat_pl.explain.methods.nodes import coalition_logits
from resgat_pl.explain.methods.subgraph import graph_of
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.resgat import ResGAT


@torch.no_grad()
def fidelity(net: ResGAT, images: Tensor, maps: Tensor, cut: float = 0.0, batch_size: int = 64) -> dict[str, Tensor]:
    """Measure the maps of some faces, all of one class.

    Args:
        net: The network.
        images: ``(B, 3, S, S)`` float in [0, 1].
        maps: ``(B, h, w)`` float, one for each.
        cut: Logit above which a face is called fake.
        batch_size: Images that go through the network at once.

    Returns:
        ``(B,)`` float64 each. ``fidelity_plus``: the probability of the verdict, less what is left of it without the
        highest nodes (``faithfulness.few``: 10.2 %). ``fidelity_minus``: the same with these nodes alone.
        ``sparsity``: 1 less the share of nodes, highest first, that it takes for the verdict; 0 where only all give it.

    Example:
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64).eval()
        >>> sorted(fidelity(net, torch.rand(1, 3, 64, 64), torch.rand(1, 4, 4)))
        ['fidelity_minus', 'fidelity_plus', 'sparsity']
    """
    device = next(net.parameters()).device
    found: list[Tensor] = []
    with evaluation_mode(net):
        for some, order in _parts(images, order_of(maps), batch_size):
            graph = net.graph(net.encode(some.to(device)))
            found += [_of_one(net, graph_of(graph, place), order[place], cut) for place in range(len(some))]
    table = torch.stack(found) if found else torch.zeros(0, 3, dtype=torch.float64)
    return dict(zip(("fidelity_plus", "fidelity_minus", "sparsity"), table.T, strict=True))


def _parts(images: Tensor, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    if len(images):  # torch.split makes one empty part of nothing
        yield from zip(torch.split(images, size), torch.split(order, size), strict=True)


def _of_one(net: ResGAT, graph: GraphState, order: Tensor, cut: float) -> Tensor:
    nodes = len(order)
    prefixes = first_nodes(order[None], range(nodes + 1))[0]  # none, the highest, …, all
    sets = torch.cat([prefixes, ~prefixes[few(nodes)][None]])
    logits = coalition_logits(net, graph, sets.to(graph.nodes.device))[0].double().cpu()
    full = logits[nodes]
    fake = bool(full > cut)
    probability = (logits if fake else -logits).sigmoid()
    enough = int(((logits[: nodes + 1] > cut) == fake).nonzero()[0])
    plus = probability[nodes] - probability[nodes + 1]
    minus = probability[nodes] - probability[few(nodes)]
    return torch.stack([plus, minus, torch.tensor(1 - enough / nodes, dtype=torch.float64)])
