from __future__ import annotations

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain import registry
from resgat_pl.explain.base import why_not
from resgat_pl.explain.methods.gnn import GNNExplainer
from resgat_pl.explain.methods.graph import Contribution, EdgeContribution
from resgat_pl.explain.methods.variants import KeptEdges, PredictedMask, Routing
from resgat_pl.explain.report.run_methods import default_methods, mask_numbers, own_parts, run
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import IMAGES, PARTS, make_net

OWN = (PredictedMask, Routing, KeptEdges)


@pytest.mark.parametrize("method", OWN)
def test_a_network_without_the_part_is_refused_by_name(method: type[PredictedMask]) -> None:
    options = {"PredictedMask": "net.mask_head", "Routing": "net.head capsule", "KeptEdges": "net.bottleneck"}
    with pytest.raises(ConfigError, match=f"{method.__name__} needs a.*{options[method.__name__]}"):
        method(make_net())
    assert "which has none" in str(why_not(method, PooledClassifier("resnet18", image_size=64)))
    assert registry.is_variant(method)
    assert not registry.is_variant(Contribution)


def test_reports_show_what_a_network_has() -> None:
    assert default_methods(make_net()) == "Contribution,Attention,NodeEvidence"
    for name, arguments in PARTS.items():
        first, shown = "Contribution,Attention,NodeEvidence,", default_methods(make_net(**arguments))
        assert shown.startswith(first)
        assert shown.removeprefix(first).split(",") == [each for each in PARTS if PARTS[each] == arguments]
        assert name in shown
    assert default_methods(PooledClassifier("resnet18", image_size=64)) == "InputXGradient"


@torch.no_grad()
def test_maps_are_the_parts_of_the_computation() -> None:
    net = make_net(mask_head="gate", bottleneck=True, head="capsule")
    found = contributions(net, IMAGES)
    mask, routing, kept = (method(net).attribute(IMAGES) for method in OWN)
    assert found.where is not None
    torch.testing.assert_close(mask.node_map.flatten(1), found.where)
    assert found.routing is not None
    torch.testing.assert_close(routing.node_map.flatten(1), found.routing)
    assert routing.node_map.min() >= -1
    assert kept.edge_scores is not None
    source = kept.edge_index[0]
    for node in range(20):
        torch.testing.assert_close(kept.node_map.flatten(1)[:, node], kept.edge_scores[:, source == node].mean(dim=1))


@torch.no_grad()
def test_a_report_says_what_the_parts_of_a_network_do() -> None:
    def detector(net: ResGAT, threshold: float | None) -> Detector:
        entry = {"version": 1, "net": {}, "mask_threshold": threshold}
        return Detector(net, Checkpoint.of({"resgat": entry, "state_dict": {}}, "a"), None)

    net = make_net(mask_head="aux", bottleneck=True)
    explained = run(net, IMAGES, [PredictedMask, KeptEdges], 2)
    mask, kept = own_parts(detector(net, 0.0), explained)
    assert "is not part of the logit. It covers 100% of these faces' crops at its threshold 0.00." in mask
    assert "covers 0%" in own_parts(detector(net, 1.0), explained)[0]
    assert own_parts(detector(net, None), explained)[0].endswith("not part of the logit.")
    middle = float(explained.methods["PredictedMask"].node_map.median())
    numbers = mask_numbers(detector(net, middle), explained)
    assert [set(one) for one in numbers] == [{"share", "threshold", "factor"}] * 3
    assert all(0 < one["share"] < 1 and one["factor"] == 0 for one in numbers)
    share = sum(one["share"] for one in numbers) / 3
    assert f"covers {share:.0%} of" in own_parts(detector(net, middle), explained)[0]
    assert mask_numbers(detector(net, None), explained) == [{}, {}, {}]
    assert "a factor of the contributions" in own_parts(detector(make_net(mask_head="gate"), None), explained)[0]
    with torch.no_grad():
        edges = contributions(net, IMAGES).kept
    assert edges is not None
    assert f"keeps {float(edges.mean()):.0%} of what the edges send" in kept
    plain = make_net()
    assert own_parts(detector(plain, None), run(plain, IMAGES, [Contribution], 2)) == []
    assert own_parts(detector(plain, None), None) == []


@torch.no_grad()
def test_an_edge_that_is_shut_out_adds_nothing() -> None:
    net = make_net(bottleneck=True)
    assert net.edge_gate is not None
    net.edge_gate.out.bias.fill_(-1e4)
    found = EdgeContribution(net).attribute(IMAGES)
    assert found.edge_scores is not None
    assert not found.edge_scores.any()
    torch.testing.assert_close(found.logit, found.bias)


@pytest.mark.parametrize("part", [{"mask_head": "gate"}, {"bottleneck": True}, {"head": "capsule"}])
def test_what_pyg_cannot_compute_is_refused_by_name(part: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"GNNExplainer .* without gates and capsules"):
        GNNExplainer(make_net(**part))


@pytest.mark.parametrize("part", [{"mask_head": "aux"}, {"mask_head": "aux", "two_pass": True}, {"attention": "gcn"}])
def test_what_pyg_can_compute_is_not(part: dict[str, object]) -> None:
    make_net(attention="gatv1")  # of its class PyTorch Geometric has made code by now, and GCN's is a subclass
    net = make_net(**part)
    found = GNNExplainer(net, epochs=2).attribute(IMAGES[:1])
    torch.testing.assert_close(found.logit, net(IMAGES[:1]).logit.detach())
