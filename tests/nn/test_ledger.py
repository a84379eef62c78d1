"""The ledger of every variant: against a computation by the definitions, node by node, and by its properties."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.head import CapsuleHead
from resgat_pl.nn.resgat import ResGAT

from .conftest import enliven, sent_by_each_node

ATTENTIONS = ("gatv1", "gatv2", "gcn")
HEADS = ("linear", "mlp", "normalised", "capsule")
GATES: list[dict[str, Any]] = [
    *({"mask_head": mask, "bottleneck": kept} for mask, kept in product(("none", "aux", "gate"), (False, True))),
    {"mask_head": "gate", "two_pass": True},
    {"mask_head": "aux", "two_pass": True, "bottleneck": True},
]
every_attention = pytest.mark.parametrize("attention", ATTENTIONS)
every_head = pytest.mark.parametrize("head", HEADS)


@cache
def net_of(attention: str, head: str, place: int, dropout: float = 0.0) -> ResGAT:
    """A network in 64 bits, in evaluation mode."""
    torch.manual_seed(0)
    options: Any = {"attention": attention, "head": head, "dropout": dropout, **GATES[place]}
    net = ResGAT(encoder="timm/test_resnet", heads=2, hidden=4, image_size=64, **options).double()  # small: 120 of them
    for part in (net.gat, net.head, net.node_gate, net.edge_gate):
        if part is not None:
            enliven(part)
    if net.edge_gate is not None:
        with torch.no_grad():
            net.edge_gate.out.weight.mul_(5)
    return net.eval()


def some_nodes(net: ResGAT, rows: int = 3, columns: int = 4, images: int = 2, seed: int = 0) -> Tensor:
    net.grid.fit(rows, columns)
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(images, rows * columns, net.backbone.out_channels, generator=generator).double()


def slowly(net: ResGAT, nodes: Tensor) -> Tensor:
    """Logit ``()`` of one image's ``nodes (N, F)``, by the definitions: sums over pairs of nodes, and plain routing."""
    count = len(nodes)
    mask = torch.ones(count).double() if net.node_gate is None else net.node_gate(nodes).sigmoid()
    gate = mask if net.is_gated else torch.ones_like(mask)
    kept = torch.ones(count, count).double()
    if net.edge_gate is not None:
        layer = net.edge_gate
        for source, target in net.grid.edge_index.T:
            hidden = (layer.sources(nodes[source]) + layer.targets(nodes[target])).relu()
            kept[target, source] = layer.out(hidden).sigmoid().squeeze()

    def answer(features: Tensor) -> tuple[Tensor, Tensor]:
        """Logit and the contribution of each node."""
        values = sent_by_each_node(net.gat, features[None])[0]
        alpha = net.grid.to_edges(net.gat.attend(features[None], net.grid).attention)[0]
        sent = torch.zeros(count, 2).double()
        for (source, target), weight in zip(net.grid.edge_index.T.tolist(), alpha, strict=True):
            sent[source] += weight * kept[target, source] * gate[source] / count
        if isinstance(net.head, CapsuleHead):
            return routed(net.head, values, sent, net.gat.constant)
        pooled = (sent.unsqueeze(-1) * values).sum(dim=0).flatten() + net.gat.constant
        weight, _ = net.head.linearise(pooled[None])
        said = (values * weight.reshape(2, 4)).sum(dim=-1)
        return net.head(pooled[None]).squeeze(), (sent * said).sum(dim=1)

    if not net.two_pass:
        return answer(nodes)[0]
    first = answer(torch.cat([nodes, torch.stack([torch.zeros_like(mask), mask], dim=1)], dim=1))[1]
    return answer(torch.cat([nodes, torch.stack([F.softsign(first * count), mask], dim=1)], dim=1))[0]


