from __future__ import annotations

from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.losses.adversarial import Trades, binary_divergence
from resgat_pl.training.module import ResGATModule

from ...helpers.loss_steps import loss_step, paired_batch, small_net


def test_nothing_attacked_is_the_plain_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResGATModule, "log", lambda *_, **__: None)
    net, given = small_net(), paired_batch()
    batch: Any = given
    plain = ResGATModule(net).training_step(batch, 0)
    trades = ResGATModule(net, losses=[Trades(weight=6, eps=0)]).training_step(batch, 0)
    torch.testing.assert_close(trades, plain)
    attacked = ResGATModule(net, losses=[Trades(weight=6, eps=8)]).training_step(batch, 0)
    assert float(attacked.detach()) > float(plain.detach())


def test_divergence_is_that_of_two_bernoullis() -> None:
    one, other = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 3.0])
    kinds = [torch.distributions.Bernoulli(logits=logit) for logit in (one, other)]
    expected = torch.distributions.kl_divergence(*kinds).mean()
    torch.testing.assert_close(binary_divergence(one, other), expected)


def test_training_it_lowers_it_and_batch_statistics_of_the_attack_stay_out() -> None:
    net = small_net()  # in evaluation mode
    loss = Trades(eps=8, steps=2)
    batch = paired_batch(2)
    before = net.state_dict()["backbone.1.running_mean"].clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    values = []
    for _ in range(6):
        value = loss(loss_step(net, batch))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]
    assert torch.equal(net.state_dict()["backbone.1.running_mean"], before)


def test_what_cannot_be_attacked() -> None:
    with pytest.raises(ConfigError, match="need eps from 0 to 255"):
        Trades(eps=-1)
    data: Any = Namespace(features_cache="f")
    with pytest.raises(ConfigError, match="has Trades, which attacks pictures"):
        Trades().prepare(small_net(), data)
