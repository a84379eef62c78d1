from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.outputs import NONE_OF_THESE, Outputs, energy, name_kinds
from resgat_pl.nn.resgat import ResGAT, check_compatible

from .conftest import MakeNet, enliven, sent_by_each_node

OUTPUTS = ["kind:swap", "kind:mouth", "region:nose", "region:chin"]
both_versions = pytest.mark.parametrize("attention", ["gatv1", "gatv2"])


@given(
    attention=st.sampled_from(["gatv1", "gatv2", "gcn"]),
    head=st.sampled_from(["linear", "mlp", "normalised", "capsule"]),
    gates=st.fixed_dictionaries({"mask_head": st.sampled_from(["aux", "gate"]), "bottleneck": st.booleans()}),
    rows=st.integers(2, 4),
    columns=st.integers(2, 4),
    heads=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_each_output_is_the_sum_of_its_own_nodes(
    attention: Any, head: str, gates: dict[str, Any], rows: int, columns: int, heads: int, seed: int
) -> None:
    torch.manual_seed(seed)
    net = ResGAT(
        attention,
        "resnet18",
        encoder_stage=3,
        heads=heads,
        hidden=4,
        head=head,
        image_size=32,
        outputs=OUTPUTS,
        **gates,
    )
    enliven(net)
    net = net.double().eval()
    graph = net.graph(net.encode(torch.rand(2, 3, 16 * rows, 16 * columns, dtype=torch.float64)))
    assert net.outputs is not None
    found = net.outputs.decompose(net.gat, net.grid, graph)
    assert found.node.shape == (2, 4, rows * columns)
    assert torch.equal(found.logit, net.outputs(graph))
    torch.testing.assert_close(found.node.sum(-1) + found.bias, found.logit, atol=1e-10, rtol=1e-10)
    assert (found.node.abs().sum(-1) > 1e-6).all()  # the sums are not zeros


@both_versions
def test_a_map_is_attention_times_what_a_node_says_of_that_output(
    make_net: MakeNet, images: Tensor, attention: str
) -> None:
    net = make_net(attention=attention, outputs=OUTPUTS)
    graph = net.graph(net.encode(images))
    assert net.outputs is not None
    found = net.outputs.decompose(net.gat, net.grid, graph)
    received = net.grid.sum_by_source(graph.attention)
    values = sent_by_each_node(net.gat, graph.nodes)
    for place in range(len(OUTPUTS)):
        weight = net.outputs.weight[place].reshape(net.gat.heads, -1)
        expected = (received * (values * weight).sum(-1)).sum(-1) / net.grid.num_nodes
        torch.testing.assert_close(found.node[:, place], expected, atol=1e-5, rtol=1e-4)


@both_versions
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_logit_of_fake_does_not_change(make_net: MakeNet, images: Tensor, attention: str, head: str) -> None:
    torch.manual_seed(3)
    alone = make_net(attention=attention, head=head)
    beside = make_net(attention=attention, head=head, outputs=OUTPUTS)
    missing = beside.load_state_dict(alone.state_dict(), strict=False).missing_keys
    assert sorted(missing) == ["outputs.linear.bias", "outputs.linear.weight"]
    torch.testing.assert_close(beside(images).logit, alone(images).logit, atol=1e-5, rtol=1e-5)
    mine, theirs = contributions(beside, images), contributions(alone, images)
    torch.testing.assert_close(mine.node, theirs.node)
    assert "outputs" not in dict(alone.named_children())


def test_without_outputs_a_seed_gives_the_weights_that_it_gave() -> None:
    options: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 64}
    nets = []
    for outputs in (None, OUTPUTS):
        torch.manual_seed(0)
        nets.append(ResGAT(**options, outputs=outputs))
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, nets[1].state_dict()[name]), name


def test_names_are_rows_kinds_first() -> None:
    outputs = Outputs(["region:*", "kind:Deepfakes"], 4)
    assert outputs.names == ["kind:Deepfakes", *(f"region:{name}" for name in FACE_REGIONS)]
    logits = torch.arange(9.0)[None]
    assert outputs.kind_logits(logits).tolist() == [[0, 0]]
    assert outputs.region_logits(logits).tolist() == [list(range(1, 9))]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "it must be a list such as"),
        ("kind:a", "it must be a list such as"),
        (["fake"], "each is kind:NAME or region:NAME"),
        (["kind:"], "each is kind:NAME or region:NAME"),
        (["kind:*"], "the methods of a manifest"),
        (["region:moth"], "there is no such region. Did you mean mouth?"),
        (["region:background"], "there is no such region"),
        (["kind:a", "kind:a"], "twice"),
        (["region:*", "region:nose"], "twice"),
        (["kind:genuine"], "what is left beside the kinds"),
        ([f"kind:{place}" for place in range(257)], "256 are the most"),
    ],
)
def test_other_names_are_refused(names: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Outputs(names, 4)


def test_a_checkpoint_of_other_outputs_is_refused() -> None:
    check_compatible({"outputs": None}, {})  # of before there were any
    with pytest.raises(WeightsError, match="outputs is None there and"):
        check_compatible({"outputs": OUTPUTS}, {})


def test_the_kind_never_contradicts_the_verdict() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, -4.0, -3.0], [0.0, 3.0, 1.0]])
    fake = torch.tensor([True, True, False])
    assert name_kinds(logits, fake, ["a", "b"], 0.0) == ["a", NONE_OF_THESE, "genuine"]
    assert name_kinds(logits, fake, ["a", "b"], None) == ["a", "b", "genuine"]
    torch.testing.assert_close(
        energy(logits), torch.tensor([3.0, -4.0, 3.0]).exp().add(torch.tensor([1.0, -3.0, 1.0]).exp()).log()
    )
