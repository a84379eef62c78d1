"""Two grids in one graph: its edges, its ledger against computations by the definitions, and its map."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.contribution import decompose
from resgat_pl.nn.encoders import build_encoder
from resgat_pl.nn.encoders.base import GridEncoder
from resgat_pl.nn.levels import LevelGrid, Levels
from resgat_pl.nn.node_geometry import Geometry, Lattice
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

from .conftest import enliven
from .test_ledger import GATES, every_attention, every_head, slowly

grids = st.tuples(st.integers(2, 7), st.integers(2, 7), st.booleans())
FINE, COARSE = (5, 4), (3, 2)


def made(shape: tuple[int, int, bool]) -> LevelGrid:
    """A grid of as many coarse nodes as fine ones, as of a vision transformer, or of half as many, rounded up."""
    height, width, halved = shape
    return LevelGrid((height, width), (-(-height // 2), -(-width // 2)) if halved else (height, width))


@given(grids)
@settings(max_examples=20, deadline=None)
def test_edges_are_those_of_both_grids_and_of_parents_and_children(shape: tuple[int, int, bool]) -> None:
    grid, halved = made(shape), shape[2]
    fine = [(0, row, column) for row in range(grid.shape[0]) for column in range(grid.shape[1])]
    cells = fine + [(1, row, column) for row in range(grid.coarse[0]) for column in range(grid.coarse[1])]
    step = 2 if halved else 1

    def joined(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
        if one[0] == other[0]:
            return abs(one[1] - other[1]) + abs(one[2] - other[2]) <= 1
        child, parent = sorted((one, other))
        return (child[1] // step, child[2] // step) == parent[1:]

    expected = {(i, j) for i, one in enumerate(cells) for j, other in enumerate(cells) if joined(one, other)}
    edges = [tuple(edge) for edge in grid.edge_index.T.tolist()]
    assert set(edges) == expected
    assert len(edges) == len(expected)
    assert [target for _, target in edges] == sorted(target for _, target in edges)
    assert grid.level.tolist() == [cell[0] for cell in cells]


@given(grids)
@settings(max_examples=20, deadline=None)
def test_slots_edges_and_sources_agree(shape: tuple[int, int, bool]) -> None:
    grid = made(shape)
    nodes = torch.rand(2, grid.num_nodes, 3)
    assert torch.equal(grid.to_edges(grid.gather(nodes)), nodes[:, grid.edge_index[0]])
    slots = torch.rand(2, *grid.present.shape, 3) * grid.present.unsqueeze(-1)
    expected = torch.zeros(2, grid.num_nodes, 3).index_add(1, grid.edge_index[0], grid.to_edges(slots))
    torch.testing.assert_close(grid.sum_by_source(slots), expected)
    sources, targets = torch.rand(2, 2, grid.num_nodes, 3)
    found = grid.stack_slots(grid.add_neighbours(sources, targets), -7.0)
    pairs = grid.gather(sources) + targets.unsqueeze(2)
    assert torch.equal(found, pairs.masked_fill(~grid.present.unsqueeze(-1), -7.0))


def test_tables_follow_the_shapes_and_are_no_part_of_a_state_dict() -> None:
    grid = LevelGrid((4, 4), (2, 2))
    before = grid.edge_index
    grid.fit_levels([(4, 4), (2, 2)])
    assert grid.edge_index is before
    grid.fit_levels([FINE, COARSE])
    assert torch.equal(grid.edge_index, LevelGrid(FINE, COARSE).edge_index)
    assert not grid.state_dict()
    with pytest.raises(ConfigError, match="5×5 and 2×2 nodes cannot be levels"):
        LevelGrid((5, 5), (2, 2))


@cache
def net_of(attention: str, head: str, place: int) -> ResGAT:
    torch.manual_seed(0)
    options: Any = {"attention": attention, "head": head, **GATES[place]}
    net = ResGAT(encoder="resnet18", encoder_stage=[3, 4], heads=2, hidden=4, image_size=64, **options).double()
    for part in (net.gat, net.head, net.node_gate, net.edge_gate):
        if part is not None:
            enliven(part)
    if net.edge_gate is not None:
        with torch.no_grad():
            net.edge_gate.out.weight.mul_(5)
    return net.eval()


def some_nodes(net: ResGAT) -> Tensor:
    """Nodes of 5×4 and 3×2 cells: each with zeros in the place of the other stage's features."""
    net.grid.fit_levels([FINE, COARSE])
    drawn = 2 * torch.rand(2, 26, 768, generator=torch.Generator().manual_seed(0)).double()
    drawn[:, :20, 256:] = 0
    drawn[:, 20:, :256] = 0
    return drawn


@every_attention
@every_head
@pytest.mark.parametrize("place", [0, 6, *(pytest.param(place, marks=pytest.mark.long) for place in (5, 7))])
@torch.no_grad()
def test_the_ledger_of_both_levels_is_the_logit_of_the_definitions(attention: str, head: str, place: int) -> None:
    net = net_of(attention, head, place)
    nodes = some_nodes(net)
    found = decompose(net, net.graph(nodes))
    logit = found.output.logit
    torch.testing.assert_close(logit[:1], slowly(net, nodes[0])[None])
    for part in (found.node, found.edge):
        torch.testing.assert_close(part.sum(dim=1) + found.bias, logit, atol=1e-9, rtol=1e-9)
    assert found.level is not None
    for level in (0, 1):
        assert found.node[:, found.level == level].abs().amax() > 1e-6, "both levels are heard"


