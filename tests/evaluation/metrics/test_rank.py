from __future__ import annotations

import pytest
import scipy.stats
import torch
from hypothesis import given, settings, strategies as st

from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.metrics.rank import spearman


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 5), min_size=9, max_size=9), min_size=2, max_size=2))
def test_rank_correlation_is_that_of_scipy(maps: list[list[int]]) -> None:
    one, two = (torch.tensor([values], dtype=torch.float32) for values in maps)
    if len(set(maps[0])) == 1 or len(set(maps[1])) == 1:
        assert bool(spearman(one, two).isnan())
        assert spearman(one, two, constant=0).tolist() == [0]
    else:
        expected = scipy.stats.spearmanr(maps[0], maps[1]).statistic
        assert float(spearman(one, two)) == pytest.approx(expected, abs=1e-9)


def test_only_the_order_counts() -> None:
    one = torch.randn(5, 30, generator=torch.Generator().manual_seed(2)).mul(2).round()
    assert spearman(one, one.exp()).tolist() == pytest.approx([1] * 5)
    assert spearman(one, -one).tolist() == pytest.approx([-1] * 5)


def test_rows_must_belong_together() -> None:
    with pytest.raises(ConfigError, match="no common rows"):
        spearman(torch.ones(2, 3), torch.ones(2, 4))
