"""The protocol of encoders: a feature map, where its cells look, and which parameters are norms."""

from __future__ import annotations

from typing import Final, Literal

from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.node_geometry import Geometry, Lattice

EncoderStage = Literal[3, 4]
Stages = EncoderStage | list[int]
"""One stage, or both as ``[3, 4]``."""
WEIGHT_SOURCES: Final = {"imagenet": "torchvision's encoders", "timm": "encoders timm/NAME"}
"""Values of ``weights`` that are no file, and the encoders that have them."""


class GridEncoder(nn.Module):
    """Base class of encoders, the only one that ``ResGAT`` takes.

    A subclass sets the attributes and computes ``forward``; the methods follow from them.

    Shapes:
        ``(B, 3, H, W)`` float, normalised → ``(B, out_channels, h, w)`` float, with ``(h, w) = grid_shape(H, W)``.

    Attributes:
        out_channels: Channels of the feature map.
        stride: From one node to the next in the image, in pixels.
        geometry: Centres and size of the nodes' receptive fields; None where they are not known, and the nodes are
            placed in the middle of equal cells.
        mean: Per-channel RGB mean, of images in [0, 1], of the images that the encoder was trained on before.
        std: The standard deviation, likewise.
        has_class_token: True if ``class_token`` is there.

    Example:
        >>> class Patches(GridEncoder):
        ...     def __init__(self, name="", weights=None, stage=4):
        ...         super().__init__()
        ...         self.out_channels, self.stride = 8, 16
        ...         self.project = nn.Conv2d(3, 8, kernel_size=17, stride=16, padding=8)
        ...     def forward(self, images):
        ...         return self.project(images)
        >>> Patches().grid_shape(64, 48), Patches().lattice(64, 48).rows
        ((4, 3), (8.0, 24.0, 40.0, 56.0))
    """

    out_channels: int
    stride: int
    geometry: Geometry | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    has_class_token: bool = False

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the feature map of an image of ``height × width`` pixels.

        Raises:
            ConfigError: The image gives fewer than 2×2 nodes.
        """
        if min(height, width) <= self.stride:
            raise ConfigError(
                f"Images of {height}×{width} pixels are too small: a graph needs 2×2 nodes, so with this encoder "
                f"(stride {self.stride}) at least {self.stride + 1} pixels a side. Resize them, or set encoder_stage 3."
            )
        return -(-height // self.stride), -(-width // self.stride)

    def lattice(self, height: int, width: int) -> Lattice:
        """Places of the nodes in an image of ``height × width`` pixels, for whatever maps nodes to pixels.

        Raises:
            ConfigError: As ``grid_shape``.
        """
        shape = self.grid_shape(height, width)
        if self.geometry is not None:
            return self.geometry.lattice(height, width, shape)
        rows, columns = (
            tuple((i + 0.5) * side / count for i in range(count))
            for side, count in zip((height, width), shape, strict=True)
        )
        return Lattice(height, width, rows, columns)

    def grid_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each grid of nodes, the finest first; raises as ``grid_shape``."""
        return (self.grid_shape(height, width),)

    def lattices(self, height: int, width: int) -> tuple[Lattice, ...]:
        """Places of the nodes of each grid, the finest first; raises as ``grid_shape``."""
        return (self.lattice(height, width),)

    def nodes(self, images: Tensor) -> Tensor:
        """Nodes ``(B, N, out_channels)`` float of normalised images, row by row."""
        feature_map: Tensor = self(images)
        return feature_map.flatten(2).transpose(1, 2)

    def class_token(self, images: Tensor) -> Tensor:
        """Class token ``(B, out_channels)`` of normalised images, of encoders that have one."""
        raise NotImplementedError(f"{type(self).__name__} has no class token")

    def norm_names(self) -> list[str]:
        """Names of the parameters of normalisation layers: scale and shift of batch, layer and group norms.

        A layer is one if its class says so (``BatchNorm2d``, ``LayerNorm``, ``RmsNorm``, ``BatchNormAct2d``).
        """
        return [
            f"{path}.{name}" if path else name
            for path, module in self.named_modules()
            if "norm" in type(module).__name__.lower()
            for name, _ in module.named_parameters(recurse=False)
        ]
