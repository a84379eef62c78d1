"""The common ground of all explanation methods, each in a small form."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain import registry
from resgat_pl.explain.base import Attribution, Explainer
from resgat_pl.explain.methods.gnn import GNNExplainer
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.methods.nodes import NodeShapley
from resgat_pl.nn.resgat import ResGAT

from ..helpers.nets import IMAGES, PARTS, make_net

FACES = IMAGES[:, :, :32, :48]  # 2×3 nodes
OTHERS = torch.rand(5, 3, 32, 48, generator=torch.Generator().manual_seed(1))
FEW: dict[str, dict[str, Any]] = {
    "GNNExplainer": {"epochs": 5},
    "IntegratedGradients": {"steps": 5},
    "GradientSHAP": {"samples": 5},
    "LIME": {"samples": 30, "segments": "squares"},
    "KernelSHAP": {"samples": 30},
    "PermutationImportance": {"reference": OTHERS, "draws": 2},
    "PartialDependence": {"content": OTHERS, "draws": 2, "steps": 2},
}
OTHER_NETS = {
    "EnsembleContribution",
    "Relevancy",
    "FineContribution",
    "CoarseContribution",
}  # see tests/explain/methods
MAY_BE_BLANK = {"Consensus", "MinimalSubgraph"}  # where methods disagree, or where the bias alone decides
KINDS: dict[str, Callable[..., Explainer]] = {
    **{
        name: partial(method, **FEW.get(name, {}))
        for name, method in registry.methods().items()
        if name not in OTHER_NETS
    },
    "inpainting": partial(registry.find("Occlusion"), fill="inpaint"),  # type: ignore[call-arg]
}
GRAPH = [name for name, entry in registry._all().items() if name in KINDS and entry.family in {"graph", "nodes", "gnn"}]
GRADIENT = {"GradCAM", "InputXGradient", "IntegratedGradients", "GradientSHAP", "Saliency"}
every_kind = pytest.mark.parametrize("name", KINDS)
in_the_graph = pytest.mark.parametrize("name", GRAPH)
either_version = pytest.mark.parametrize("attention", [pytest.param("gatv1", marks=pytest.mark.long), "gatv2"])
both_versions = pytest.mark.parametrize("attention", ["gatv1", "gatv2"])


def net_for(name: str, **arguments: Any) -> ResGAT:
    """A network with the part that a method explains."""
    return make_net(**PARTS.get(name, {}), **arguments)


class Broken(Explainer):
    """Uses the generators and the network, and then fails."""

    net: ResGAT

    def explain(self, images: Tensor) -> Attribution:
        self.net.classify(self.net.graph(self.net.encode(images))).logit.sum()
        raise RuntimeError("broken on purpose")


def state_of(net: ResGAT) -> dict[str, Any]:
    """Everything of a network that an explanation must leave alone, and the generators."""
    return {
        "modes": [module.training for module in net.modules()],
        "state": {name: value.clone() for name, value in net.state_dict().items()},
        "pointers": {name: parameter.data_ptr() for name, parameter in net.named_parameters()},
        "places": [set(vars(module)["_parameters"]) for module in net.modules()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "trainable": [p.requires_grad for p in net.parameters()],
        "hooks": [len(module._forward_hooks) + len(module._backward_hooks) for module in net.modules()],
        "pyg": {name: value for name, value in vars(net.gat).items() if name in ("_explain", "_edge_mask")},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002 - the global generator is what is meant
        "python": random.getstate(),
        "recording": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert [name for name in before if not same(before[name], after[name])] == []


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Tensor | np.ndarray):
        return right is not None and bool((left == right).all())
    return bool(left == right)


@every_kind
@both_versions
def test_an_explanation_is_complete_and_measures_its_gap(name: str, attention: str) -> None:
    net = net_for(name, attention=attention)
    explainer = KINDS[name](net)
    found = explainer.attribute(FACES)
    assert found.method == type(explainer).__name__
    assert found.target == "fake"
    assert found.node_map.shape == (3, 2, 3)
    floats = [found.node_map, found.logit, found.bias, found.completeness_gap]
    assert all(value.shape == (3,) for value in floats[1:])
    if found.edge_scores is not None:
        assert found.edge_scores.shape == (3, found.edge_index.shape[1])
        floats.append(found.edge_scores)
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in floats)
    assert torch.equal(found.edge_index, net.grid.edge_index)
    torch.testing.assert_close(found.logit, net(FACES).logit.detach(), atol=1e-5, rtol=1e-5)
    assert found.node_map.isfinite().all()
    assert name in MAY_BE_BLANK or (found.node_map.flatten(1).std(dim=1) > 0).all()
    assert found.seconds > 0
    assert name not in GRAPH or found.n_forward == 1
    assert (found.n_backward > 0) == (name in GRADIENT)
    gap = (found.node_map.sum(dim=(1, 2)) + found.bias - found.logit).abs() / (1 + found.logit.abs())
    expected = gap if found.unit == "logit" else torch.full((3,), torch.nan)
    torch.testing.assert_close(found.completeness_gap, expected, equal_nan=True, atol=1e-6, rtol=1e-4)
    if explainer.exact:
        assert (found.completeness_gap <= 1e-4).all()


def test_what_the_methods_say_of_themselves() -> None:
    methods = registry.methods()
    units = {name: method.unit for name, method in methods.items() if method.unit != "logit"}
    assert units == {
        **{"Attention": "attention", "AttentionExcess": "attention", "GNNExplainer": "mask"},
        **{"Saliency": "gradient", "LIME": "probability", "Relevancy": "gradient", "Routing": "attention"},
        **{"Consensus": "rank", "MinimalSubgraph": "mask", "PredictedMask": "probability", "KeptEdges": "probability"},
    }
    unsigned = {"Attention", "AttentionExcess", "GNNExplainer", "MinimalSubgraph", "Relevancy", "Saliency"}
    unsigned |= {"PredictedMask", "KeptEdges"}
    assert {name for name, method in methods.items() if not method.signed} == unsigned
    exact = {"Contribution", "EdgeContribution", "EnsembleContribution", "NodeShapley", "KernelSHAP"}
    exact |= {"FineContribution", "CoarseContribution"}
    assert {name for name, method in methods.items() if method.exact} == exact


@every_kind
@either_version
def test_the_other_target_negates_what_has_a_sign(name: str, attention: str) -> None:
    explainer = KINDS[name](net_for(name, attention=attention))
    fake, real = explainer.attribute(FACES), explainer.attribute(FACES, target="real")
    assert real.target == "real"
    sign = -1 if fake.signed else 1
    torch.testing.assert_close(real.node_map, sign * fake.node_map)
    assert torch.equal(real.logit, -fake.logit)
    torch.testing.assert_close(real.bias, -fake.bias)
    torch.testing.assert_close(real.completeness_gap, fake.completeness_gap, equal_nan=True, atol=1e-6, rtol=1e-4)
    if fake.edge_scores is not None:
        assert real.edge_scores is not None
        assert torch.equal(real.edge_scores, sign * fake.edge_scores)


@every_kind
def test_the_batch_size_bounds_the_batches_and_changes_nothing(name: str) -> None:
    net = net_for(name)
    sizes: list[int] = []
    net.head.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    tolerance = {"atol": 1e-4, "rtol": 1e-3}
    whole = KINDS[name](net).attribute(FACES)
    assert name in GRAPH or whole.n_forward == pytest.approx(sum(sizes) / 3)
    for size in (1, 2):
        sizes.clear()
        found = KINDS[name](net, batch_size=size).attribute(FACES)
        assert name in GRAPH or max(sizes) <= size
        torch.testing.assert_close(found.node_map, whole.node_map, **tolerance)
        torch.testing.assert_close(found.bias, whole.bias, **tolerance)
        torch.testing.assert_close(found.edge_scores, whole.edge_scores, **tolerance)
        if name not in {"PartialDependence", "PermutationImportance"}:  # their content is classified once per batch
            passes = [(each.n_forward, each.n_backward, each.n_graph) for each in (found, whole)]
            assert passes[0] == pytest.approx(passes[1])
    alone = KINDS[name](net).attribute(FACES[1:2])
    torch.testing.assert_close(alone.node_map[0], whole.node_map[1], **tolerance)


@in_the_graph
def test_images_are_encoded_once_in_batches(name: str) -> None:
    net = net_for(name)
    sizes: list[int] = []
    net.backbone.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    KINDS[name](net, batch_size=2).attribute(FACES)
    assert sizes == [2, 1]


@every_kind
@either_version
def test_the_network_and_the_generators_stay_as_they_were(
    name: str, attention: str, capfd: pytest.CaptureFixture[str]
) -> None:
    net = net_for(name, attention=attention, dropout=0.5)
    expected = KINDS[name](net).attribute(FACES)
    net.train()
    net.gat.eval()  # each part in a mode of its own
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(number % 3 > 0)
        parameter.grad = torch.full_like(parameter, 7.0) if number % 2 else None
    before = state_of(net)
    found = KINDS[name](net).attribute(FACES)
    assert_same(before, state_of(net))
    torch.testing.assert_close(found.node_map, expected.node_map, atol=1e-5, rtol=1e-4)  # whatever the mode was
    assert capfd.readouterr() == ("", "")


@both_versions
@pytest.mark.parametrize(("kind", "error"), [(Broken, RuntimeError), (NodeShapley, ConfigError)])
def test_also_when_something_fails(kind: Any, error: type[Exception], attention: str) -> None:
    net = make_net(attention=attention).train()
    net.backbone.eval()
    before = state_of(net)
    arguments = {} if kind is Broken else {"samples": 2}
    with pytest.raises(error):
        kind(net, **arguments).attribute(IMAGES)
    assert_same(before, state_of(net))


def test_also_when_the_explainer_of_another_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch_geometric.explain

    def fail(*_: object) -> None:
        torch.rand(1)
        raise RuntimeError("broken on purpose")

    net = make_net().train()
    before = state_of(net)
    monkeypatch.setattr(torch_geometric.explain.GNNExplainer, "_loss", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        GNNExplainer(net).attribute(IMAGES)
    assert_same(before, state_of(net))


@every_kind
@pytest.mark.parametrize("mode", [pytest.param(torch.no_grad, marks=pytest.mark.long), torch.inference_mode])
def test_the_caller_may_have_switched_gradients_off(name: str, mode: Any) -> None:
    net = net_for(name, normalize="none").requires_grad_(
        mode is torch.no_grad
    )  # so that images reach the encoder as given
    expected = KINDS[name](net).attribute(FACES)
    with mode():
        images = FACES.clone()
        found = KINDS[name](net).attribute(images)
    torch.testing.assert_close(found.node_map, expected.node_map, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.completeness_gap, expected.completeness_gap, equal_nan=True, atol=1e-5, rtol=1e-3)
    assert not images.requires_grad
    assert not found.node_map.requires_grad


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if "seed" in signature(kind).parameters])
def test_the_seed_alone_decides(name: str) -> None:
    net = net_for(name)
    maps = []
    for seed in (1, 1, 2):
        maps.append(KINDS[name](net, seed=seed).attribute(FACES).node_map)
        torch.rand(1)  # the global generator moves on
    assert torch.equal(maps[0], maps[1])
    assert (maps[0] - maps[2]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "argument", "values"),
    [
        ("Contribution", "batch_size", (0, -1)),
        ("NodeShapley", "samples", (1,)),
        ("NodeLIME", "samples", (0,)),
        ("NodeLIME", "kernel_width", (0.0, float("nan"))),
        ("NodeRISE", "seed", (-1,)),
        ("GNNExplainer", "epochs", (0,)),
        ("GNNExplainer", "seed", (-1,)),
        ("GNNExplainer", "lr", (0.0, float("nan"))),
        ("IntegratedGradients", "steps", (0,)),
        ("GradientSHAP", "samples", (0,)),
        ("GradientSHAP", "seed", (-1,)),
        ("GradientSHAP", "noise", (-0.1,)),
        ("KernelSHAP", "segments", ("slic",)),
        ("KernelSHAP", "seed", (-1,)),
        ("LIME", "samples", (1,)),
        ("PermutationImportance", "draws", (0,)),
        ("PermutationImportance", "seed", (-1,)),
        ("PartialDependence", "steps", (0,)),
    ],
)
def test_arguments_out_of_range_are_refused(name: str, argument: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=f"{argument} is {value!r}; it must be "):
            KINDS[name](net_for(name), **{argument: value})


@pytest.mark.parametrize(
    ("module", "package", "names"),
    [
        ("captum.attr", "captum", ("GradCAM", "IntegratedGradients", "Saliency", "KernelSHAP")),
        ("lime.lime_image", "lime", ("LIME",)),
    ],
)
def test_says_how_to_get_a_package(
    module: str, package: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in names:
        with pytest.raises(ConfigError, match=rf'needs {package},.*pip install "resgat-pl\[figures\]"'):
            KINDS[name](make_net()).attribute(FACES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:0], "the batch is empty"),
        ((IMAGES * 255).to(torch.uint8), r"\(3, 3, 64, 80\) torch.uint8"),
        (IMAGES[0], r"\(3, 64, 80\)"),
        (IMAGES[:, :1], r"\(3, 1, 64, 80\)"),
        (IMAGES.numpy(), "are a ndarray; give a tensor"),
        (IMAGES * 255, "go from .* to 25"),
        (IMAGES - 0.5, "go from -0.49.* to"),
        (IMAGES.clone().index_fill_(0, torch.tensor([1]), torch.nan), "go from nan to nan"),
        (IMAGES.clone().index_fill_(0, torch.tensor([1]), torch.inf), "go from .* to inf"),
        (IMAGES[:, :, :16, :16], "2×2"),
    ],
)
def test_wrong_images_are_refused(images: Any, message: str) -> None:
    net = make_net().train()
    with pytest.raises(ConfigError, match=message):
        Contribution(net).attribute(images)
    assert all(module.training for module in net.modules())


def test_a_little_overshoot_of_resizing_is_no_mistake() -> None:
    Contribution(make_net()).attribute(IMAGES * 1.0005)


@pytest.mark.parametrize("target", ["Fake", "", 1, None])
def test_an_unknown_target_is_refused(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"target is .*; it must be fake or real"):
        Contribution(make_net()).attribute(IMAGES, target=target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_may_have_another_precision(dtype: torch.dtype) -> None:
    net = make_net()
    found, expected = (Contribution(net).attribute(images) for images in (IMAGES.to(dtype), IMAGES))
    torch.testing.assert_close(found.node_map, expected.node_map, atol=5e-3, rtol=5e-3)
    assert found.node_map.dtype == torch.float32


def test_images_of_any_size_have_a_grid_of_their_own() -> None:
    explainer = Contribution(make_net())
    small, large = explainer.attribute(IMAGES[:, :, :48, :48]), explainer.attribute(IMAGES.repeat(1, 1, 2, 1))
    assert small.node_map.shape == (3, 3, 3)
    assert large.node_map.shape == (3, 8, 5)
    assert small.edge_index.max() == 8  # not overwritten by the later call
    assert (large.completeness_gap <= 1e-4).all()


def test_the_heatmap_interpolates_between_the_centres_of_nodes() -> None:
    found = Contribution(make_net()).attribute(IMAGES)
    wide = found.heatmap((64, 80))
    assert wide.shape == (3, 64, 80)
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide[:, ::16, ::16], found.node_map)  # at the centres the nodes themselves
    between = (found.node_map[:, :, :-1] * 3 + found.node_map[:, :, 1:]) / 4
    torch.testing.assert_close(wide[:, ::16, 4:-16:16], between)
    square = found.heatmap(224)
    assert square.shape == (3, 224, 224)
    for heat, nodes in zip(square, found.node_map, strict=True):
        assert nodes.min() <= heat.min()
        assert heat.max() <= nodes.max()


def test_regions_need_a_row_of_landmarks_for_each_face() -> None:
    found = Contribution(make_net()).attribute(IMAGES)
    with pytest.raises(ConfigError, match="3 faces were explained, but there are 2 landmarks"):
        found.regions(torch.rand(2, 5, 2))
