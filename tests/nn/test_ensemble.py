"""Ensembles: the sums of sums are exact, on any grids, and a checkpoint of one is a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.ensemble import Ensemble, divided
from resgat_pl.nn.nets import load_net
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {"encoder": "resnet18", "heads": 2, "hidden": 4}


def mixed(**changed: Any) -> Ensemble:
    """Three members: other grids, heads, attentions and sizes of images."""
    torch.manual_seed(0)
    nets = [
        ResGAT("gatv1", encoder_stage=3, image_size=64, **SMALL),
        ResGAT("gatv2", head="mlp", image_size=64, **SMALL),
        ResGAT("gatv2", head="normalised", encoder_stage=3, image_size=48, **SMALL),
    ]
    options = {"factors": [0.5, 1.25, 0.25], "temperatures": [2.0, 0.5, 1.0], "image_size": 64, **changed}
    net = Ensemble([one.spec for one in nets], **options)
    for member, one in zip(net.members, nets, strict=True):
        member.load_state_dict(one.state_dict())
    return net.double().eval()


@torch.no_grad()
def test_the_logit_is_the_weighted_sum_and_its_parts_add_up() -> None:
    net = mixed()
    images = IMAGES.double()
    found = net.parts(images)
    smaller = torch.nn.functional.interpolate(images, 48, mode="bilinear", align_corners=False, antialias=True)
    alone = [member(given).logit for member, given in zip(net.nets, (images, images, smaller), strict=True)]
    expected = sum(
        factor / temperature * logit
        for factor, temperature, logit in zip((0.5, 1.25, 0.25), (2.0, 0.5, 1.0), alone, strict=True)
    )
    torch.testing.assert_close(net(images).logit, expected)
    torch.testing.assert_close(found.logit, expected)
    torch.testing.assert_close(found.share.sum(dim=0), expected)
    torch.testing.assert_close(found.node.sum(dim=(2, 3)) + found.bias, found.share, rtol=1e-9, atol=1e-9)
    assert found.node.shape[2:] == net.lattice(64, 64).shape == (4, 4)
    assert found.node.abs().amax(dim=(1, 2, 3)).min() > 1e-4


@torch.no_grad()
def test_on_its_own_grid_a_member_keeps_its_map() -> None:
    net = mixed()
    found = net.parts(IMAGES.double())
    own = contributions(net.nets[0], IMAGES.double())
    torch.testing.assert_close(found.node[0].flatten(1), 0.25 * own.node)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(shapes, shapes, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_dividing_by_area_preserves_every_sum(one: tuple[int, int], other: tuple[int, int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)

    def lattice(shape: tuple[int, int]) -> Lattice:
        rows, columns = (sorted((torch.rand(n, generator=random) * 64).tolist()) for n in shape)
        return Lattice(64, 64, tuple(rows), tuple(columns))

    mine, common = lattice(one), lattice(other)
    maps = torch.randn(2, *one, generator=random, dtype=torch.float64)
    found = divided(maps, mine, common)
    torch.testing.assert_close(found.sum(dim=(1, 2)), maps.sum(dim=(1, 2)))
    torch.testing.assert_close(divided(maps, mine, mine), maps)


def test_dividing_counts_pixels() -> None:
    mine, common = Lattice.even(2, 3), Lattice.even(4, 5)
    maps = torch.arange(6.0).reshape(1, 2, 3)
    area = 10 * 15  # px of a cell of a picture of 20 × 45 pixels
    from_cell, to_cell = mine.cells(20, 45).flatten(), common.cells(20, 45).flatten()
    expected = torch.zeros(20).index_add_(0, to_cell, maps.flatten()[from_cell] / area)
    torch.testing.assert_close(divided(maps, mine, common).flatten(), expected)


def stored(net: Ensemble, spec: dict[str, Any] | None = None) -> Checkpoint:
    weights: dict[str, Tensor] = {f"net.{name}": value for name, value in net.state_dict().items()}
    return Checkpoint.of({"resgat": {"version": 1, "net": spec or net.spec}, "state_dict": weights}, "c.ckpt")


@torch.no_grad()
def test_it_is_rebuilt_from_a_checkpoint() -> None:
    net = mixed(names=["a", "b", "c"]).float()
    again = load_net(stored(net))
    assert isinstance(again, Ensemble)
    assert again.names == ["a", "b", "c"]
    assert torch.equal(again(IMAGES).logit, net(IMAGES).logit)


def test_a_checkpoint_does_not_choose_what_is_imported() -> None:
    net = mixed().float()
    spec = net.spec
    spec["init_args"]["members"][0] = {"class_path": "antigravity.Net", "init_args": {}}
    with pytest.raises(WeightsError, match=r"antigravity\.Net is not part of this package"):
        load_net(stored(net, spec))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"factors": [1.0, 1.0]}, "a factor, a temperature and a name each"),
        ({"factors": [1.0, -1.0, 1.0]}, "finite and ≥ 0"),
        ({"factors": [0.0, 0.0, 0.0]}, "above 0"),
        ({"temperatures": [1.0, 0.0, 1.0]}, "above 0"),
        ({"factors": [1.0, float("nan"), 1.0]}, "finite"),
        ({"image_size": 48}, "takes 64 px"),
    ],
)
def test_wrong_numbers_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixed(**changed)


def test_what_is_no_member_is_refused() -> None:
    spec = PooledClassifier("resnet18", image_size=64).spec
    inner = Ensemble([spec], [1.0], image_size=64)
    with pytest.raises(ConfigError, match="Member 1 of the ensemble cannot be made"):
        Ensemble([{"class_path": "PooledClassifier", "init_args": {"nonsense": 1}}], [1.0])
    with pytest.raises(ConfigError, match="is an ensemble itself"):
        Ensemble([inner.spec], [1.0], image_size=64)
    with pytest.raises(ConfigError, match="1 to 64 members"):
        Ensemble([], [])


def test_a_black_box_among_the_members_has_logits_and_no_parts() -> None:
    nets = [PooledClassifier("resnet18", image_size=64), ResGAT(image_size=64, **SMALL)]
    net = Ensemble([one.spec for one in nets], [0.5, 0.5], names=["black", "graph"], image_size=64).eval()
    assert not net.adds_up
    assert net(IMAGES).logit.shape == (2,)
    with pytest.raises(ConfigError, match="The member black is a PooledClassifier"):
        net.parts(IMAGES)
