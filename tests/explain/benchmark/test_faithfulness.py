"""Faithfulness scores and sanity copies: known answers on judges that can be computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.explain.benchmark.faithfulness import (
    STEPS,
    area,
    blurred,
    curves,
    few,
    fill,
    order_of,
    single,
    steps,
)
from resgat_pl.explain.benchmark.sanity import cascade, randomised, with_uniform_attention
from resgat_pl.explain.methods.pixels import baseline_of
from resgat_pl.explain.methods.variants import PredictedMask
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT

GRID = Lattice.even(3, 4)


def pictures(count: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 18, 24, generator=generator), torch.rand(count, 3, 18, 24, generator=generator)


def weighted_judge(weight: Tensor):  # type: ignore[no-untyped-def]
    """A judge whose logit is a weighted sum over the nodes' mean brightness: every effect is known."""
    place = GRID.cells(18, 24).flatten()

    def judge(images: Tensor) -> Tensor:
        brightness = images.mean(dim=1).flatten(1)
        sums = torch.zeros(len(images), 12).index_add(1, place, brightness) / place.bincount()
        return sums @ weight

    return judge


def brightness(images: Tensor) -> Tensor:
    return images.mean(dim=1).reshape(-1, 3, 6, 4, 6).mean(dim=(2, 4)).flatten(1)


def test_steps_are_the_same_shares_on_any_grid() -> None:
    assert steps(49) == STEPS
    assert few(49) == 5
    assert few(196) == 20
    assert few(4) == 1
    for nodes in (4, 16, 49, 100, 196):
        assert list(steps(nodes)) == sorted(set(steps(nodes)))
        assert 0 < steps(nodes)[0] <= steps(nodes)[-1] < nodes


def test_fill_changes_the_chosen_nodes_and_nothing_else() -> None:
    images, filler = pictures()
    chosen = torch.zeros(3, 12, dtype=torch.bool)
    chosen[0, 5], chosen[1, [0, 11]] = True, True
    found = fill(images, filler, chosen, GRID)
    where = chosen.reshape(3, 1, *GRID.shape).repeat_interleave(6, 2).repeat_interleave(6, 3).expand_as(images)
    assert found[where].equal(filler[where])
    assert found[~where].equal(images[~where])


def test_order_is_from_the_highest_down() -> None:
    maps = torch.randn(4, *GRID.shape, generator=torch.Generator().manual_seed(1))
    order = order_of(maps)
    assert (maps.flatten(1).gather(1, order).diff(dim=1) <= 0).all()
    assert order.sort(dim=1).values.equal(torch.arange(12).expand(4, -1))


def test_ties_come_in_one_random_order() -> None:
    flat = torch.zeros(2, 7, 7)
    order = order_of(flat)
    assert order[0].equal(order[1])
    assert not order[0].equal(torch.arange(49))
    assert not order_of(flat, seed=1)[0].equal(order[0])


def test_effects_of_single_nodes_are_exact_for_a_linear_judge() -> None:
    images, filler = pictures()
    weight = torch.linspace(-2, 3, 12)
    found = single(weighted_judge(weight), images, filler, GRID, batch_size=5)
    assert found.numpy() == pytest.approx(((brightness(images) - brightness(filler)) * weight).numpy(), abs=1e-5)


def test_curves_add_the_effects_up() -> None:
    images, filler = pictures()
    judge = weighted_judge(torch.linspace(-2, 3, 12))
    effects = single(judge, images, filler, GRID)
    order = order_of(effects.reshape(3, *GRID.shape))
    counts = (1, 4, 12)
    found = curves(judge, images, filler, order, GRID, counts, batch_size=4)
    for column, count in enumerate(counts):
        expected = judge(images) - effects.gather(1, order[:, :count]).sum(dim=1)
        assert found[:, column].numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert found[:, -1].numpy() == pytest.approx(judge(filler).numpy(), abs=1e-5)


