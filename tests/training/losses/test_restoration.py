from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.contribution import Contributions
from resgat_pl.nn.mask_guidance import SCALE
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import LossInput
from resgat_pl.training.losses.restoration import Restoration, choose_nodes

from ...helpers.loss_steps import loss_step, paired_batch, small_net


def mixtures(monkeypatch: pytest.MonkeyPatch, net: ResGAT, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The pictures that the loss makes."""
    seen = []
    decompose = LossInput.decompose
    monkeypatch.setattr(LossInput, "decompose", lambda self, images: seen.append(images) or decompose(self, images))
    torch.manual_seed(1)
    Restoration()(loss_step(net, batch))
    return seen[0]


def test_a_mixture_has_whole_cells_of_either_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = paired_batch(6)
    pictures = mixtures(monkeypatch, small_net(), batch)
    fake, genuine = batch["image"][0::2], batch["image"][1::2]
    altered = (fake != genuine).any(dim=1)
    of_fake, of_genuine = ((pictures == one).all(dim=1) for one in (fake, genuine))
    assert (of_fake | of_genuine).all()
    restored = (of_genuine & altered).any(dim=(1, 2))
    left = (of_fake & altered).any(dim=(1, 2))
    assert restored.any() and left.any()
    cells = small_net().lattice(64, 64).cells(64, 64)
    for node in range(16):  # a cell is of one partner
        inside = (cells == node) & altered
        whole = torch.stack([(of_genuine & inside).sum(dim=(1, 2)), (of_fake & inside).sum(dim=(1, 2))])
        assert (whole.amin(dim=0) == 0).all()


def test_partners_that_are_equal_leave_nothing_to_learn_of_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = paired_batch(3)
    batch["image"][0::2] = batch["image"][1::2]
    batch["mask_known"][:] = False  # what remains is the difference from the expected contributions
    assert float(Restoration()(loss_step(small_net(), batch)).detach()) == pytest.approx(0, abs=1e-9)
    batch["image"][0::2] += 0.5
    assert float(Restoration()(loss_step(small_net(), batch)).detach()) > 1e-6


def test_small_errors_of_all_nodes_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partners that are equal, so that contributions and effects should not move, and do: by ``shift`` at each node."""
    batch, net, shift = paired_batch(3), small_net(), 0.01
    batch["image"][0::2] = batch["image"][1::2]
    batch["mask_known"][:] = False
    decompose = LossInput.decompose

    def shifted(self: LossInput, images: torch.Tensor) -> Contributions:
        found = decompose(self, images)
        node = found.node + shift
        output = found.output._replace(logit=found.output.logit + shift * node.shape[1])
        return found._replace(node=node, output=output)

    monkeypatch.setattr(LossInput, "decompose", shifted)
    losses = []
    for effect in (0, 1):
        torch.manual_seed(1)
        losses.append(float(Restoration(effect=effect)(loss_step(net, batch)).detach()))
    torch.manual_seed(1)
    step = loss_step(net, batch)
    size = choose_nodes(step.found.node[step.pairs.T[0]].detach(), step.lattice.shape).sum(dim=1)
    one = 0.5 * (shift * SCALE * 16) ** 2  # Huber loss of one node's error, a sixteenth of that of the logit
    assert losses[0] == pytest.approx(one, rel=1e-4)
    assert losses[1] - losses[0] == pytest.approx(float((one * 16**2 / size).mean()), rel=1e-4)


def test_the_weight_of_the_effect_is_a_weight() -> None:
    with pytest.raises(ConfigError, match="effect is -1"):
        Restoration(effect=-1)
    with pytest.raises(ConfigError, match="effect_from is 1"):
        Restoration(effect_from=1)


def test_the_effect_counts_from_its_share_of_the_training_on() -> None:
    batch, net = paired_batch(3), small_net()
    found = {}
    for effect, begin, progress in ((1, 0, 0.0), (1, 0.5, 0.49), (1, 0.5, 0.5), (0, 0, 1.0)):
        torch.manual_seed(1)
        step = replace(loss_step(net, batch), progress=progress)
        found[effect, begin, progress] = float(Restoration(effect=effect, effect_from=begin)(step).detach())
    with_it, before, after, without = found.values()
    assert with_it == after != before == without


def test_a_batch_without_pairs_has_none() -> None:
    batch = paired_batch(2)
    batch["label"] = torch.zeros(4)
    assert float(Restoration()(loss_step(small_net(), batch)).detach()) == 0


def test_nodes_are_chosen_in_three_ways() -> None:
    torch.manual_seed(0)
    contribution = torch.randn(300, 100)
    chosen = choose_nodes(contribution, (10, 10))
    count = chosen.sum(dim=1)
    assert (count >= 1).all() and (count <= 99).all()
    largest, single, patches = (slice(way, None, 3) for way in range(3))
    assert int(count[largest].max()) == int(count[single].max()) == 10
    assert float(count[patches].double().mean()) == pytest.approx(50, abs=10)
    top = contribution[largest].topk(10, dim=1).indices
    assert all(
        set(one.nonzero().flatten().tolist()) <= set(most.tolist())
        for one, most in zip(chosen[largest], top, strict=True)
    )
    # neighbours of a chosen node are chosen more often in patches than at random
    square = chosen[patches].reshape(-1, 10, 10)
    half = (count[patches] > 30) & (count[patches] < 70)
    assert (square[half][:, 1:] == square[half][:, :-1]).float().mean() > 0.75
