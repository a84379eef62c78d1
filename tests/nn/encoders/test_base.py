from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.encoders.base import GridEncoder


class Plain(GridEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.out_channels, self.stride = 4, 16
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.BatchNorm2d(4), nn.GroupNorm(1, 4, affine=False))

    def forward(self, images: Tensor) -> Tensor:
        feature_map: Tensor = self.layers(images)
        return feature_map


def test_without_geometry_cells_are_even() -> None:
    lattice = Plain().lattice(32, 60)
    assert (lattice.height, lattice.width) == (32, 60)
    assert lattice.rows == (8.0, 24.0)
    assert lattice.columns == (7.5, 22.5, 37.5, 52.5)
    assert torch.equal(lattice.cells(2, 4), torch.arange(8).reshape(2, 4))


def test_norms_are_the_layers_with_scale_and_shift() -> None:
    assert Plain().norm_names() == ["layers.1.weight", "layers.1.bias"]


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 17 pixels"):
        Plain().lattice(16, 60)
