"""Alignment and uniformity against values that are known, and in half precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.embedding_losses import alignment_loss, uniformity_loss


def by_definition(pooled: Tensor, labels: Tensor, t: float) -> tuple[float, float]:
    """Both losses, one pair at a time."""
    directions = pooled.double() / pooled.double().norm(dim=1, keepdim=True)
    aligned, potentials = [], []
    for i in range(len(pooled)):
        for j in range(i):
            distance = float((directions[i] - directions[j]).square().sum())
            potentials.append(math.exp(-t * distance))
            if labels[i] == labels[j]:
                aligned.append(distance)
    return sum(aligned) / len(aligned), math.log(sum(potentials) / len(potentials))


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_losses_are_those_of_the_paper(t: float) -> None:
    pooled, labels = 3 * torch.randn(9, 5), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1])
    aligned, uniform = by_definition(pooled, labels, t)
    assert float(alignment_loss(pooled, labels)) == pytest.approx(aligned, rel=1e-5)
    assert float(alignment_loss(pooled, labels.float())) == pytest.approx(aligned, rel=1e-5)
    assert float(uniformity_loss(pooled, t)) == pytest.approx(uniform, rel=1e-5)
    assert float(uniformity_loss(pooled.double(), t)) == pytest.approx(uniform, rel=1e-12)


def test_known_values() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    opposite = torch.tensor([east, [-2.0, 0.0]])
    assert float(alignment_loss(opposite, torch.tensor([1, 1]))) == pytest.approx(4)
    assert float(uniformity_loss(opposite)) == pytest.approx(-8)
    same = torch.tensor([east, east, east])
    assert float(alignment_loss(same, torch.zeros(3))) == 0
    assert float(uniformity_loss(same)) == 0
    corners = torch.tensor([east, north, [-1.0, 0.0], [0.0, -1.0]])  # 4 sides of length √2, 2 diagonals of length 2
    assert float(uniformity_loss(corners)) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    assert float(alignment_loss(corners, torch.tensor([0, 1, 0, 1]))) == pytest.approx(4)


def test_lengths_do_not_matter() -> None:
    pooled, labels = torch.randn(6, 8), torch.tensor([0, 0, 0, 1, 1, 1])
    lengths = torch.tensor([1e-2, 1.0, 10.0, 1e3, 1e5, 1e9])[:, None]
    torch.testing.assert_close(alignment_loss(lengths * pooled, labels), alignment_loss(pooled, labels))
    torch.testing.assert_close(uniformity_loss(lengths * pooled), uniformity_loss(pooled))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 0, 1, 1])
    pooled = (300 * torch.randn(4, 64)).to(dtype)  # the squares overflow float16
    exact = by_definition(pooled, labels, 2)
    found = alignment_loss(pooled, labels), uniformity_loss(pooled)
    assert [each.dtype for each in found] == [torch.float32] * 2
    assert [float(each) for each in found] == pytest.approx(exact, rel=1e-4)
    near = torch.ones(2, 64)
    near[1, 0] = 1.01
    with torch.autocast("cpu", dtype=torch.bfloat16):  # whose products have 8 bits
        distance = alignment_loss(near, torch.zeros(2))
    assert float(distance) == pytest.approx(by_definition(near, torch.zeros(2), 2)[0], abs=1e-6)
    assert float(distance) > 1e-6


def test_gradients_are_finite_and_pull_the_right_way() -> None:
    pooled = torch.randn(6, 4)
    pooled[0] = 0  # an image without features
    pooled[1] = pooled[2]  # and two that are alike
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    for loss in (lambda x: alignment_loss(x, labels), uniformity_loss):
        start = pooled.clone().requires_grad_()
        value = loss(start)
        (gradient,) = torch.autograd.grad(value, start)
        assert bool(gradient.isfinite().all())
        assert float(gradient[3:].abs().sum()) > 0
        step = pooled.clone()
        step[3:] -= 0.01 * gradient[3:]
        assert float(loss(step)) < float(value.detach())


@pytest.mark.parametrize("images", [0, 1, 2])
def test_batches_without_a_pair_have_no_loss(images: int) -> None:
    pooled = torch.randn(images, 4, requires_grad=True)
    found = alignment_loss(pooled, torch.arange(images))
    if images < 2:
        found = found + uniformity_loss(pooled)
    assert found.item() == 0
    found.backward()  # other losses of the batch may have gradients
    assert pooled.grad is not None
    assert float(pooled.grad.abs().sum()) == 0


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(3, 4\) and labels \(2,\)"):
        alignment_loss(torch.zeros(3, 4), torch.zeros(2))
    with pytest.raises(ConfigError, match=r"\(3,\); give \(B, F\)"):
        uniformity_loss(torch.zeros(3))
    with pytest.raises(ConfigError, match="temperature is 0"):
        uniformity_loss(torch.zeros(3, 4), 0)
