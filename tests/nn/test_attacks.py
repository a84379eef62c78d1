from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.attacks import fgsm, map_attack, pgd, square
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

from .conftest import enliven

LABEL = torch.tensor([1.0, 0.0])


def small() -> ResGAT:
    torch.manual_seed(0)
    net = ResGAT("gatv2", "resnet18", encoder_stage=3, heads=2, hidden=4, image_size=32)
    with torch.no_grad():
        net.backbone(torch.rand(4, 3, 32, 32))
    enliven(net.gat)
    return net.eval()


def attacks(net: ResGAT) -> dict[str, Callable[[Tensor, float], Tensor]]:
    def logit(x: Tensor) -> Tensor:
        return net(x).logit

    return {
        "fgsm": lambda x, eps: fgsm(logit, x, LABEL, eps),
        "pgd": lambda x, eps: pgd(logit, x, LABEL, eps, steps=4),
        "square": lambda x, eps: square(logit, x, LABEL, eps, queries=6),
        "map": lambda x, eps: map_attack(net, x, eps, steps=4),
    }


def loss(net: ResGAT, images: Tensor) -> Tensor:
    with torch.no_grad():
        return F.binary_cross_entropy_with_logits(net(images).logit, LABEL, reduction="none")


@pytest.mark.parametrize("name", ["fgsm", "pgd", "square", "map"])
@given(eps=st.sampled_from([0.0, 1 / 255, 8 / 255, 0.3]), seed=st.integers(0, 99), dark=st.booleans())
@settings(max_examples=3, deadline=None)
def test_pictures_stay_in_the_ball_and_in_range(name: str, eps: float, seed: int, dark: bool) -> None:
    net = small()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    images = images * 0.02 if dark else images
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = attacks(net)[name](images, eps)
    assert found.shape == images.shape and not found.requires_grad
    assert float((found - images).abs().max()) <= eps + 1e-6
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    # the network is as it was, and has no gradients
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["pgd", "fgsm", "square"])
def test_the_loss_of_no_picture_falls(name: str) -> None:
    net, images = small(), torch.rand(2, 3, 32, 32)
    found = attacks(net)[name](images, 8 / 255)
    assert (loss(net, found) >= loss(net, images)).all()
    assert (loss(net, found) > loss(net, images) + 1e-4).any()


@pytest.mark.parametrize("seed", range(3))
def test_pgd_is_never_weaker_than_fgsm(seed: int) -> None:
    net = small()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    one, several = (loss(net, attacks(net)[name](images, 4 / 255)) for name in ("fgsm", "pgd"))
    assert (several >= one).all() and (several > one).any()


def test_the_attack_on_the_map_leaves_the_logit() -> None:
    net, images = small(), torch.rand(2, 3, 32, 32)
    found = map_attack(net, images, 8 / 255, steps=8)
    before, after = contributions(net, images), contributions(net, found)
    assert ((after.output.logit - before.output.logit).abs() <= 0.0501).all()
    likeness = F.cosine_similarity(after.node, before.node, dim=1)
    assert float(likeness.detach().min()) < 0.999
    random = (images + (torch.rand_like(images) - 0.5) * 16 / 255).clamp(0, 1)
    shaken = F.cosine_similarity(contributions(net, random).node, before.node, dim=1)
    assert likeness.detach().mean() < shaken.detach().mean()


def test_squares_of_a_seed_are_the_same() -> None:
    net, images = small(), torch.rand(2, 3, 32, 32)
    given: dict[str, Any] = {"eps": 8 / 255, "queries": 5}
    found = [square(lambda x: net(x).logit, images, LABEL, seed=seed, **given) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_sizes_out_of_range() -> None:
    for eps, steps in ((-0.1, 1), (1.1, 1), (0.1, 0)):
        with pytest.raises(ConfigError, match="need eps from 0 to 1"):
            pgd(lambda x: x.sum((1, 2, 3)), torch.rand(1, 3, 4, 4), torch.ones(1), eps, steps)


def test_of_a_clip_all_frames_are_taken_or_none() -> None:
    """As many clips as frames: a mask of clips would also fit the frames."""
    net = VideoResGAT("mean", clip_frames=2, encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=32)
    enliven(net.gat)
    clips = torch.rand(2, 2, 3, 32, 32)
    together = pgd(lambda x: net.eval()(x).logit, clips, LABEL, 0.02, steps=3)
    alone = [pgd(lambda x: net(x).logit, clips[i : i + 1], LABEL[i : i + 1], 0.02, steps=3) for i in range(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    three = pgd(lambda x: net(x).logit, torch.rand(2, 3, 3, 32, 32), LABEL, 0.02, steps=1)
    assert three.shape == (2, 3, 3, 32, 32)
