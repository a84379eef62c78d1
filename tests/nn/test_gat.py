from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GATConv, GATv2Conv  # its warning at import is silenced by conftest's import of ResGAT

from resgat_pl.nn.gat import GridGATConv, GridGATv2Conv
from resgat_pl.nn.grid import Grid

from .conftest import enliven, sent_by_each_node

VERSIONS = [(GridGATConv, GATConv), (GridGATv2Conv, GATv2Conv)]
versions = pytest.mark.parametrize(("ours", "theirs"), VERSIONS)


def layer(ours: type, **arguments: float) -> GridGATConv | GridGATv2Conv:
    built = ours(12, 7, heads=3, **arguments)
    enliven(built)
    return built.eval()


def without_loops(grid: Grid) -> Tensor:
    return grid.edge_index[:, grid.edge_index[0] != grid.edge_index[1]]


@versions
@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (7, 7)])
def test_attend_equals_pyg_image_by_image(ours: type, theirs: type, shape: tuple[int, int]) -> None:
    grid = Grid(*shape)
    conv = layer(ours)
    reference = theirs(12, 7, heads=3)
    reference.load_state_dict(conv.state_dict())  # also: the same names
    x = torch.randn(4, grid.num_nodes, 12)
    state = conv.attend(x, grid)
    attention = grid.to_edges(state.attention)
    assert not state.attention[:, ~grid.present].any()
    for image in range(4):
        out, (edges, alpha) = reference.eval()(x[image], without_loops(grid), return_attention_weights=True)
        torch.testing.assert_close(state.pooled[image], out.mean(dim=0), atol=1e-5, rtol=1e-5)
        found = torch.full((grid.num_nodes, grid.num_nodes, 3), torch.nan)
        found[edges[0], edges[1]] = alpha
        expected = found[grid.edge_index[0], grid.edge_index[1]]
        torch.testing.assert_close(attention[image], expected, atol=1e-5, rtol=1e-5)


@versions
def test_gradients_equal_pygs(ours: type, theirs: type) -> None:
    """Of the input and of every parameter: the short cuts of ``attend`` are exact in both directions."""
    grid = Grid(3, 4)
    conv = layer(ours).double()
    reference = theirs(12, 7, heads=3).double().eval()
    reference.load_state_dict(conv.state_dict())
    x = torch.randn(3, grid.num_nodes, 12, dtype=torch.double, requires_grad=True)
    copy = x.detach().clone().requires_grad_()
    conv.attend(x, grid).pooled.square().sum().backward()
    sum(reference(image, without_loops(grid)).mean(dim=0).square().sum() for image in copy).backward()
    torch.testing.assert_close(x.grad, copy.grad)
    wanted = dict(reference.named_parameters())
    for name, parameter in conv.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, wanted[name].grad, msg=name)


@versions
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_what_is_read_is_the_mean_along_directions(ours: type, theirs: type, dropout: float) -> None:
    """The same numbers and gradients whether the mean is made or only read."""
    grid = Grid(3, 4)
    conv = layer(ours, dropout=dropout).double().train()
    readout = torch.randn(2, 21, dtype=torch.double, requires_grad=True)
    leaves = [*conv.parameters(), readout]
    x = torch.randn(3, grid.num_nodes, 12, dtype=torch.double)
    found = []
    for short in (True, False):
        torch.manual_seed(1)
        state = conv.attend(x, grid, readout if short else None)
        read = state.read if short else state.pooled @ readout.T
        found.append([read, *torch.autograd.grad(read.square().sum(), leaves)])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other)


@versions
def test_what_nodes_send_along_directions(ours: type, theirs: type) -> None:
    grid = Grid(3, 4)
    conv = layer(ours)
    x = torch.randn(2, grid.num_nodes, 12)
    values = sent_by_each_node(conv, x)
    for images in (1, 2):  # the same directions for all images, or their own
        weight = torch.randn(images, 5, 21)
        own = weight.reshape(images, 1, 5, 3, 7).transpose(2, 3).expand(2, -1, -1, -1, -1)
        expected = (own * values.unsqueeze(3)).sum(dim=-1)
        torch.testing.assert_close(conv.along(conv.attend(x, grid), weight), expected, atol=1e-5, rtol=1e-5)


@versions
def test_inherited_forward_still_runs_an_edge_list(ours: type, theirs: type) -> None:
    grid = Grid(3, 4)
    conv = layer(ours)
    x = torch.randn(1, grid.num_nodes, 12)
    pooled = conv(x[0], without_loops(grid)).mean(dim=0)
    torch.testing.assert_close(conv.attend(x, grid).pooled[0], pooled, atol=1e-5, rtol=1e-5)


@versions
def test_dropout_acts_on_the_attention_used_not_on_the_one_returned(ours: type, theirs: type) -> None:
    grid = Grid(4, 4)
    conv = layer(ours, dropout=0.5)
    x = torch.randn(2, 16, 12)
    calm = conv.attend(x, grid)
    conv.train()
    first, second = conv.attend(x, grid), conv.attend(x, grid)
    assert torch.equal(first.attention, calm.attention)
    assert not torch.allclose(first.pooled, second.pooled)

    conv.dropout = 1.0  # nothing is sent: neither values nor the bias GATv2 adds to them
    torch.testing.assert_close(conv.attend(x, grid).pooled, conv.bias.expand(2, -1))


def test_only_gatv1_ranks_sources_alike_for_every_target() -> None:
    """Static attention: of two sources that two targets share, both targets prefer the same one."""
    grid = Grid(2, 2)  # diagonal targets 0 and 3 both attend to 1 (right, up) and 2 (down, left)
    x = torch.randn(500, 4, 12)

    def disagreements(conv: GridGATConv | GridGATv2Conv) -> int:
        score = conv.attend(x, grid).scores
        return int(((score[:, 0, 2] > score[:, 0, 4]) != (score[:, 3, 3] > score[:, 3, 1])).sum())

    assert disagreements(layer(GridGATConv)) == 0
    assert disagreements(layer(GridGATv2Conv)) > 50


@versions
def test_attend_is_one_graph_to_the_compiler(ours: type, theirs: type) -> None:
    grid = Grid(3, 3)
    conv = layer(ours)
    x = torch.randn(2, 9, 12)
    compiled = torch.compile(conv.attend, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, grid).pooled, conv.attend(x, grid).pooled)
