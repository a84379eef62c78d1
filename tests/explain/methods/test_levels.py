"""Explanations of a graph of two grids: one map, a map of each level, and methods that cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer, why_not
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.methods.nodes import NodeShapley, coalition_logits
from resgat_pl.explain.methods.variants import CoarseContribution, FineContribution, PredictedMask
from resgat_pl.explain.report.run_methods import default_methods
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
QUICK: dict[str, dict[str, Any]] = {
    "NodeShapley": {"samples": 64},
    "NodeLIME": {"samples": 64},
    "NodeRISE": {"samples": 16},
    "GNNExplainer": {"epochs": 2},
    "LIME": {"samples": 8, "segments": "squares"},
    "KernelSHAP": {"samples": 64, "segments": "squares"},
    "RISE": {"samples": 8},
    "PermutationImportance": {"reference": IMAGES, "draws": 2},
}


def make(**options: Any) -> ResGAT:
    torch.manual_seed(0)
    net = ResGAT(encoder="resnet18", encoder_stage=[3, 4], heads=2, hidden=4, image_size=64, **options)
    net(IMAGES)  # a first set of batch statistics
    return net.eval()


def test_the_map_is_of_both_levels_and_each_level_has_its_own() -> None:
    net = make()
    whole, fine, coarse = (m(net).attribute(IMAGES) for m in (Contribution, FineContribution, CoarseContribution))
    torch.testing.assert_close(fine.node_map + coarse.node_map, whole.node_map)
    for found in (whole, fine, coarse):
        assert found.node_map.shape == (2, 4, 6)
        torch.testing.assert_close(found.node_map.sum(dim=(1, 2)) + found.bias, found.logit, atol=1e-5, rtol=1e-5)
        assert float(found.completeness_gap.max()) < 1e-5
    with torch.no_grad():
        nodes = contributions(net, IMAGES).node
    torch.testing.assert_close(fine.node_map.flatten(1), nodes[:, :24])
    torch.testing.assert_close(coarse.node_map.sum(dim=(1, 2)), nodes[:, 24:].sum(dim=1))
    assert default_methods(net).endswith("FineContribution,CoarseContribution")
    with pytest.raises(ConfigError, match="FineContribution needs a graph of two grids"):
        FineContribution(ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64))


def test_a_mask_is_the_mean_of_the_levels() -> None:
    net = make(mask_head="aux")
    found = PredictedMask(net).attribute(IMAGES).node_map
    with torch.no_grad():
        mask = contributions(net, IMAGES).mask
    assert mask is not None
    torch.testing.assert_close(found, net.levels(64, 96).averaged(mask))
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize("name", sorted(registry.methods()))
def test_every_method_explains_it_or_refuses_by_name(name: str) -> None:
    net, method = make(mask_head="aux"), registry.find(name)
    if reason := why_not(method, net):
        assert name in reason
        assert name in {"GradCAM", "Relevancy", "Routing", "KeptEdges", "EnsembleContribution"}, reason
        return
    if name == "GradientSHAP":
        pytest.importorskip("captum")
    explainer: Explainer = method(net, **QUICK.get(name, {}))
    found = explainer.attribute(IMAGES[:1])
    assert found.node_map.shape == (1, 4, 6)
    assert found.node_map.isfinite().all()


@pytest.mark.parametrize("head", ["linear", "mlp", "normalised", "capsule"])
@torch.no_grad()
def test_coalitions_leave_nodes_of_either_level_out(head: str) -> None:
    net = make(head=head, mask_head="gate").double()
    graph = net.graph(net.encode(IMAGES))
    nodes = net.grid.num_nodes
    stay = torch.rand(6, nodes, generator=torch.Generator().manual_seed(0)) > 0.3
    found = coalition_logits(net, graph, torch.cat([torch.ones(1, nodes).bool(), torch.zeros(1, nodes).bool(), stay]))
    torch.testing.assert_close(found[:, 0], net.classify(graph).logit)
    if head == "linear":
        torch.testing.assert_close(found[:, 1], contributions(net, IMAGES).bias)
        # PyTorch Geometric's layer on what is left, whose nodes that send nothing have the constants.
        graph = net.graph(nodes_of(net))._replace(gate=None)
        found = coalition_logits(net, graph, stay)
        for logits, image in zip(found, graph.nodes, strict=True):
            for logit, part in zip(logits, stay, strict=True):
                number = part.long().cumsum(0) - 1
                edges = net.grid.edge_index[:, part[net.grid.edge_index].all(dim=0)]
                sums = (net.gat(image[part], number[edges]) - net.gat.constant).sum(dim=0)
                torch.testing.assert_close(logit, net.head(sums[None] / nodes + net.gat.constant)[0])


def nodes_of(net: ResGAT) -> torch.Tensor:
    return net.encode(IMAGES)


def test_shapley_of_the_nodes_adds_up_on_the_map() -> None:
    found = NodeShapley(make(), samples=400).attribute(IMAGES[:1])
    assert float(found.completeness_gap.max()) < 1e-4
    torch.testing.assert_close(found.node_map.sum(dim=(1, 2)) + found.bias, found.logit, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_of_two_levels_is_read_again(tmp_path: Any) -> None:
    net = make()
    net.save_pretrained(tmp_path)
    again = ResGAT.from_pretrained(tmp_path)
    assert torch.equal(again(IMAGES).logit, net(IMAGES).logit)
