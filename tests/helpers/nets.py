"""Small networks and images for the tests of explainers that read the graph."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from resgat_pl.core.types import ResGATOutput
from resgat_pl.nn.resgat import ResGAT

Net = TypeVar("Net", bound=ResGAT)
both_versions = pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
both_heads = pytest.mark.parametrize("head", ["linear", "mlp"])
every_head = pytest.mark.parametrize("head", ["linear", "mlp", "normalised"])
IMAGES = torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(0))  # 4×5 nodes at stage 3

PARTS: dict[str, dict[str, Any]] = {
    "PredictedMask": {"mask_head": "aux"},
    "Routing": {"head": "capsule"},
    "KeptEdges": {"bottleneck": True},
    "FineContribution": {"encoder_stage": (3, 4)},
    "CoarseContribution": {"encoder_stage": (3, 4)},
}
"""Arguments of a network with the part that a method explains, by the method's name."""


class Stub(ResGAT):
    """Answers by a function of the pixels instead of the network, but through its head, where passes are counted."""

    def answer(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> ResGATOutput:
        self.grid.fit(*self.backbone.grid_shape(*images.shape[2:]))
        self.head(images.new_zeros(len(images), 16))
        logit = self.answer(images)
        return ResGATOutput(logit, logit.sigmoid(), self.grid.edge_index, logit.new_zeros(len(logit), 1, 1))


class ContrastOfOneSquare(Stub):
    """Depends on the contrast within the square of node 7, row 1 and column 2, and on nothing else.

    On contrast, because methods hide a segment under its mean colour.
    """

    sign = 1.0

    def answer(self, images: Tensor) -> Tensor:
        return self.sign * (images[:, :, 8:24, 24:40].flatten(1).std(dim=1) * 10 - 1)


def make_net(kind: type[Net] = ResGAT, **arguments: Any) -> Net:  # type: ignore[assignment]
    """A ResNet-18 up to stage 3 by default, in evaluation mode, with attention and biases that hide nothing."""
    return deepcopy(_made(kind, **arguments))


@cache
def _made(kind: type[Net], **arguments: Any) -> Net:
    stage = arguments.get("encoder_stage")
    if isinstance(stage, tuple):  # arguments are hashed
        arguments["encoder_stage"] = list(stage)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind(**{"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 8, **arguments})
        with torch.no_grad():
            net.backbone(IMAGES)  # in training mode: a first set of batch statistics
            for name, parameter in (*net.gat.named_parameters(), *net.head.named_parameters()):
                parameter.mul_(5) if name.startswith("att") else parameter
                parameter.normal_() if name.endswith("bias") else parameter
    net.grid.fit(4, 5)
    return net.eval()


def make_trained(**arguments: Any) -> ResGAT:
    """Some steps of gradient descent further: nothing is at its initial scale."""
    return deepcopy(_trained(**arguments))


@cache
@torch.enable_grad()
def _trained(**arguments: Any) -> ResGAT:
    net = make_net(**arguments).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    labels = torch.tensor([1.0, 0.0, 1.0])
    for _ in range(4):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(IMAGES).logit, labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    return net.eval()


def make_uniform(net: ResGAT) -> ResGAT:
    """Make attention perfectly uniform: whatever the nodes are, every score is 0."""
    for name, parameter in net.gat.named_parameters():
        if name.startswith("att"):
            nn.init.zeros_(parameter)
    return net


def drop_slowly(net: ResGAT, features: Tensor, kept: Tensor) -> Tensor:
    """Logit of one image's nodes ``(N, F)`` without those not kept, by the definition.

    PyTorch Geometric's layer runs on the subgraph of the nodes that are left; of a node that is not, only the
    layer's constants stay; the mean is over all.
    """
    nodes = kept.nonzero().squeeze(1)
    number = torch.full((len(kept),), -1)
    number[nodes] = torch.arange(len(nodes))
    source, target = net.grid.edge_index
    inside = kept[source] & kept[target] & (source != target)  # the layer adds self-loops
    constant = net.gat.bias if net.gat.value_bias is None else net.gat.bias + net.gat.value_bias.flatten()
    outputs = constant.expand(len(kept), -1).clone()
    if len(nodes):
        outputs[nodes] = net.gat(features[nodes], number[net.grid.edge_index[:, inside]])
    logit: Tensor = net.head(outputs.sum(dim=0, keepdim=True) / len(kept)).squeeze(0)
    return logit
