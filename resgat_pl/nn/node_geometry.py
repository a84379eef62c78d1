"""Places of the nodes in a picture, from the geometry of the convolutions that made them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, fx, nn

from resgat_pl.core.errors import ConfigError


@dataclass(frozen=True)
class Lattice:
    """Centres of the nodes of a picture, and the cells into which they divide it.

    A node is centred where its receptive field is. Its cell is what lies nearer to it than to any other node, so the
    cells cover the picture once; those at the border end there, and need not be as large as the others.

    Lengths are in px of the picture from its upper left corner, so the centre of the first pixel is at 0.5.

    Attributes:
        height: Of the picture.
        width: Likewise.
        rows: Centre of each row of nodes, rising.
        columns: Centre of each column of nodes, rising.
    """

    height: int
    width: int
    rows: tuple[float, ...]
    columns: tuple[float, ...]

    @classmethod
    def even(cls, rows: int, columns: int) -> Lattice:
        """Nodes in the middle of equal cells, as pixels are.

        Raises:
            ConfigError: There is no row or no column.
        """
        if min(rows, columns) < 1:
            raise ConfigError(f"The grid is {rows}×{columns}; give its rows and columns, at least 1 each.")
        return cls(rows, columns, tuple(i + 0.5 for i in range(rows)), tuple(i + 0.5 for i in range(columns)))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of nodes."""
        return len(self.rows), len(self.columns)

    @property
    def centres(self) -> tuple[list[float], list[float]]:
        """Centres of the rows and of the columns as shares of height and width."""
        return [y / self.height for y in self.rows], [x / self.width for x in self.columns]

    @property
    def edges(self) -> tuple[list[float], list[float]]:
        """Borders of the cells' rows and columns as shares of height and width: one more than there are nodes."""
        down, across = self.centres
        return _edges(down), _edges(across)

    def cells(self, height: int, width: int) -> Tensor:
        """Node ``(height, width)`` int64 of each pixel of the picture at some resolution, numbered row by row.

        A pixel that lies as near to two nodes belongs to the latter.
        """
        down, across = self.edges
        row, column = _cell_of_pixel(down, height), _cell_of_pixel(across, width)
        return row[:, None] * len(self.columns) + column

    def cover(self, masks: Tensor) -> Tensor:
        """Mean of a mask over each node's cell, by area.

        Args:
            masks: ``(B, H, W)`` float in [0, 1], or bool, at any resolution.

        Returns:
            ``(B, h, w)`` float32 in [0, 1].
        """
        down, across = (
            _area(edges, size).to(masks.device, torch.float32)
            for edges, size in zip(self.edges, masks.shape[-2:], strict=True)
        )
        with torch.autocast(masks.device.type, enabled=False):  # 8 bits would move covers over the limits
            return (down @ masks.float() @ across.T).clamp(0, 1)

    def heatmap(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps ``(B, h, w)`` float at a resolution, ``(B, H, W)``: linear between the centres, and level beyond."""
        down, across = (_between(centres, pixels).to(maps) for centres, pixels in zip(self.centres, size, strict=True))
        return down @ maps @ across.T


class Geometry(NamedTuple):
    """Receptive fields of the outputs of a convolutional network, along either axis, in px.

    Attributes:
        stride: From one output to the next.
        offset: From the centre of the first pixel to that of the first output's receptive field.
        field: Side of the receptive field; infinite where every output sees the whole picture.
    """

    stride: int
    offset: float
    field: float

    def seen(self, index: int) -> tuple[float, float]:
        """First and last pixel, counted from 0, that output ``index`` along an axis can depend on.

        They may lie outside the picture, where a network sees its padding.

        Example:
            >>> Geometry(16, 0.0, 59.0).seen(4)
            (35.0, 93.0)
        """
        centre, reach = self.offset + self.stride * index, (self.field - 1) / 2
        return centre - reach, centre + reach

    def lattice(self, height: int, width: int, shape: tuple[int, int] | None = None) -> Lattice:
        """Lattice of a picture of ``shape`` rows and columns; by default as many as it has multiples of the stride."""
        shape = shape or (-(-height // self.stride), -(-width // self.stride))
        centres = [tuple(0.5 + self.offset + self.stride * i for i in range(count)) for count in shape]
        return Lattice(height, width, *centres)


_WHOLE: Final = Geometry(0, 0.0, math.inf)
"""Of outputs that see the whole picture and have no place in it, such as the weights of squeeze-and-excitation."""
_CONSTANT: Final = Geometry(0, 0.0, 0.0)
"""Of parameters, which see nothing of it."""
_WINDOWS: Final = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_GLOBAL: Final = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_POINTWISE: Final = (nn.BatchNorm2d, nn.Dropout, nn.Identity, nn.LayerNorm, nn.Linear)
"""Layers that work on each place alone; activations do too. The last two do where the channels are the last axis."""
_FUNCTIONS: Final = re.compile(
    "_assert|getattr|getitem|eq|i?add_?|i?mul_?|cat|permute|contiguous|stochastic_depth|(batch|layer)_norm|dropout"
    "|relu6?_?|silu_?|gelu|sigmoid|hard(swish|sigmoid)"
)
"""Functions and methods that do so."""


def geometry_of(layers: nn.Module) -> Geometry:
    """Geometry of the output of some layers, by receptive-field arithmetic.

    A layer of kernel k, stride s, padding p and dilation d moves the centre by (d (k − 1) / 2 − p) times the stride so
    far (Araujo et al., "Computing receptive fields of convolutional neural networks", Distill 2019, Eqs. 2 and 3). With
    symmetric padding the two cancel, and output i is centred on pixel s·i: not in the middle of the square
    [s·i, s·(i + 1)), but at its corner. Branches that are added or multiplied must agree.

    Raises:
        ConfigError: Branches look at different places, or a layer's geometry is not known.
    """
    return list(geometries(fx.Tracer().trace(layers), layers).values())[-1]


def geometries(graph: fx.Graph, layers: nn.Module, pointwise: Collection[str] = ()) -> dict[fx.Node, Geometry]:
    """Geometry of every step of a graph, in their order, as ``geometry_of``; the last one is that of the output.

    Args:
        graph: Of ``fx.Tracer().trace(layers)``.
        layers: Network.
        pointwise: Names of layers that are taken as if their kernel were 1×1, at the same stride, see ``can_shrink``.

    Raises:
        ConfigError: As ``geometry_of``.
    """
    found: dict[fx.Node, Geometry] = {}
    for node in graph.nodes:
        inputs = [found[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            found[node] = Geometry(1, 0.0, 1.0)
            continue
        found[node] = _joined(inputs, str(node))
        if node.op in {"call_function", "call_method"}:
            found[node] = _called(found[node], node)
        if node.op == "call_module":
            name = str(node.target)
            after = _after(found[node], layers.get_submodule(name), name)
            found[node] = found[node]._replace(stride=after.stride) if name in pointwise else after
    return found


def can_shrink(layer: nn.Module) -> bool:
    """True for a convolution or pooling whose centre stays where it is if its kernel becomes 1×1: odd and symmetric."""
    if not isinstance(layer, _WINDOWS) or type(layer).__module__.partition(".")[0] != "torch":
        return False
    kernel, padding, dilation = (getattr(layer, part, 1) for part in ("kernel_size", "padding", "dilation"))
    sizes = [one if isinstance(one, tuple) else (one, one) for one in (kernel, padding, dilation)]
    if any(isinstance(value, str) for size in sizes for value in size) or getattr(layer, "ceil_mode", False):
        return False
    return all(k % 2 and 2 * p == d * (k - 1) for k, p, d in zip(*sizes, strict=True)) and max(sizes[0]) > 1


def _joined(inputs: Sequence[Geometry], name: str) -> Geometry:
    placed = {(one.stride, one.offset) for one in inputs if one.stride}
    if len(placed) > 1:
        raise ConfigError(f"At {name} branches meet whose nodes lie at different places: {sorted(placed)}.")
    stride, offset = placed.pop() if placed else (0, 0.0)
    return Geometry(stride, offset, max((one.field for one in inputs), default=0.0))


def _called(before: Geometry, node: fx.Node) -> Geometry:
    name = str(getattr(node.target, "__name__", node.target))
    if before == _CONSTANT:
        return before
    if name in {"mean", "norm"}:  # of squeeze-and-excitation and global response normalisation
        return _WHOLE
    if not _FUNCTIONS.fullmatch(name):
        raise ConfigError(f"Where the function {name} at {node} looks is not known.")
    return before


def _after(before: Geometry, layer: nn.Module, name: str) -> Geometry:
    if isinstance(layer, _GLOBAL):
        return _WHOLE
    if not isinstance(layer, _WINDOWS):
        if isinstance(layer, _POINTWISE) or type(layer).__module__ == nn.ReLU.__module__:
            return before
        raise ConfigError(f"Where the layer {name} ({type(layer).__name__}) looks is not known.")
    if not before.stride:
        return before
    kernel, stride, padding, dilation = (
        _square(getattr(layer, part, 1), f"{part} of {name}")
        for part in ("kernel_size", "stride", "padding", "dilation")
    )
    reach = dilation * (kernel - 1)
    return Geometry(
        before.stride * stride,
        before.offset + (reach / 2 - padding) * before.stride,
        before.field + reach * before.stride,
    )


def _square(value: object, what: str) -> int:
    sides = set(value) if isinstance(value, tuple) else {value}
    side = sides.pop()
    if sides or not isinstance(side, int):
        raise ConfigError(f"The {what} is {value}; nodes have a place only where both axes are alike, in numbers.")
    return side


def _edges(centres: Sequence[float]) -> list[float]:
    return [0.0, *((one + other) / 2 for one, other in pairwise(centres)), 1.0]


def _pixels(size: int) -> Tensor:
    """Centres of pixels as shares of their number, float64."""
    return (torch.arange(size, dtype=torch.float64) + 0.5) / size


def _cell_of_pixel(edges: Sequence[float], size: int) -> Tensor:
    # Rounded, so that a pixel on an edge lies there at any resolution and not by float's precision beside it.
    inner = torch.tensor(edges[1:-1], dtype=torch.float64)
    return torch.searchsorted(inner.mul(2**40).round(), _pixels(size).mul(2**40).round(), right=True)


def _area(edges: Sequence[float], size: int) -> Tensor:
    """Share ``(cells, size)`` float64 of each cell that lies on each pixel; rows sum to 1."""
    edge, pixel = torch.tensor(edges, dtype=torch.float64) * size, torch.arange(size, dtype=torch.float64)
    low, high = edge[:-1, None], edge[1:, None]
    return (torch.minimum(high, pixel + 1) - torch.maximum(low, pixel)).clamp(min=0) / (high - low)


def _between(centres: Sequence[float], size: int) -> Tensor:
    """Weights ``(size, nodes)`` float64 of the nodes in each pixel; rows sum to 1."""
    if len(centres) == 1:
        return torch.ones(size, 1, dtype=torch.float64)
    place = torch.tensor(centres, dtype=torch.float64)
    pixel = _pixels(size).clamp(place[0], place[-1])
    after = torch.searchsorted(place, pixel, right=True).clamp(1, len(place) - 1)
    share = (pixel - place[after - 1]) / (place[after] - place[after - 1])
    weights = torch.zeros(size, len(place), dtype=torch.float64)
    weights.scatter_(1, (after - 1)[:, None], (1 - share)[:, None])
    return weights.scatter_(1, after[:, None], share[:, None])
