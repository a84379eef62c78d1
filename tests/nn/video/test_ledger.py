"""The ledger of clips adds up, and every temporal part does what it says of the order and the change of frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.ledger import clip_ledger
from resgat_pl.nn.video.net import VideoResGAT

SMALL: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 64}


def made(temporal: Any, **more: Any) -> VideoResGAT:
    """A detector in float64 whose temporal part is not at its start, where it is zero."""
    torch.manual_seed(0)
    net = VideoResGAT(temporal, clip_frames=5, window=2, **{**SMALL, **more}).double().eval()
    for name, weight in net.named_parameters():
        if name.startswith(("temporal", "head", "gat")):
            torch.nn.init.normal_(weight, std=0.5)
    return net.requires_grad_(False)


def nodes(clips: int = 3, frames: int = 5, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(clips, frames, 16, 256, generator=random, dtype=torch.float64)


@pytest.mark.parametrize(("attention", "head"), [("gatv1", "linear"), ("gatv2", "mlp"), ("gatv2", "normalised")])
@pytest.mark.parametrize("temporal", ["mean", "attention", "spacetime"])
def test_frames_and_nodes_add_up_to_the_logit(temporal: str, head: str, attention: str) -> None:
    net = made(temporal, head=head, attention=attention)
    found = clip_ledger(net, nodes())
    assert torch.equal(found.logit, net.forward_nodes(nodes()).logit)
    assert float((found.cell.sum((1, 2)) + found.bias - found.logit).abs().max()) < 1e-12
    assert float((found.frame.sum(1) + found.bias - found.logit).abs().max()) < 1e-12
    assert float(found.frame.std()) > 1e-3, "frames differ in what they add"
    shares = torch.rand(3, 5, 4, 16, dtype=torch.float64)
    shares = shares / shares.sum(dim=2, keepdim=True)
    assert torch.allclose(found.regions(shares).sum(2), found.frame)


@pytest.mark.parametrize("temporal", ["mean", "attention", "spacetime"])
def test_training_starts_from_the_mean_of_the_frames(temporal: str) -> None:
    torch.manual_seed(0)
    net = VideoResGAT(temporal, **SMALL).double().eval()
    frames = ResGAT(**SMALL).double().eval()
    frames.load_state_dict({name: value for name, value in net.state_dict().items() if "temporal" not in name})
    images = torch.rand(2, 3, 3, 64, 64, dtype=torch.float64)
    one_by_one = torch.stack([frames(images[:, place]).logit for place in range(3)], dim=1)
    assert torch.allclose(net(images).logit, one_by_one.mean(dim=1), atol=1e-12)
    assert torch.allclose(net(images[:, 0]).logit, one_by_one[:, 0], atol=1e-12), "an image is a clip of one frame"


def test_mean_is_the_mean_with_any_weights() -> None:
    net = made("mean")
    every = torch.stack([net.forward_nodes(nodes()[:, place]).logit for place in range(5)], dim=1)
    found = clip_ledger(net, nodes())
    assert torch.allclose(found.logit, every.mean(dim=1), atol=1e-12)
    assert torch.allclose(found.bias[:, None] + 5 * found.frame, every, atol=1e-12), "a frame's logit is its own"


@pytest.mark.parametrize(("temporal", "matters"), [("mean", False), ("spacetime", True), ("lstm", True)])
def test_order_of_frames(temporal: str, matters: bool) -> None:
    net = made(temporal)
    shuffled = net.forward_nodes(nodes()[:, [2, 0, 4, 1, 3]]).logit
    gap = float((shuffled - net.forward_nodes(nodes()).logit).abs().min())
    assert gap > 1e-4 if matters else gap < 1e-12


def test_a_steady_face_sends_nothing_over_time() -> None:
    net = made("spacetime")
    steady = nodes()[:, :1].expand(-1, 5, -1, -1)
    found = clip_ledger(net, steady)
    assert not found.edge.any()
    assert torch.allclose(found.logit, net.forward_nodes(steady[:, 0]).logit, atol=1e-12)
    flickering = steady.clone()
    flickering[:, 2, 7] += 1.0  # one place in one frame
    edge = clip_ledger(net, flickering).edge
    changed = edge.ne(0)[0].nonzero().tolist()
    assert changed == [[1, 7, 1], [2, 7, 0], [2, 7, 1], [3, 7, 0]], "it, and its two neighbours in time"


def test_attention_reaches_no_further_than_its_window() -> None:
    net = made("attention")
    found = net.temporal.attention(torch.rand(1, 7, 8, dtype=torch.float64))
    near = (torch.arange(7)[:, None] - torch.arange(7)).abs() <= 2
    assert torch.equal(found[0].ne(0).all(dim=-1), near)
    assert torch.allclose(found.sum(dim=2), torch.ones(1, 7, 4, dtype=torch.float64))


@pytest.mark.parametrize("temporal", ["mean", "attention", "spacetime", "lstm"])
def test_other_clips_of_the_batch_change_nothing(temporal: str) -> None:
    net = made(temporal)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(net.forward_nodes(nodes()[order]).logit, net.forward_nodes(nodes()).logit[order], atol=1e-12)


def test_lstm_refuses_by_name() -> None:
    net = made("lstm")
    assert not net.is_additive
    with pytest.raises(ConfigError, match=r"lstm \(FrameLSTM\) has no additive form.*frame_shapley"):
        clip_ledger(net, nodes())


def test_the_first_frame_receives_from_the_next_alone() -> None:
    net = made("spacetime")
    part, clip = net.temporal, nodes(clips=1, frames=2)
    change = part.get_submodule("value")(clip[0, 1] - clip[0, 0]).unflatten(-1, (4, 32))
    score = (torch.nn.functional.leaky_relu(change, 0.2) * part.get_parameter("score")).sum(-1)
    received = score.exp() / (1 + score.exp())  # against itself, whose score is 0
    wanted = (received * (change * part.get_parameter("read")).sum(-1)).sum(-1) / (2 * 16)
    found = clip_ledger(net, clip).edge
    assert torch.allclose(found[0, 0, :, 1], wanted)
    assert not found[0, 0, :, 0].any() and not found[0, 1, :, 1].any(), "nothing from before or after the clip"
