from __future__ import annotations

import pytest
import torch

from resgat_pl.nn.head import LinearHead, MLPHead


@pytest.mark.parametrize("head", [LinearHead(20), MLPHead(20)])
def test_linear_form_gives_logit_and_gradient(head: LinearHead | MLPHead) -> None:
    pooled = torch.randn(6, 20, requires_grad=True)
    logit = head(pooled)
    assert logit.shape == (6,)
    weight, bias = head.linearise(pooled)
    torch.testing.assert_close((weight * pooled).sum(dim=1) + bias, logit)
    (gradient,) = torch.autograd.grad(logit.sum(), pooled)
    torch.testing.assert_close(weight.detach().expand(6, -1), gradient)


def test_mlp_drops_hidden_units_in_training_only() -> None:
    head = MLPHead(20, dropout=0.5)
    pooled = torch.randn(4, 20)
    assert not torch.equal(head(pooled), head(pooled))
    head.eval()
    assert torch.equal(head(pooled), head(pooled))