def routed(head: CapsuleHead, values: Tensor, sent: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Dynamic routing as it is printed, over a list of capsules."""
    weight = head.weight.reshape(2, -1, 2, 4)  # output, size, head, features
    capsules = [(sent[j, k], values[j, k], k) for j, k in product(range(len(values)), range(2))]
    capsules += [(torch.tensor(1.0).double(), constant.reshape(2, 4)[k], k) for k in range(2)]
    votes = [torch.stack([weight[o, :, k] @ value for o in range(2)]) for _, value, k in capsules]
    logits = [torch.zeros(2).double() for _ in capsules]
    for turn in range(head.rounds):
        shares = [each.softmax(dim=0) for each in logits]
        sums = sum(a * r[:, None] * u for (a, _, _), r, u in zip(capsules, shares, votes, strict=True))
        assert isinstance(sums, Tensor)
        if turn + 1 < head.rounds:
            length = sums.norm(dim=1, keepdim=True)
            squashed = length**2 / (1 + length**2) * sums / length
            logits = [each + (u * squashed).sum(dim=1) for each, u in zip(logits, votes, strict=True)]
    unit = sums / sums.norm(dim=1, keepdim=True)
    along = [a * (r * (u * unit).sum(dim=1)) for (a, _, _), r, u in zip(capsules, shares, votes, strict=True)]
    nodes = torch.stack([part[0] - part[1] for part in along[:-2]]).reshape(len(values), 2).sum(dim=1)
    return sums[0].norm() - sums[1].norm() + head.bias, nodes


@every_attention
@every_head
@pytest.mark.parametrize("place", range(len(GATES)))
@torch.no_grad()
def test_the_logit_is_that_of_the_definitions(attention: str, head: str, place: int) -> None:
    net = net_of(attention, head, place)
    nodes = some_nodes(net)
    expected = torch.stack([slowly(net, image) for image in nodes])
    torch.testing.assert_close(net.forward_nodes(nodes).logit, expected)
    assert (expected[0] - expected[1]).abs() > 1e-4


@given(
    attention=st.sampled_from(ATTENTIONS),
    head=st.sampled_from(HEADS),
    place=st.integers(0, len(GATES) - 1),
    rows=st.integers(2, 4),
    columns=st.integers(2, 4),
    training=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_every_ledger_adds_up(
    attention: str, head: str, place: int, rows: int, columns: int, training: bool, dropout: float, seed: int
) -> None:
    net = net_of(attention, head, place, dropout).train(training)
    state = net.graph(some_nodes(net, rows, columns, seed=seed))
    found = decompose(net, state)
    net.eval()
    # With dropout the logit is random, and the shares are those of the network without.
    if training and dropout:
        assert found.node.isfinite().all()
        if head in {"linear", "capsule"} and net.edge_gate is None:
            torch.testing.assert_close(
                found.node, decompose(net, net.graph(some_nodes(net, rows, columns, seed=seed))).node
            )
        return
    for part in (found.node, found.edge):
        torch.testing.assert_close(part.sum(dim=1) + found.bias, found.output.logit, atol=1e-9, rtol=1e-9)
    source = found.output.edge_index[0]
    by_node = torch.zeros_like(found.node).index_add(1, source, found.edge)
    torch.testing.assert_close(by_node, found.node, atol=1e-9, rtol=1e-9)
    assert found.heard is not None
    assert found.says is not None
    where = torch.ones_like(found.node) if found.where is None else found.where
    torch.testing.assert_close(where * (found.heard * found.says).sum(dim=-1), found.node)
    torch.testing.assert_close(where * found.says.sum(dim=-1), found.evidence)
    assert found.node.abs().sum() > 1e-3  # the sums are not zeros


@every_attention
@every_head
@torch.no_grad()
def test_a_closed_gate_leaves_the_bias_of_nodes_that_send_nothing(attention: str, head: str) -> None:
    """What is gated away says nothing: no bias of the values comes back with the ring of the grid."""
    net = net_of(attention, head, GATES.index({"mask_head": "gate", "bottleneck": False}))
    nodes = some_nodes(net)
    silent = net.forward_nodes(torch.zeros_like(nodes)).logit
    assert net.node_gate is not None
    before = net.node_gate.bias.clone()
    net.node_gate.bias.fill_(-1e4)
    found = decompose(net, net.graph(nodes))
    net.node_gate.bias.copy_(before)
    assert not found.node.any()
    torch.testing.assert_close(found.output.logit, found.bias)
    torch.testing.assert_close(found.output.logit, silent)


@every_head
@torch.no_grad()
def test_the_mask_of_aux_is_no_part_of_the_logit_and_that_of_gate_is(head: str) -> None:
    for mask_head, changes in (("aux", False), ("gate", True)):
        net = net_of("gatv2", head, GATES.index({"mask_head": mask_head, "bottleneck": False}))
        nodes = some_nodes(net)
        before = decompose(net, net.graph(nodes))
        assert net.node_gate is not None
        net.node_gate.bias.add_(1.0)
        after = decompose(net, net.graph(nodes))
        net.node_gate.bias.sub_(1.0)
        assert before.mask is not None
        assert after.mask is not None
        assert (after.mask > before.mask).all()
        assert torch.equal(after.output.logit, before.output.logit) != changes
        assert (before.where is None) != changes


def test_the_second_pass_takes_the_first_as_numbers() -> None:
    """No gradient of the fed-back map: masks are trained by masks, and the first pass through the second alone."""
    net = net_of("gatv2", "linear", GATES.index({"mask_head": "aux", "two_pass": True, "bottleneck": True}))
    state = net.graph(some_nodes(net))
    assert state.nodes.shape[2] == net.backbone.out_channels + 2
    assert net.node_gate is not None
    (gradient,) = torch.autograd.grad(net.classify(state).logit.sum(), net.node_gate.weight, allow_unused=True)
    assert gradient is None


@every_head
def test_all_that_a_variant_adds_is_trained(head: str) -> None:
    net = net_of("gatv2", head, GATES.index({"mask_head": "gate", "bottleneck": True})).train()
    found = decompose(net, net.graph(some_nodes(net)))
    (found.node.square().sum() + found.output.logit.sum()).backward()
    net.eval()
    for name, parameter in net.named_parameters():
        if not name.startswith("backbone"):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
    net.zero_grad()


def test_options_that_do_not_go_together() -> None:
    small: dict[str, Any] = {"encoder": "resnet18", "heads": 1, "hidden": 4, "image_size": 64}
    with pytest.raises(ConfigError, match="mask_head is none: set it to gate"):
        ResGAT(**small, two_pass=True)
    with pytest.raises(ConfigError, match=r"bottleneck is 0\.5; it must be true or false"):
        ResGAT(**small, bottleneck=0.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mask_head is 'both'; it must be none or aux or gate"):
        ResGAT(**small, mask_head="both")  # type: ignore[arg-type]


def test_a_network_without_them_draws_the_weights_that_it_drew_before() -> None:
    small: dict[str, Any] = {"encoder": "resnet18", "heads": 1, "hidden": 4, "image_size": 64}
    torch.manual_seed(3)
    plain = ResGAT(**small).state_dict()
    torch.manual_seed(3)
    full = ResGAT(**small, mask_head="aux", bottleneck=True).state_dict()
    assert all(torch.equal(full[name], value) for name, value in plain.items())
    assert not any("gate" in name for name in plain)
