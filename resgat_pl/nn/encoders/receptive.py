"""Receptive fields limited by choice: the deeper layers of a convolutional encoder work on each place alone.

What a node says is only as local as what it sees, and the nodes of a ResNet-50 see more than the whole picture. As in
BagNet (Brendel and Bethge, "Approximating CNNs with Bag-of-local-Features models", ICLR 2019), k×k convolutions become
1×1, so that nothing beyond a chosen square reaches a node. Strides and channels stay, and so does the grid.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import fx, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.encoders.base import GridEncoder
from resgat_pl.nn.node_geometry import Geometry, can_shrink, geometries


def limit_receptive(encoder: GridEncoder, limit: int, name: str) -> None:
    """Make the last layers of an encoder pointwise, as few as it takes until no node sees more than a square.

    Of a convolution the centre tap of its kernel remains, of a pooling its stride. The receptive field in use is the
    largest that is reached without passing the limit: ``encoder.geometry.field``. It holds in evaluation mode; in
    training, batch norms mix all places of a batch.

    Args:
        encoder: Changed in place.
        limit: Side of the square in px.
        name: The encoder's, for messages.

    Raises:
        ConfigError: ``limit`` is no positive whole number; the encoder has layers that see the whole image, or whose
            reach is not known; it cannot be limited so far, or only so that nodes leave out pixels between them.

    Example:
        >>> from resgat_pl.nn.encoders import Encoder
        >>> encoder = Encoder("mobilenet_v2", stage=3)
        >>> before = encoder.geometry.field
        >>> limit_receptive(encoder, 65, "mobilenet_v2")
        >>> before, encoder.geometry.field, encoder.grid_shape(160, 160)
        (235.0, 59.0, (10, 10))
    """
    if type(limit) is not int or limit < 1:
        raise ConfigError(f"net.receptive is {limit!r:.40}; it must be a number of pixels, such as 65, or null.")
    graph = _traced(encoder, name)
    windows = list(dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "call_module"))
    windows = [layer for layer in windows if can_shrink(encoder.get_submodule(layer))]
    choices = [windows[len(windows) - count :] for count in range(len(windows) + 1)]
    reached = [_of_output(graph, encoder, chosen) for chosen in choices]
    best = next((place for place, one in enumerate(reached) if one.field <= limit), None)
    if best is None or reached[best].field < encoder.stride:
        least = min((one.field for one in reached if one.field >= encoder.stride), default=reached[0].field)
        raise ConfigError(
            f"net.receptive is {limit}, which is too little for {name}: its nodes are {encoder.stride} px apart, and "
            f"the smallest receptive field without gaps between them is {least:.0f} px. Set at least that, or another "
            "encoder_stage."
        )
    for layer in choices[best]:
        _make_pointwise(encoder.get_submodule(layer))
    encoder.geometry = reached[best]


def _of_output(graph: fx.Graph, encoder: GridEncoder, pointwise: list[str]) -> Geometry:
    return list(geometries(graph, encoder, pointwise).values())[-1]


def _traced(encoder: GridEncoder, name: str) -> fx.Graph:
    """The encoder's graph, if the receptive field of every step is known and finite."""
    try:
        graph = fx.Tracer().trace(encoder)
        found = geometries(graph, encoder)
    except Exception as error:  # fx fails in many ways on what it cannot trace
        why = "where they look is not known"
        if encoder.geometry is not None and math.isinf(encoder.geometry.field):
            why = "through attention or mixing they see the whole image, after an earlier block as well"
        raise ConfigError(_refused(name, why)) from error
    if list(found.values())[-1].stride != encoder.stride:
        raise ConfigError(_refused(name, "where they look is not known"))
    for node, geometry in found.items():
        if math.isinf(geometry.field):
            raise ConfigError(_refused(name, f"through {_owner(node, encoder)} they see the whole image"))
    return graph


def _refused(name: str, why: str) -> str:
    return (
        f"net.receptive limits what the nodes of an encoder see, but it cannot limit those of {name}: {why}. Take a "
        "convolutional network without attention and squeeze-and-excitation, such as resnet50, mobilenet_v2 or "
        "timm/convnext_tiny, or set net.receptive null."
    )


def _owner(node: fx.Node, encoder: nn.Module) -> str:
    """Name and class of the block to which a step belongs that sees everything."""
    stack = list(cast("dict[str, tuple[str, type]]", node.meta.get("nn_module_stack", {})).values())
    path = str(node.target) if node.op == "call_module" else stack[-1][0] if stack else ""
    while path and type(encoder.get_submodule(path)).__module__.startswith("torch.nn"):
        path = path.rpartition(".")[0]
    return f"{path or node} ({type(encoder.get_submodule(path)).__name__})"


@torch.no_grad()
def _make_pointwise(layer: nn.Module) -> None:
    # The centre tap and not the sum of all taps: with batch statistics of the limited network, features of ImageNet's
    # MobileNetV2 (stage 3, 48 faces) keep a cosine to the unlimited ones of .39 against .31 at 129 px, .26/.10 at 65.
    if isinstance(layer, nn.Conv2d):
        down, across = (size // 2 for size in layer.kernel_size)
        centre = layer.weight[:, :, down : down + 1, across : across + 1].clone()
        layer.weight = nn.Parameter(centre, requires_grad=layer.weight.requires_grad)
        layer.kernel_size, layer.padding, layer.dilation = (1, 1), (0, 0), (1, 1)
        layer._reversed_padding_repeated_twice = [0, 0, 0, 0]
    elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        layer.kernel_size, layer.padding = 1, 0
        if isinstance(layer, nn.MaxPool2d):
            layer.dilation = 1
