"""Attacks on a detector in pixels, within an eps-ball of the maximum norm: on its logit, and on its map alone.

- FGSM: one step along the sign of the gradient (Goodfellow et al., "Explaining and Harnessing Adversarial Examples",
  ICLR 2015).
- PGD: several, projected back (Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR
  2018). The first is FGSM's, and the strongest picture on the way is returned, so it is never weaker than FGSM.
- Square: no gradient, random squares (Andriushchenko et al., "Square Attack", ECCV 2020), with a fixed budget.
- Map: changes the contributions and leaves the logit as it is.

All of them return pictures in [0, 1] that differ by at most eps, and leave the network's gradients alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT

LogitOf = Callable[[Tensor], Tensor]
"""Images ``(B, 3, H, W)`` float in [0, 1] → logits ``(B,)``."""
_STEP: Final = 2.5
"""Steps add up to this multiple of eps, so that the border can be reached from everywhere (Madry et al.)."""
_SQUARE: Final = 0.3
"""Side of the first squares, as a share of the picture's; later ones are smaller."""
_SAME: Final = 0.05
"""Change of the logit that an attack on the map may make."""


def fgsm(logit_of: LogitOf, images: Tensor, label: Tensor, eps: float) -> Tensor:
    """One step of the size eps along the sign of the gradient of the loss.

    Args:
        logit_of: The network, in evaluation mode.
        images: ``(B, 3, H, W)`` float in [0, 1].
        label: ``(B,)`` float, 1 = fake.
        eps: Largest change of a value, in [0, 1]; the field gives it in 255ths.

    Returns:
        ``(B, 3, H, W)`` float in [0, 1].

    Example:
        >>> images, label = torch.full((1, 3, 2, 2), 0.5), torch.ones(1)
        >>> fgsm(lambda x: x.sum((1, 2, 3)), images, label, 0.25).unique()
        tensor([0.2500])
    """
    return pgd(logit_of, images, label, eps, steps=1)


def pgd(logit_of: LogitOf, images: Tensor, label: Tensor, eps: float, steps: int = 10) -> Tensor:
    """Projected gradient ascent of the loss; arguments and result as of ``fgsm``.

    Raises:
        ConfigError: eps or the number of steps is out of range.
    """
    _check(eps, steps)
    return _ascend(lambda x: _losses(logit_of(x), label), images, eps, steps)


def square(logit_of: LogitOf, images: Tensor, label: Tensor, eps: float, queries: int = 100, seed: int = 0) -> Tensor:
    """Random search without gradients; arguments and result as of ``fgsm``.

    Stripes first, then squares of one colour each, ±eps; what raises the loss of a picture is kept.

    Args:
        logit_of: The network, in evaluation mode.
        images: Pictures.
        label: Theirs.
        eps: Largest change.
        queries: Forward passes.
        seed: Of the squares.
    """
    _check(eps, queries)
    generator = torch.Generator().manual_seed(seed)
    count, channels, height, width = images.shape

    def signs(*shape: int) -> Tensor:
        return (2.0 * torch.randint(0, 2, shape, generator=generator) - 1).to(images)

    with torch.no_grad():
        best, most = images, _losses(logit_of(images), label)
        tried = (images + eps * signs(count, channels, 1, width)).clamp(0, 1)
        for query in range(queries):
            loss = _losses(logit_of(tried), label)
            better = loss > most
            best = torch.where(better[:, None, None, None], tried, best)
            most = torch.where(better, loss, most)
            side = max(1, round(_SQUARE * min(height, width) * (1 - query / queries) ** 2))
            tried = best.clone()
            rows = torch.randint(0, height - side + 1, (count,), generator=generator).tolist()
            columns = torch.randint(0, width - side + 1, (count,), generator=generator).tolist()
            colour = signs(count, channels, 1, 1)
            for place, (row, column) in enumerate(zip(rows, columns, strict=True)):
                part = (place, slice(None), slice(row, row + side), slice(column, column + side))
                tried[part] = (images[part] + eps * colour[place]).clamp(0, 1)
    return best


def map_attack(net: ResGAT, images: Tensor, eps: float, steps: int = 10, same: float = _SAME) -> Tensor:
    """Change the contributions as far as possible while the logit stays: is the map as stable as the verdict?

    Gradient descent of the cosine between the contributions and what they were, along the surface on which the logit is
    constant (without the part of the gradient along the logit's), with a step back towards it. Of the pictures on the
    way the one with the least cosine is returned whose logit changed by at most ``same``; where there is none, the
    picture as it was.

    Args:
        net: In evaluation mode.
        images: ``(B, 3, H, W)`` float in [0, 1].
        eps: Largest change of a value.
        steps: Forward and backward passes.
        same: Largest change of the logit, in logits.
    """
    _check(eps, steps)
    images = images.detach()
    with torch.no_grad():
        before = contributions(net, images)
    node, logit = before.node, before.output.logit
    best, least, current = images, torch.ones_like(logit), images
    for _ in range(steps):
        with torch.enable_grad():
            given = current.clone().requires_grad_()
            found = contributions(net, given)
            likeness = F.cosine_similarity(found.node, node, dim=1)
            (along,) = torch.autograd.grad(likeness.sum(), given, retain_graph=True)
            (up,) = torch.autograd.grad(found.output.logit.sum(), given)
        size = up.square().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        along = along - (along * up).sum(dim=(1, 2, 3), keepdim=True) / size * up
        along = along / along.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        drift = (found.output.logit - logit).detach()[:, None, None, None]
        moved = current - _STEP * eps / steps * along - drift / size * up
        current = _within(moved, images, eps)
        with torch.no_grad():
            after = contributions(net, current)
            value = F.cosine_similarity(after.node, node, dim=1)
        better = (value < least) & ((after.output.logit - logit).abs() <= same)
        best = torch.where(better[:, None, None, None], current, best)
        least = torch.where(better, value, least)
    return best


def _ascend(goal: Callable[[Tensor], Tensor], images: Tensor, eps: float, steps: int) -> Tensor:
    """Pictures on the way up a goal ``(B,)``: of each the best."""
    images = images.detach()
    with torch.no_grad():
        best, most = images, goal(images)
    current = images
    for step in range(steps if eps > 0 else 0):
        with torch.enable_grad():
            given = current.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(goal(given).sum(), given)
        length = eps if step == 0 else _STEP * eps / steps
        current = _within(current + length * gradient.sign(), images, eps)
        with torch.no_grad():
            value = goal(current)
        better = value > most
        best = torch.where(better.reshape(-1, *[1] * (images.ndim - 1)), current, best)  # of clips all frames
        most = torch.where(better, value, most)
    return best


def _within(moved: Tensor, images: Tensor, eps: float) -> Tensor:
    """The nearest pictures in [0, 1] within eps of others."""
    return torch.maximum(torch.minimum(moved, images + eps), images - eps).clamp(0, 1).detach()


def _losses(logit: Tensor, label: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, label.to(logit.dtype), reduction="none")


def _check(eps: float, steps: int) -> None:
    if not 0 <= eps <= 1 or steps < 1:
        raise ConfigError(f"An attack has eps {eps} and {steps} steps: need eps from 0 to 1 and at least one step.")