@every_attention
@torch.no_grad()
def test_the_layer_is_that_of_pytorch_geometric(attention: str) -> None:
    net = net_of(attention, "linear", 0)
    nodes = some_nodes(net)
    expected = [net.head(net.gat(image, net.grid.edge_index).mean(dim=0, keepdim=True)) for image in nodes]
    torch.testing.assert_close(net.forward_nodes(nodes).logit, torch.cat(expected))


@torch.no_grad()
def test_encoding_gives_the_maps_of_both_stages() -> None:
    torch.manual_seed(0)
    net = ResGAT(encoder="resnet18", encoder_stage=[3, 4], heads=2, hidden=4, image_size=64).eval()
    images = torch.rand(2, 3, 96, 64)
    nodes = net.encode(images)
    assert (net.grid.shape, net.grid.coarse) == ((6, 4), (3, 2))  # type: ignore[attr-defined]  # LevelGrid
    coarse = net.backbone.encoder(net.normalised(images))
    assert torch.equal(nodes[:, 24:, 256:], coarse.flatten(2).transpose(1, 2))
    fine = build_encoder("resnet18", None, 3).eval()
    fine.load_state_dict({k: v for k, v in net.backbone.encoder.state_dict().items() if k in fine.state_dict()})
    assert torch.equal(nodes[:, :24, :256], fine(net.normalised(images)).flatten(2).transpose(1, 2))
    assert not nodes[:, :24, 256:].any()
    assert not nodes[:, 24:, :256].any()
    assert [each.shape for each in net.levels(96, 64).lattices] == [(6, 4), (3, 2)]
    assert net.lattice(96, 64) == fine.lattice(96, 64)


def test_checkpoints_and_training_go_through(make_net: Any) -> None:
    net = make_net(encoder_stage=[3, 4], mask_head="gate").train()
    net(torch.rand(2, 3, 64, 64)).logit.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.config["encoder_stage"] == [3, 4]
    again = ResGAT(**net.config).eval()
    again.load_state_dict(net.eval().state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(again(images).logit, net(images).logit)


PLACES = Levels(
    (Geometry(16, 0.0, 99.0).lattice(80, 64, FINE), Geometry(32, 0.0, 99.0).lattice(80, 64, COARSE))
)  # as of a ResNet: cells of the two stages do not end at the same pixels


def test_one_map_of_both_levels() -> None:
    nodes = torch.rand(3, 26).double()
    found = PLACES.summed(nodes)
    assert found.shape == (3, *FINE)
    torch.testing.assert_close(found.sum(dim=(1, 2)), nodes.sum(dim=1))
    # Each coarse node by itself stays on its cell.
    for place, cell in enumerate(PLACES.lattices[1].cells(80, 64).flatten().unique().tolist()):
        one = torch.zeros(1, 26).double()
        one[0, 20 + place] = 1
        covered = PLACES.lattices[0].cover((PLACES.lattices[1].cells(80, 64) == cell)[None].double())
        assert torch.equal(PLACES.summed(one)[0] > 1e-9, covered[0] > 1e-6)
    # A number that is no share stays as it is where the levels agree.
    torch.testing.assert_close(PLACES.averaged(torch.full((1, 26), 0.3)), torch.full((1, *FINE), 0.3))
    masks = (torch.rand(3, 80, 64) > 0.5).float()
    cover = PLACES.cover(masks)
    assert torch.equal(cover[:, 20:], PLACES.lattices[1].cover(masks).flatten(1))
    alone = Levels((Lattice.even(2, 2),))
    assert torch.equal(alone.summed(nodes[:, :4]), alone.averaged(nodes[:, :4]))


class Outside(GridEncoder):
    """An encoder from elsewhere, with one feature map."""

    def __init__(self, name: str = "", weights: object = None, stage: int = 4) -> None:
        super().__init__()
        self.out_channels, self.stride = 8, 16
        self.project = torch.nn.Conv2d(3, 8, kernel_size=17, stride=16, padding=8)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.project(images)
        return found


@pytest.mark.parametrize("wrong", [[4], [4, 3], [3, 4, 4], [], (3, 4), "34", 5])
def test_other_lists_of_stages_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"encoder_stage is .*; it must be 3, 4 or \[3, 4\]"):
        ResGAT(encoder="resnet18", encoder_stage=wrong, image_size=64)


def test_what_cannot_have_two_levels_is_refused_by_name() -> None:
    stages: Any = [3, 4]
    for kind in (VideoResGAT, PooledClassifier):
        with pytest.raises(ConfigError, match=r"encoder_stage is \[3, 4\]; it must be 3 or 4"):
            kind(encoder="resnet18", encoder_stage=stages, image_size=64)
    with pytest.raises(ConfigError, match=r"net\.receptive limits what the nodes of one stage see"):
        ResGAT(encoder="resnet18", encoder_stage=stages, image_size=64, receptive=65)
    with pytest.raises(ConfigError, match="only encoders of torchvision and timm"):
        ResGAT(encoder=f"{__name__}.Outside", encoder_stage=stages, image_size=64)


@torch.no_grad()
def test_a_vision_transformer_gives_two_grids_of_the_same_places() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    net = ResGAT(encoder="timm/test_vit", encoder_stage=[3, 4], heads=2, hidden=4, image_size=64).double().eval()
    found = decompose(net, net.graph(net.encode(torch.rand(2, 3, 64, 64).double())))
    torch.testing.assert_close(found.node.sum(dim=1) + found.bias, found.output.logit)
    fine, coarse = net.levels(64, 64).lattices
    assert fine == coarse
    nodes = net.encode(torch.rand(2, 3, 64, 64))
    count, half = nodes.shape[1] // 2, nodes.shape[2] // 2
    assert not torch.equal(nodes[:, :count, :half], nodes[:, count:, half:]), "after other blocks"
