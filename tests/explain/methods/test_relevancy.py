"""Relevancy maps against a plain computation by their definition, on a tiny vision transformer."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.methods.relevancy import Relevancy
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

timm = pytest.importorskip("timm")
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def make(kind: Any = ResGAT, encoder: str = "timm/test_vit", **arguments: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        graph = {"heads": 2, "hidden": 4} if kind is ResGAT else {}
        net = kind(encoder=encoder, image_size=64, **graph, **arguments).double().eval()
        with torch.no_grad():
            for name, value in net.named_parameters():  # attention that differs from uniform
                value.mul_(6) if "qkv.weight" in name or ".att" in name else value
    return net


def attend(layer: Any, tokens: Tensor, factor: Tensor) -> Tensor:
    """A timm attention layer written out; ``factor`` multiplies the weights, so that its gradient is ∇A ⊙ A."""
    images, count, _ = tokens.shape
    q, k, v = layer.qkv(tokens).reshape(images, count, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
    weights = ((q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5).softmax(dim=-1) * factor
    out: Tensor = layer.proj((weights @ v).transpose(1, 2).flatten(2))
    return out


def by_definition(net: Any, image: Tensor) -> Tensor:
    """R ← R + mean_heads(∇A ⊙ A)⁺ R, layer by layer, and the graph's attention edge by edge."""
    model = net.backbone.model
    factors, tokens = [], model.pos_drop(model._pos_embed(model.patch_embed(net.normalised(image[None]))))
    for block in model.blocks:
        factor = torch.ones(1, block.attn.num_heads, tokens.shape[1], tokens.shape[1]).double().requires_grad_()
        factors.append(factor)
        tokens = tokens + block.ls1(attend(block.attn, block.norm1(tokens), factor))
        tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    tokens = model.norm(tokens)
    prefix = model.num_prefix_tokens
    nodes, relevancy = tokens[:, prefix:], torch.eye(tokens.shape[1]).double()
    if isinstance(net, ResGAT):
        graph = net.graph(nodes)
        logit = net.classify(graph).logit
        edge = torch.autograd.grad(logit, graph.attention, retain_graph=True)[0] * graph.attention
    else:
        logit = net.forward_nodes(tokens[:, :1] if net.pooling == "cls" else nodes).logit
    for part in torch.autograd.grad(logit, factors):
        relevancy = relevancy + part[0].clamp(min=0).mean(dim=0) @ relevancy
    if isinstance(net, PooledClassifier) and net.pooling == "cls":
        return relevancy[0, prefix:]
    read = relevancy[prefix:]
    if isinstance(net, ResGAT):
        per_edge = net.grid.to_edges(edge)[0].clamp(min=0).mean(dim=-1)
        added = torch.zeros(len(read), len(read)).double()
        for (source, target), value in zip(net.grid.edge_index.T.tolist(), per_edge, strict=True):
            added[target, source] += value
        read = read + added @ read
    return read[:, prefix:].mean(dim=0) - 1 / len(read)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ResGAT, {}),
        (ResGAT, {"attention": "gatv1", "head": "mlp"}),
        (ResGAT, {"encoder_stage": 3, "train": "frozen"}),
        (PooledClassifier, {"pooling": "mean"}),
        (PooledClassifier, {"pooling": "cls"}),
    ],
)
def test_maps_are_those_of_the_definition(kind: Any, arguments: dict[str, Any]) -> None:
    net = make(kind, **arguments)
    found = Relevancy(net).attribute(IMAGES.double())
    expected = torch.stack([by_definition(net, image) for image in IMAGES.double()])
    assert expected.std(dim=1).min() > 1e-6
    torch.testing.assert_close(found.node_map.flatten(1), expected.detach().float(), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found.logit.double(), net(IMAGES.double()).logit.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("registers", [1, 2])
def test_registers_are_passed_through_and_are_no_nodes(registers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, reg_tokens=registers))
    net = make()  # beside the class token
    assert net.backbone.model.num_prefix_tokens == 1 + registers
    found = Relevancy(net).attribute(IMAGES.double())
    assert found.node_map.shape == (2, 4, 4)
    expected = torch.stack([by_definition(net, image) for image in IMAGES.double()])
    torch.testing.assert_close(found.node_map.flatten(1), expected.detach().float(), rtol=1e-4, atol=1e-9)
    assert (found.node_map >= 0).all()


def test_the_network_is_left_as_it_was() -> None:
    net = make()
    flags = [block.attn.fused_attn for block in net.backbone.model.blocks]
    before = net(IMAGES.double()).logit
    Relevancy(net).attribute(IMAGES.double())
    assert [block.attn.fused_attn for block in net.backbone.model.blocks] == flags
    assert torch.equal(net(IMAGES.double()).logit, before)
    with torch.inference_mode():
        again = Relevancy(net).attribute(IMAGES.double().clone())
    torch.testing.assert_close(again.node_map, Relevancy(net.train()).attribute(IMAGES.double()).node_map)
    assert net.training
    net.eval()
    assert all(value.grad is None for value in net.parameters())
    assert not any(block.attn.attn_drop._forward_hooks for block in net.backbone.model.blocks)


@pytest.mark.parametrize("encoder", ["resnet18", "timm/test_resnet"])
def test_a_convolutional_encoder_is_refused_by_name(encoder: str) -> None:
    net = ResGAT(encoder=encoder, heads=1, hidden=4, image_size=64)
    with pytest.raises(ConfigError, match=f"Relevancy follows the attention .* the encoder {encoder} has none"):
        Relevancy(net)
