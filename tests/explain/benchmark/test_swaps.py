"""Restoration, implantation and their controls: judges whose answers can be computed by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.explain.benchmark.faithfulness import few, fill, order_of, single
from resgat_pl.explain.benchmark.swaps import DRAWS, Pairs, control_scores, excess, swap_scores
from resgat_pl.nn.node_geometry import Lattice

GRID = Lattice.even(7, 7)
FORGED = (10, 11, 17, 18, 24)
"""Nodes that differ between fake and genuine face, as many as ``few``."""


class CountingJudge:
    """The number of forged nodes, 0 to 5: a cell is forged where it is brighter than a half."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        cells = images.mean(dim=1).reshape(-1, 7, 4, 7, 4).mean(dim=(2, 4)).flatten(1)
        return (cells > 0.5).sum(dim=1).float()


def pairs(judge: Any, count: int = 3, cut: float = 2.5) -> Pairs:
    generator = torch.Generator().manual_seed(0)
    reals = torch.rand(count, 3, 28, 28, generator=generator) * 0.4
    chosen = torch.zeros(count, 49, dtype=torch.bool)
    chosen[:, list(FORGED)] = True
    fakes = fill(reals, 0.6 + reals, chosen, GRID)
    return Pairs(judge, fakes, reals, judge(fakes), judge(reals), cut, GRID, batch_size=16)


def order(first: list[int], count: int = 3) -> Tensor:
    rest = [node for node in range(49) if node not in first]
    return torch.tensor([[*first, *rest]]).expand(count, -1)


def test_the_forged_nodes_turn_both_verdicts_and_carry_all() -> None:
    found = swap_scores(pairs(CountingJudge()), order(list(FORGED)))
    for name in ("flips", "implanted", "sufficiency"):
        assert found[name].tolist() == [1.0] * 3


def test_clean_nodes_turn_nothing() -> None:
    found = swap_scores(pairs(CountingJudge()), order([0, 1, 2, 3, 4]))
    for name in ("flips", "implanted", "sufficiency"):
        assert found[name].tolist() == [0.0] * 3


@pytest.mark.parametrize("hits", range(6))
def test_a_part_of_the_nodes_carries_its_share(hits: int) -> None:
    some = [*FORGED[:hits], *range(5 - hits)]
    found = swap_scores(pairs(CountingJudge()), order(some))
    assert found["sufficiency"].tolist() == pytest.approx([hits / 5] * 3)
    assert found["flips"].tolist() == [float(5 - hits <= 2.5)] * 3
    assert found["implanted"].tolist() == [float(hits > 2.5)] * 3


def test_verdicts_turn_only_where_the_genuine_face_is_called_genuine() -> None:
    given = pairs(CountingJudge(), cut=-1)  # everything is called fake
    found = swap_scores(given, order(list(FORGED)))
    assert found["flips"].isnan().all()
    assert found["implanted"].isnan().all()
    assert found["sufficiency"].tolist() == [1.0] * 3
    controls = control_scores(given, 0, range(3))
    assert controls["flips_random"].isnan().all()
    assert controls["sufficiency_centre"].isfinite().all()


def test_implanting_nodes_is_restoring_all_others() -> None:
    given = pairs(CountingJudge())
    chosen = torch.rand(3, 4, 49, generator=torch.Generator().manual_seed(1)) > 0.5
    assert given.implanted(chosen).equal(given.restored(~chosen))


def test_random_nodes_score_what_chance_does() -> None:
    given = pairs(CountingJudge(), count=60)
    found = control_scores(given, 0, range(60))
    assert found["sufficiency_random"].mean().item() == pytest.approx(few(49) / 49, abs=0.02)
    # Turned where three or more of five drawn nodes are forged: the hypergeometric distribution.
    chance = sum(math.comb(5, k) * math.comb(44, 5 - k) for k in (3, 4, 5)) / math.comb(49, 5)
    assert found["flips_random"].mean().item() == pytest.approx(chance, abs=0.01)
    assert (found["sufficiency_random"] * DRAWS * 5 % 1).allclose(torch.zeros(60).double(), atol=1e-6)


def test_random_nodes_belong_to_the_seed_and_to_the_face() -> None:
    given = pairs(CountingJudge(), count=4)
    numbers = [7, 3, 9, 4]
    found = control_scores(given, 0, numbers)["sufficiency_random"]
    assert found.equal(control_scores(given, 0, numbers)["sufficiency_random"])
    assert len({*found.tolist()}) > 1
    seeds = [control_scores(given, seed, numbers)["sufficiency_random"].tolist() for seed in range(4)]
    assert all(one != other for one, other in itertools.pairwise(seeds))


def test_central_nodes_are_those_in_the_middle() -> None:
    found = control_scores(pairs(CountingJudge()), 0, range(3))
    # 24 is the middle; of its neighbours 17, 23, 25, 31 one is forged: two of five.
    assert found["sufficiency_centre"].tolist() == pytest.approx([0.4] * 3)
    assert found["flips_centre"].tolist() == [0.0] * 3


def test_the_excess_is_face_by_face() -> None:
    given = pairs(CountingJudge())
    scores = {name: values.numpy() for name, values in swap_scores(given, order(list(FORGED))).items()}
    controls = {name: values.numpy() for name, values in control_scores(given, 0, range(3)).items()}
    found = excess(scores, controls)
    assert found["sufficiency_over_centre"].tolist() == pytest.approx([0.6] * 3)
    assert found["flips_over_random"].tolist() == (1 - controls["flips_random"]).tolist()


def test_pictures_that_come_out_alike_are_judged_once() -> None:
    judge = CountingJudge()
    given = pairs(judge)
    judge.seen = 0
    effects = single(judge, given.fakes, given.reals, GRID)
    assert judge.seen == 3 * (1 + len(FORGED))  # the fake itself, and each node that differs
    expected = torch.zeros(3, 49)
    expected[:, list(FORGED)] = 1
    assert effects.equal(expected)
    judge.seen = 0
    swap_scores(given, order_of(torch.zeros(3, 7, 7))[:, torch.randperm(49)])
    assert judge.seen < 3 * 9
