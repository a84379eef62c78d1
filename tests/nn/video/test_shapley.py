"""Shapley values of frames: those of a sum are its terms, and they add up to any logit."""

from __future__ import annotations

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.video.shapley import frame_shapley
from resgat_pl.nn.video.temporal import Frames, TemporalPart

from .test_ledger import made, nodes


class Total(TemporalPart):
    """A game with a known answer: the sum of the frames, and 6 for having both the first and the last."""

    def forward(self, head: object, frames: Frames) -> torch.Tensor:
        value = frames.nodes[:, :, 0, 0]
        return value.sum(dim=1) + 6.0 * (value.eq(1).any(1) & value.eq(4).any(1))

    def empty(self, head: object, frames: Frames) -> torch.Tensor:
        return torch.zeros(len(frames.nodes), dtype=frames.nodes.dtype)


@pytest.mark.parametrize("count", [4, 13])
def test_a_known_game(count: int) -> None:
    net = made("mean")
    net.temporal = Total()
    clip = nodes(frames=count)[0]
    clip[:, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0] + 9 * [0.5])[:count]
    found = frame_shapley(net, clip)
    wanted = torch.tensor([4.0, 2.0, 3.0, 7.0] + 9 * [0.5], dtype=torch.float64)[:count]
    assert torch.allclose(found.share, wanted, atol=1e-12), "each order and its reverse share the 6 evenly"


@pytest.mark.parametrize(("count", "sets"), [(5, 32), (14, None)])
def test_lstm_adds_up(count: int, sets: int | None) -> None:
    net = made("lstm")
    clip = nodes(frames=count)[0]
    found = frame_shapley(net, clip, orders=8)
    assert torch.allclose(found.share.sum() + found.bias, net.forward_nodes(clip[None]).logit[0], atol=1e-12)
    assert found.evaluations == sets or (sets is None and found.evaluations < 8 * 14)
    assert float(found.share.std()) > 1e-4


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="even number"):
        frame_shapley(made("lstm"), nodes()[0], orders=3)
    with pytest.raises(ConfigError, match="without frames"):
        frame_shapley(made("lstm"), nodes()[0][:0])