def test_the_true_order_has_the_least_area_and_its_reverse_the_most() -> None:
    images, filler = pictures()
    judge = weighted_judge(torch.linspace(-2, 3, 12))
    effects = single(judge, images, filler, GRID).reshape(3, *GRID.shape)
    counts = tuple(range(1, 12))

    def under(maps: Tensor) -> Tensor:
        inner = curves(judge, images, filler, order_of(maps), GRID, counts)
        return area(torch.cat([judge(images)[:, None], inner, judge(filler)[:, None]], dim=1), counts, 12)

    best, worst = under(effects), under(-effects)
    for seed in range(5):
        middle = under(torch.randn(3, *GRID.shape, generator=torch.Generator().manual_seed(seed)))
        assert (best < middle).all()
        assert (middle < worst).all()


def test_area_of_a_straight_line_is_a_half_whatever_the_steps() -> None:
    for counts in [(1, 2, 3), (5,), (1, 2, 9, 11)]:
        line = 1 - torch.tensor([0, *counts, 12]) / 12
        assert area(line[None], counts, 12).item() == pytest.approx(0.5)
    assert area(torch.ones(1, 5), (1, 2, 3), 12).item() == pytest.approx(1)


def test_blur_keeps_the_mean_of_flat_pictures_and_removes_detail() -> None:
    images, _ = pictures()
    flat = baseline_of(images, "mean")
    assert blurred(flat).numpy() == pytest.approx(flat.numpy(), abs=1e-5)
    assert flat.mean(dim=(2, 3)).numpy() == pytest.approx(images.mean(dim=(2, 3)).numpy(), abs=1e-5)
    assert (blurred(images).var(dim=(2, 3)) < 0.5 * images.var(dim=(2, 3))).all()


@pytest.fixture(scope="module", params=["gatv1", "gatv2"])
def net(request: pytest.FixtureRequest) -> ResGAT:
    torch.manual_seed(0)
    built = ResGAT(request.param, "resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64)
    return built.eval()


@pytest.mark.parametrize("parts", [("head",), ("head", "gat"), ("head", "gat", "backbone")])
def test_only_the_named_parts_are_shuffled(net: ResGAT, parts: tuple[str, ...]) -> None:
    assert cascade(net)[parts[-1]] == parts
    before = {name: value.clone() for name, value in net.state_dict().items()}
    changed = randomised(net, parts)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    for name, value in changed.named_parameters():
        old = before[name]
        assert value.flatten().sort().values.equal(old.flatten().sort().values)  # the same values
        if name.split(".")[0] not in parts:
            assert value.equal(old)
        elif old.unique().numel() > 8:
            assert not value.equal(old)
    assert all(value.equal(changed.state_dict()[name]) for name, value in before.items() if "running" in name)
    again = randomised(net, parts)
    assert all(value.equal(again.state_dict()[name]) for name, value in changed.state_dict().items())


def test_uniform_attention_is_uniform(net: ResGAT) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = with_uniform_attention(net)(images)
        own = net(images)
    alike = (1 / found.edge_index[1].bincount().float())[found.edge_index[1]]
    assert found.attention.numpy() == pytest.approx(alike[None, :, None].expand_as(found.attention).numpy(), abs=1e-6)
    assert not own.attention.allclose(found.attention, atol=1e-4)


def test_gates_are_shuffled_with_the_layer_that_they_gate() -> None:
    small: dict[str, Any] = {"encoder": "resnet18", "heads": 2, "hidden": 4, "image_size": 64}
    gated = ResGAT(**small, mask_head="aux", bottleneck=True).eval()
    steps = cascade(gated)
    assert steps["head"] == ("head",)
    assert steps["gat"] == ("head", "gat", "node_gate", "edge_gate")
    assert sorted(steps["backbone"]) == ["backbone", "edge_gate", "gat", "head", "node_gate"]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    before = PredictedMask(gated).attribute(images).node_map
    assert PredictedMask(randomised(gated, steps["head"])).attribute(images).node_map.equal(before)
    assert not PredictedMask(randomised(gated, steps["gat"])).attribute(images).node_map.allclose(before)
