"""Small networks with values that hide nothing: biases that are not zero and attention that is not uniform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resgat_pl.nn.gat import GridGATConv, GridGATv2Conv
from resgat_pl.nn.resgat import ResGAT

MakeNet = Callable[..., ResGAT]


@pytest.fixture(autouse=True)
def _seed_and_thread() -> Iterator[None]:
    """The same numbers in every run; one thread, because on a busy machine several wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@torch.no_grad()
def enliven(module: nn.Module) -> None:
    """Randomise what layers initialise to zero, and sharpen the attention."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.normal_()
        elif ".att" in f".{name}":
            parameter.mul_(5)


def sent_by_each_node(gat: GridGATConv | GridGATv2Conv, nodes: Tensor) -> Tensor:
    """``(B, N, heads, C)``, W_k x_j by its definition, for ``nodes (B, N, F)``."""
    layer = gat.lin if isinstance(gat, GridGATConv) else gat.lin_l
    return (nodes @ layer.weight.T).unflatten(-1, (gat.heads, gat.out_channels))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 96, 128)  # 3×4 nodes


@pytest.fixture
def make_net(images: Tensor) -> MakeNet:
    """``make_net(**arguments)``: a ResNet-18 by default, with batch statistics of images, in evaluation mode."""

    def make(**arguments: Any) -> ResGAT:
        net = ResGAT(**{"encoder": "resnet18", "heads": 3, "hidden": 16, **arguments})
        with torch.no_grad():
            net.backbone(images)  # in training mode: a first set of batch statistics
        enliven(net.gat)
        enliven(net.head)
        return net.eval()

    return make
