"""Where nodes are: by arithmetic, by gradients, and by what moves when a picture changes or is mirrored."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.encoder import Encoder
from resgat_pl.nn.node_geometry import Lattice, geometry_of

SIZES = st.integers(33, 260)
with torch.device("meta"):
    GEOMETRY = Encoder("resnet18").geometry


@pytest.mark.parametrize("stage", [3, 4])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_v2_s"])
def test_nodes_of_every_family_of_encoders_lie_on_multiples_of_the_stride(name: str, stage: Literal[3, 4]) -> None:
    with torch.device("meta"):
        encoder = Encoder(name, stage=stage)
    assert (encoder.geometry.stride, encoder.geometry.offset) == (encoder.stride, 0.0)
    lattice = encoder.lattice(112, 225)
    assert lattice.shape == encoder.grid_shape(112, 225)
    assert lattice.columns[:2] == (0.5, 0.5 + encoder.stride)


def test_receptive_fields_are_those_of_the_literature() -> None:
    with torch.device("meta"):
        assert Encoder("resnet50").geometry.field == 427
        assert Encoder("resnet50", stage=3).geometry.field == 267
        assert math.isinf(Encoder("efficientnet_b0").geometry.field)  # squeeze-and-excitation sees everything


LAYER = st.tuples(st.sampled_from([1, 2, 3, 5]), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2))


@settings(max_examples=30, deadline=None)
@given(st.lists(LAYER, min_size=1, max_size=4))
def test_arithmetic_agrees_with_gradients(parts: list[tuple[int, int, int, int]]) -> None:
    convolutions = [nn.Conv2d(1, 1, k, s, min(p, d * (k - 1) // 2), d) for k, s, p, d in parts]
    layers = nn.Sequential(*convolutions, nn.BatchNorm2d(1), nn.ReLU(), nn.AvgPool2d(3, 2, 1)).eval()
    for parameter in layers.parameters():
        nn.init.ones_(parameter)
    picture = torch.ones(1, 1, 201, 201, requires_grad=True)
    found = layers(picture)
    middle = found.shape[-1] // 2
    (gradient,) = torch.autograd.grad(found[0, 0, middle, middle], picture)
    seen = gradient[0, 0].sum(dim=0).nonzero().flatten()
    low, high = int(seen[0]), int(seen[-1])
    geometry = geometry_of(layers)
    assert geometry.offset + geometry.stride * middle == (low + high) / 2
    assert geometry.field == high - low + 1


class Branches(nn.Module):
    def __init__(self, padding: int) -> None:
        super().__init__()
        self.long, self.short = nn.Conv2d(1, 1, 3, 2, padding), nn.Conv2d(1, 1, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.long(x) + self.short(x)
        return summed


def test_branches_must_look_at_the_same_places() -> None:
    assert geometry_of(Branches(1)).field == 3
    with pytest.raises(ConfigError, match="branches meet"):
        geometry_of(Branches(0))


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(1, 1, 3), nn.Conv2d(1, 1, (3, 1)), nn.Upsample(2.0)])
def test_what_is_not_known_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ConfigError):
        geometry_of(nn.Sequential(layer))


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES)
def test_every_pixel_belongs_to_its_nearest_node(height: int, width: int) -> None:
    lattice = GEOMETRY.lattice(height, width)
    table = lattice.cells(height, width)
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    row = (y[:, None] - torch.tensor(lattice.rows)).abs()
    column = (x[:, None] - torch.tensor(lattice.columns)).abs()
    chosen_row, chosen_column = table[:, 0] // len(lattice.columns), table[0] % len(lattice.columns)
    assert table.equal(chosen_row[:, None] * len(lattice.columns) + chosen_column)
    assert row.gather(1, chosen_row[:, None]).flatten().equal(row.amin(dim=1))
    assert column.gather(1, chosen_column[:, None]).flatten().equal(column.amin(dim=1))
    assert table.unique().tolist() == list(range(len(lattice.rows) * len(lattice.columns)))  # no cell is empty


def test_cells_at_the_border_are_smaller_and_larger() -> None:
    lattice = GEOMETRY.lattice(224, 224)
    assert lattice.cells(224, 224)[0].bincount().tolist() == [16, 32, 32, 32, 32, 32, 48]
    assert lattice.cells(112, 112)[0].bincount().tolist() == [8, 16, 16, 16, 16, 16, 24]  # a mask of half the size
    assert Lattice.even(3, 4).cells(18, 24)[0].bincount().tolist() == [6] * 4


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES, st.integers(0, 1000))
def test_covers_are_means_over_cells(height: int, width: int, seed: int) -> None:
    masks = (torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed)) > 0.5).float()
    lattice = GEOMETRY.lattice(height, width)
    covers, table = lattice.cover(masks), lattice.cells(height, width).flatten()
    assert bool(((covers >= 0) & (covers <= 1)).all())
    sums = torch.zeros(2, int(table.max()) + 1).index_add_(1, table, masks.flatten(1)) / table.bincount()
    # A pixel on the edge of two cells is halved here, and belongs to one of them there.
    assert float((covers.flatten(1) - sums).abs().mean()) < 0.06
    down, across = (torch.tensor(edges).diff() for edges in lattice.edges)
    share = (covers * (down[:, None] * across)).sum(dim=(1, 2))
    torch.testing.assert_close(share, masks.mean(dim=(1, 2)))  # the cells cover the picture once
    assert lattice.cover(torch.ones(1, height, width)).allclose(torch.ones(1))
    assert lattice.cover(masks.bool()).equal(covers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = lattice.cover(masks)
    assert found.dtype == torch.float32
    assert found.equal(covers)


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES)
def test_heatmaps_have_the_nodes_values_at_their_centres(height: int, width: int) -> None:
    lattice = GEOMETRY.lattice(height, width)
    maps = torch.rand(2, *lattice.shape)
    heat = lattice.heatmap(maps, (height, width))
    rows, columns = ([int(centre) for centre in axis] for axis in (lattice.rows, lattice.columns))
    torch.testing.assert_close(heat[:, rows][:, :, columns], maps)
    assert bool(((heat <= maps.amax() + 1e-6) & (heat >= maps.amin() - 1e-6)).all())
    torch.testing.assert_close(heat[:, -1, columns], maps[:, -1])  # level beyond the outermost nodes
    even = Lattice.even(*lattice.shape).heatmap(maps, (height, width))
    expected = nn.functional.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(even, expected, rtol=1e-4, atol=1e-5)


def centre_of_mass(heat: Tensor) -> Tensor:
    """Horizontal, in px from the left."""
    across = heat.sum(dim=1)
    return (across * (torch.arange(heat.shape[2]) + 0.5)).sum(dim=1) / across.sum(dim=1)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0"])
def test_the_map_is_where_the_picture_changed_and_mirrored_it_is_the_mirrored_map(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(name, stage=3).eval()
    height, width = 112, 128
    picture = torch.rand(1, 3, height, width)
    spots = torch.tensor([50, 57, 64, 70, 78])
    changed = picture.repeat(len(spots), 1, 1, 1)
    for image, spot in zip(changed, spots.tolist(), strict=True):
        image[:, 48:64, spot - 8 : spot + 8] = torch.rand(3, 16, 16)

    def response(pictures: Tensor, before: Tensor) -> Tensor:
        with torch.no_grad():
            return (encoder(pictures) - encoder(before)).square().sum(dim=1)

    lattice = encoder.lattice(height, width)
    plain, mirrored = response(changed, picture), response(changed.flip(3), picture.flip(3))

    def mistakes(where: Lattice) -> tuple[float, float]:
        """Cells by which the map misses the spot, and by which the mirrored picture's map misses the mirrored map."""
        here, there = (centre_of_mass(where.heatmap(maps, (height, width))) for maps in (plain, mirrored))
        return float((here - spots).mean()) / encoder.stride, float((here + there - width).mean()) / encoder.stride

    spot, mirror = mistakes(lattice)
    assert abs(spot) < 0.25
    assert abs(mirror) < 0.3
    # The test can fail: for equal cells, which the nodes are not the middles of, both are wrong.
    spot, mirror = mistakes(Lattice.even(*lattice.shape))
    assert spot > 0.25
    assert mirror > 0.6
