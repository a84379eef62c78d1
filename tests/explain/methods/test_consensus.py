"""The consensus of four methods, and its agreement against the definitions."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chi2, friedmanchisquare, rankdata

from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.metrics.rank import kendall_w, ranks, spearman
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods.consensus import METHODS, Consensus, consensus, least_agreement
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.nn.pooled import PooledClassifier

from ...helpers.nets import IMAGES, both_versions, every_head, make_net, make_trained, make_uniform


@pytest.mark.parametrize("ties", [False, True])
def test_w_is_friedmans_statistic_by_scipy(ties: bool) -> None:
    values = torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(0)).double()
    values = values.mul(2).round() if ties else values
    found = kendall_w(torch.stack([ranks(each) for each in values]))
    for place in range(3):
        table = values[:, place].numpy()
        statistic = friedmanchisquare(*(table[:, item] for item in range(20))).statistic
        assert float(found[place]) == pytest.approx(statistic / (4 * 19))


def test_w_is_the_mean_correlation_of_the_pairs() -> None:
    values = torch.randn(4, 2, 30, generator=torch.Generator().manual_seed(1))
    pairs = [spearman(values[i], values[j]) for i in range(4) for j in range(i)]
    mean = torch.stack(pairs).mean(dim=0)
    torch.testing.assert_close(kendall_w(torch.stack([ranks(each) for each in values])), (3 * mean + 1) / 4)


def test_ranks_are_scipys_from_minus_one_to_one() -> None:
    values = torch.tensor([[0.3, -2.0, 0.3, 7.0], [1.0, 1.0, 1.0, 1.0]])
    expected = torch.from_numpy(rankdata(values.numpy(), axis=1)).sub(2.5).div(1.5)
    torch.testing.assert_close(ranks(values), expected)


def test_the_least_agreement_is_rarely_passed_by_chance() -> None:
    assert least_agreement(49) == pytest.approx(chi2.ppf(0.95, 48) / (4 * 48))
    rankings = torch.rand(4, 4000, 49, generator=torch.Generator().manual_seed(0))
    passed = (kendall_w(torch.stack([ranks(each) for each in rankings])) > least_agreement(49)).double().mean()
    assert 0.01 < float(passed) < 0.05


def test_disagreement_is_blank_and_no_number_is_missing() -> None:
    one = ranks(torch.randn(1, 49, generator=torch.Generator().manual_seed(2)))
    constant = torch.zeros_like(one)
    for rankings in ([one, one, -one, -one], [constant] * 4):
        joined, agreement = consensus(torch.stack(rankings))
        assert (joined == 0).all()
        assert (agreement == 0).all()
    joined, agreement = consensus(torch.stack([one, one, one, constant]))  # one of four has no opinion
    assert agreement.item() == pytest.approx(0.75)
    assert (joined == 0).all()
    joined, _ = consensus(torch.stack([one, one, one, one.roll(1)]))
    same = one.sign() == one.roll(1).sign()
    torch.testing.assert_close(joined, (0.75 * one + 0.25 * one.roll(1)) * same)


@both_versions
@every_head
def test_its_maps_are_those_of_the_four_methods(attention: str, head: str) -> None:
    net = make_trained(attention=attention, head=head)
    found = Consensus(net).attribute(IMAGES)
    alone: list[Explainer] = [method(net) for method in METHODS]
    rankings = torch.stack([ranks(method.attribute(IMAGES).node_map.flatten(1)) for method in alone])
    joined, agreement = consensus(rankings)
    assert found.agreement is not None
    torch.testing.assert_close(found.agreement, agreement.float(), atol=0.02, rtol=0)
    torch.testing.assert_close(found.node_map.flatten(1), joined.float(), atol=0.12, rtol=0)
    assert found.agreement.shape == (3,)
    assert found.node_map.isfinite().all()
    assert found.unit == "rank"
    assert Contribution(net).attribute(IMAGES).agreement is None


def test_attention_without_an_opinion_blanks_the_map() -> None:
    net = make_uniform(make_net())
    found = Consensus(net).attribute(IMAGES)
    assert found.agreement is not None
    assert not found.node_map.isnan().any()


def test_a_detector_without_a_graph_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="Consensus explains the graph of a ResGAT"):
        Consensus(PooledClassifier("resnet18", image_size=64))
