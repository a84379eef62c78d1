"""Detectors without a graph: what explains them, and what says why not."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer, why_not
from resgat_pl.explain.methods.gradient import GradCAM, InputXGradient
from resgat_pl.explain.methods.nodes import NodeAblation, coalition_logits
from resgat_pl.explain.report.run_methods import choose_methods, default_methods, logits, require_explainable, run
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.logit_net import LogitNet
from resgat_pl.nn.pooled import PooledClassifier

from ..helpers.nets import drop_slowly, make_net
from ..helpers.other_nets import Blocks, Cosine, Gated, Plain

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
FEW: dict[str, dict[str, Any]] = {
    "IntegratedGradients": {"steps": 2},
    "GradientSHAP": {"samples": 2},
    "LIME": {"samples": 20, "segments": "squares"},
    "KernelSHAP": {"samples": 100},
    "PermutationImportance": {"reference": IMAGES, "draws": 1},
    "PartialDependence": {"draws": 1, "steps": 1},
}
GRAPH = {name for name, entry in registry._all().items() if entry.family in {"graph", "nodes", "gnn", "variant"}}
GRAPH.remove("EnsembleContribution")  # of a graph each of several
ANY = sorted({*registry.methods()} - GRAPH - {"EnsembleContribution", "GradCAM", "Relevancy"})


@cache
def net_of(kind: str) -> DetectorNet:
    torch.manual_seed(0)
    made: dict[str, DetectorNet] = {
        "pooled": PooledClassifier("resnet18", encoder_stage=3, image_size=64),
        "somebody's": Blocks(image_size=64),
        "plain": LogitNet(class_path(Plain), image_size=64),
        "cosine": make_net(head=class_path(Cosine)),
    }
    return made[kind].eval()


@pytest.mark.parametrize("kind", ["pooled", "somebody's", "plain", "cosine"])
@pytest.mark.parametrize("name", ANY)
def test_methods_of_pixels_explain_every_detector(name: str, kind: str) -> None:
    net = net_of(kind)
    method: Any = registry.find(name)
    explainer: Explainer = method(net, **FEW.get(name, {}))
    found = explainer.attribute(IMAGES)
    side = 4 if kind in {"pooled", "cosine"} else 7
    assert found.node_map.shape == (2, side, side)
    assert found.node_map.isfinite().all()
    torch.testing.assert_close(found.logit, net(IMAGES).logit.detach())
    assert found.edge_index.shape[0] == 2
    assert found.edge_index.shape[1] == (64 if kind == "cosine" else 0)
    assert found.n_forward >= 1
    assert (found.n_backward > 0) == (registry._all()[name].family == "gradient")
    if explainer.exact:
        assert (found.completeness_gap <= 1e-4).all()


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_methods_of_the_graph_say_why_not(name: str) -> None:
    method: Any = registry.find(name)
    for kind in ("pooled", "somebody's", "plain"):
        mine = type(net_of(kind)).__name__
        with pytest.raises(ConfigError, match=rf"{name} explains the graph of a ResGAT, and .* is a {mine}, which has"):
            method(net_of(kind))
    if method.decomposes and not registry.is_variant(method):  # of those a part is missing first
        with pytest.raises(ConfigError, match=rf"{name} is a sum over nodes, but the head of this network, Cosine"):
            method(net_of("cosine"))


def test_grad_cam_of_a_mean_and_a_linear_head_adds_up() -> None:
    """It is then class activation mapping: the logit is the mean over the nodes of w · x, plus a bias."""
    net = net_of("pooled")
    assert isinstance(net, PooledClassifier)
    found = GradCAM(net).attribute(IMAGES)
    with torch.no_grad():
        shares = net.encode(IMAGES) @ net.head.weight[0] / 16
    torch.testing.assert_close(found.node_map.flatten(1), shares)
    torch.testing.assert_close(found.bias, net.head.bias.detach().expand(2))
    assert (found.completeness_gap <= 1e-5).all()
    assert (found.n_forward, found.n_backward) == (1, 1)
    assert GradCAM(net_of("cosine")).attribute(IMAGES).node_map.shape == (2, 4, 4)


def test_grad_cam_needs_a_feature_map() -> None:
    with pytest.raises(ConfigError, match="GradCAM explains detectors of the class EncoderNet; this one is a Blocks"):
        GradCAM(net_of("somebody's"))
    pytest.importorskip("timm")
    token = PooledClassifier("timm/test_vit", pooling="cls", image_size=64)
    with pytest.raises(ConfigError, match=r"net\.pooling is cls: the logit follows from the class token alone"):
        GradCAM(token)


def test_input_x_gradient_is_exact_where_the_logit_is_linear() -> None:
    net = LogitNet(class_path(Plain), normalize="none", image_size=64).eval()
    found = InputXGradient(net).attribute(IMAGES)
    assert (found.completeness_gap <= 1e-5).all()
    torch.testing.assert_close(found.bias, net(torch.zeros(2, 3, 64, 64)).logit.detach())
    corner = IMAGES.clone()
    corner[:, :, :8, :8] += 0.1
    change = InputXGradient(net).attribute(corner.clamp(0, 1)).node_map - found.node_map
    assert (change[:, 1:, 1:].abs() < 1e-6).all()
    assert (change[:, 0, 0].abs() > 1e-6).all()


@pytest.mark.parametrize("head", [Gated, Cosine])
@pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
def test_nodes_are_dropped_under_any_head(attention: str, head: type) -> None:
    net = make_net(attention=attention, head=class_path(head))
    images = IMAGES[:1]
    features = net.encode(images)
    graph = net.graph(features)
    kept = torch.rand(6, 16, generator=torch.Generator().manual_seed(1)) < 0.6
    found = coalition_logits(net, graph, kept)
    expected = torch.stack([drop_slowly(net, features[0], one) for one in kept])
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)
    assert NodeAblation(net).attribute(images).node_map.shape == (1, 4, 4)


def explained(net: DetectorNet, names: str | None = None) -> Any:
    return run(net, IMAGES, choose_methods(names or default_methods(net)), 32)


@pytest.mark.long
def test_a_report_shows_what_there_is() -> None:
    pooled, resgat = net_of("pooled"), make_net()
    assert default_methods(pooled) == default_methods(net_of("cosine")) == "InputXGradient"
    assert default_methods(resgat) == "Contribution,Attention,NodeEvidence"
    found = explained(pooled)
    torch.testing.assert_close(found.logit, logits(pooled, IMAGES, 32))
    assert found.contribution is found.attention is None
    assert list(found.methods) == ["InputXGradient"]
    exact = run(pooled, IMAGES, choose_methods("Occlusion,KernelSHAP"), 32)
    assert exact.contribution is not None
    assert exact.contribution.method == "KernelSHAP"  # adds up, so words can be made of it
    require_explainable(pooled, choose_methods("GradCAM,Occlusion"))
    with pytest.raises(ConfigError, match="--methods: NodeEvidence explains the graph of a ResGAT"):
        require_explainable(pooled, choose_methods("Occlusion,NodeEvidence"))
    assert why_not(registry.find("Contribution"), resgat) is None


def test_baselines_without_a_graph() -> None:
    net = net_of("somebody's")
    mean = torch.full((8, 8), 0.5)
    for name, arguments in (("Random", {}), ("CentrePrior", {}), ("MeanMask", {"mean": mean})):
        method: Any = registry.find(name)
        maps: Tensor = method(net, **arguments).attribute(IMAGES).node_map
        assert maps.shape == (2, 7, 7)
        assert not math.isnan(float(maps.sum()))
    with pytest.raises(ConfigError, match="Uniform explains the graph of a ResGAT"):
        registry.find("Uniform")(net)
