from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.mask_guidance import guidance_loss
from resgat_pl.nn.resgat import ResGAT


def faces(seed: int, nodes: int = 49) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    contribution = torch.randn(6, nodes, generator=generator)
    cover = (torch.rand(6, nodes, generator=generator) * 1.5 - 0.7).clamp(0, 1)
    return contribution, cover, torch.ones(6, dtype=torch.bool)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_gradient_lifts_forged_nodes_and_draws_clean_ones_to_zero(seed: int) -> None:
    contribution, cover, known = faces(seed)
    contribution.requires_grad_()
    guidance_loss(contribution, cover, known).backward()
    gradient = contribution.grad
    assert gradient is not None
    forged, clean = cover > 0.2, cover <= 0.02
    assert (gradient[forged] < 0).all()
    assert (gradient[clean].sign() == contribution[clean].sign()).all()
    assert (gradient[~forged & ~clean] == 0).all()


def test_faces_of_unknown_masks_take_no_part() -> None:
    contribution, cover, known = faces(1)
    known[3:] = False
    alone = guidance_loss(contribution[:3], cover[:3], known[:3])
    assert torch.equal(guidance_loss(contribution, cover, known), alone)
    assert guidance_loss(contribution, cover, torch.zeros(6, dtype=torch.bool)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_finer_grid_of_the_same_face_has_the_same_loss(seed: int) -> None:
    """Each node split into four, each of which brings a quarter."""
    contribution, cover, known = faces(seed)

    def split(nodes: torch.Tensor) -> torch.Tensor:
        square = nodes.reshape(-1, 7, 7)
        return square.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)

    fine = guidance_loss(split(contribution) / 4, split(cover), known)
    torch.testing.assert_close(fine, guidance_loss(contribution, cover, known))


def test_nothing_to_say_about_a_genuine_face_is_best() -> None:
    known, cover = torch.ones(1, dtype=torch.bool), torch.zeros(1, 49)
    silent = guidance_loss(torch.zeros(1, 49), cover, known)
    for value in (-0.5, 0.5):
        assert guidance_loss(torch.full((1, 49), value), cover, known) > silent


@pytest.mark.parametrize(
    ("attention", "head"), [pytest.param("gatv1", "mlp", marks=pytest.mark.long), ("gatv2", "linear")]
)
def test_training_moves_the_contributions_onto_the_mask_and_keeps_them_exact(attention: str, head: str) -> None:
    torch.manual_seed(0)
    net = ResGAT(attention, "resnet18", encoder_stage=3, heads=2, hidden=16, image_size=64, head=head)  # type: ignore[arg-type]
    images, cover = torch.rand(8, 3, 64, 64), torch.zeros(8, 16)
    cover[torch.arange(4), torch.tensor([0, 5, 10, 15])] = 1  # the other four are genuine
    images[:4] += torch.nn.functional.interpolate(cover[:4].reshape(4, 1, 4, 4), (64, 64)) * 0.5
    known = torch.ones(8, dtype=torch.bool)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = guidance_loss(contributions(net, images.clamp(0, 1)).node, cover, known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = contributions(net, images.clamp(0, 1))
    assert losses[-1] < losses[0] / 2
    assert found.node[:4].argmax(dim=1).tolist() == [0, 5, 10, 15]
    torch.testing.assert_close(found.node.sum(dim=1) + found.bias, found.output.logit, rtol=1e-4, atol=1e-4)
