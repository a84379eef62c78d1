from __future__ import annotations

import pytest
import torch

from resgat_pl.nn.routing import route


def test_one_round_hears_every_vote_for_both_alike() -> None:
    votes, heard = torch.randn(2, 5, 3, 2, 4).double(), torch.rand(2, 5, 3).double()
    found = route(votes, heard, torch.zeros(3, 2, 4).double(), rounds=1)
    assert found.routing is not None
    assert not found.routing.any()
    sums = 0.5 * (heard[..., None, None] * votes).sum(dim=(1, 2))
    torch.testing.assert_close(found.logit, sums[:, 0].norm(dim=1) - sums[:, 1].norm(dim=1))


def test_votes_that_agree_are_routed_to_what_they_agree_on() -> None:
    """Four nodes agree on *fake* and contradict each other on *real*; one does the reverse to them."""
    agree = torch.tensor([1.0, 0.0])
    votes = torch.zeros(1, 5, 1, 2, 2)
    votes[0, :4, 0, 0] = 3 * agree
    votes[0, :4, 0, 1] = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    votes[0, 4, 0, 0] = -3 * agree
    found = route(votes, torch.full((1, 5, 1), 0.2), torch.zeros(1, 2, 2), rounds=3)
    assert found.routing is not None
    assert (found.routing[0, :4, 0] > 0.3).all()
    assert found.routing[0, 4, 0] < -0.3
    assert found.logit > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_sum_is_the_logit_in_every_precision_and_of_nothing_too(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for size in (0.0, 1e-6, 1.0, 100.0):
        votes, heard = (size * torch.randn(2, 5, 3, 2, 4)).to(dtype), torch.rand(2, 5, 3).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = route(votes, heard, votes[0, 0], rounds=3)
        total = (heard * found.value).sum(dim=(1, 2)) + found.bias
        torch.testing.assert_close(total, found.logit, atol=1e-5 * size, rtol=1e-4)


def test_gradients_of_nothing_are_finite() -> None:
    votes = torch.zeros(1, 4, 2, 2, 3, requires_grad=True)
    found = route(votes, torch.ones(1, 4, 2), torch.zeros(2, 2, 3), rounds=3)
    (found.logit.sum() + found.value.sum()).backward()
    assert votes.grad is not None
    assert votes.grad.isfinite().all()
