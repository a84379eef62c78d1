from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.losses import EdgeBottleneck

from ...helpers.loss_steps import loss_step, paired_batch
from .test_node_mask import masked_net


def test_it_is_the_divergence_of_the_gates_from_the_prior() -> None:
    net = masked_net("none", bottleneck=True)
    step = loss_step(net, paired_batch())
    assert step.found.kept is not None
    for prior in (0.3, 0.5):
        expected = kl_divergence(Bernoulli(step.found.kept), Bernoulli(torch.tensor(prior))).mean()
        torch.testing.assert_close(EdgeBottleneck(prior=prior)(step), expected)


def test_it_is_of_the_probability_and_not_of_the_draw() -> None:
    net = masked_net("none", bottleneck=True).eval()
    batch = paired_batch()
    expected = EdgeBottleneck()(loss_step(net, batch))
    assert net.edge_gate is not None
    net.edge_gate.train()
    first, second = loss_step(net, batch), loss_step(net, batch)
    assert not torch.equal(first.graph.kept, second.graph.kept)  # type: ignore[arg-type]
    torch.testing.assert_close(EdgeBottleneck()(first), expected)
    torch.testing.assert_close(EdgeBottleneck()(second), expected)


def test_gates_that_are_certain_have_a_finite_loss() -> None:
    net = masked_net("none", bottleneck=True)
    assert net.edge_gate is not None
    for value in (-200.0, 200.0):
        with torch.no_grad():
            net.edge_gate.out.bias.fill_(value)
        loss = EdgeBottleneck()(loss_step(net, paired_batch()))
        torch.testing.assert_close(loss, torch.tensor(2.0).log())


def test_what_is_no_probability() -> None:
    for prior in (0.0, 1.0):
        with pytest.raises(ConfigError, match=r"EdgeBottleneck\.prior"):
            EdgeBottleneck(prior=prior)
