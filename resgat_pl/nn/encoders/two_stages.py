"""Two stages of one encoder, run once: the nodes of both grids, for one graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.nn.encoders.base import GridEncoder
from resgat_pl.nn.encoders.timm_models import TimmEncoder
from resgat_pl.nn.encoders.torchvision_cnns import Encoder
from resgat_pl.nn.node_geometry import Lattice


class TwoStages(GridEncoder):
    """Stages 3 and 4 of an encoder.

    A node's features are those of its own stage, with zeros in the place of the other's. So whatever is linear in them,
    as attention, value and gates are, has separate weights for each stage, and nothing has to bring the stages to the
    same number of channels.

    Shapes:
        ``(B, 3, H, W)`` float, normalised → ``(B, N, out_channels)`` float: the fine nodes row by row, then the coarse
        ones. ``out_channels`` is the sum over both stages.

    Args:
        encoder: Of stage 4; it is trained and stored.

    Attributes:
        encoder: As given.

    Raises:
        ConfigError: It has no stage 3.

    Example:
        >>> encoder = TwoStages(Encoder("resnet18"))
        >>> encoder(torch.zeros(1, 3, 64, 64)).shape, encoder.grid_shapes(64, 64)
        (torch.Size([1, 20, 768]), ((4, 4), (2, 2)))
    """

    def __init__(self, encoder: Encoder | TimmEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        # In a tuple, and so no module of this one: it shares the encoder's layers, or has none.
        self._stages: tuple[GridEncoder, GridEncoder] = (encoder.stage_three(), encoder)
        fine, coarse = self._stages
        self.out_channels = fine.out_channels + coarse.out_channels
        self.stride, self.geometry = fine.stride, fine.geometry
        self.mean, self.std = encoder.mean, encoder.std

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        fine, coarse = (each.flatten(2).transpose(1, 2) for each in self.encoder.both_stages(images))
        before, after = coarse.shape[2], fine.shape[2]
        return torch.cat([F.pad(fine, (0, before)), F.pad(coarse, (after, 0))], dim=1)

    def nodes(self, images: Tensor) -> Tensor:
        """See the base class."""
        found: Tensor = self(images)
        return found

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the finer grid; raises as ``grid_shapes``."""
        return self.grid_shapes(height, width)[0]

    def grid_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of both grids.

        Raises:
            ConfigError: The image gives fewer than 2×2 nodes of stage 4.
        """
        return tuple(stage.grid_shape(height, width) for stage in self._stages)

    def lattice(self, height: int, width: int) -> Lattice:
        """Places of the nodes of the finer grid."""
        return self.lattices(height, width)[0]

    def lattices(self, height: int, width: int) -> tuple[Lattice, ...]:
        """Places of the nodes of both grids."""
        return tuple(stage.lattice(height, width) for stage in self._stages)
