from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.contribution import contributions, decompose
from resgat_pl.nn.head import Head, LinearHead, MLPHead, NodeHead, NormalisedHead, build_head
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.routing import NodeReading

from ..helpers.other_nets import Blocks, Cosine, Gated, Wrong


@pytest.mark.parametrize("head", [LinearHead(20), MLPHead(20), Gated(20)])
def test_linear_form_gives_logit_and_gradient(head: Head) -> None:
    pooled = torch.randn(6, 20, requires_grad=True)
    logit = head(pooled)
    assert logit.shape == (6,)
    weight, bias = head.linearise(pooled)
    torch.testing.assert_close((weight * pooled).sum(dim=1) + bias, logit)
    (gradient,) = torch.autograd.grad(logit.sum(), pooled)
    torch.testing.assert_close(weight.detach().expand(6, -1), gradient)
    assert head.is_additive


def test_mlp_drops_hidden_units_in_training_only() -> None:
    head = MLPHead(20, dropout=0.5)
    pooled = torch.randn(4, 20)
    assert not torch.equal(head(pooled), head(pooled))
    head.eval()
    assert torch.equal(head(pooled), head(pooled))


def normalised(features: int, **changes: float) -> NormalisedHead:
    head = NormalisedHead(features)
    with torch.no_grad():
        head.bias.fill_(0.7)
        for name, value in changes.items():
            head.get_parameter(name).mul_(value)
    return head


def test_the_normalised_head_is_a_scaled_cosine() -> None:
    head, pooled = normalised(20, scale=0.4), torch.randn(6, 20)
    expected = 4 * torch.cosine_similarity(pooled, head.weight[None]) + 0.7
    torch.testing.assert_close(head(pooled), expected)
    torch.testing.assert_close(head(torch.logspace(-2, 9, 6)[:, None] * pooled), expected)  # lengths do not matter
    torch.testing.assert_close(normalised(20, weight=-1e5).scale, torch.tensor(10.0))


def test_its_linear_form_is_exact_given_the_length() -> None:
    head, pooled = normalised(20), torch.randn(6, 20, requires_grad=True)
    weight, bias = head.linearise(pooled)
    logit = head(pooled)
    torch.testing.assert_close((weight * pooled).sum(dim=1) + bias, logit)
    assert head.is_additive
    torch.testing.assert_close(bias, head.bias[None])
    # At a fixed length the weight is the gradient; the head's own gradient has none along the features.
    (gradient,) = torch.autograd.grad(logit.sum(), pooled)
    torch.testing.assert_close((gradient * pooled).sum(dim=1), torch.zeros(6), atol=1e-5, rtol=0)
    (through,) = torch.autograd.grad(weight.sum(), pooled)  # contributions can be trained through the length
    assert float(through.abs().sum()) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_normalised_head_in_half_precision(dtype: torch.dtype) -> None:
    head = normalised(4608)
    # The length of the first overflows float16, and the squares of the second vanish.
    pooled = torch.stack([2000 * torch.ones(4608), 1e-3 * torch.randn(4608), torch.randn(4608)])
    expected = head(pooled)
    half = head.to(dtype)
    found = half(pooled.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.01)
    weight, bias = half.linearise(pooled.to(dtype))
    assert weight.dtype == bias.dtype == dtype
    assert bool(weight.isfinite().all())
    again = (weight.double() * pooled.to(dtype).double()).sum(dim=1) + bias.double()
    torch.testing.assert_close(again.float(), found.float(), atol=0.05, rtol=0.01)


def test_features_of_no_length_have_the_bias_and_finite_gradients() -> None:
    head, pooled = normalised(20), torch.zeros(2, 20, requires_grad=True)
    logit = head(pooled)
    assert logit.tolist() == pytest.approx([0.7, 0.7])
    logit.sum().backward()
    assert all(bool(one.grad.isfinite().all()) for one in (pooled, *head.parameters()) if one.grad is not None)
    assert bool(normalised(20, weight=0)(torch.ones(1, 20)).isfinite().all())


def test_heads_by_name() -> None:
    assert isinstance(build_head("linear", 8), LinearHead)
    assert isinstance(build_head("normalised", 8), NormalisedHead)
    assert build_head("mlp", 8, dropout=0.25).get_submodule("dropout").p == 0.25
    before = torch.get_rng_state()
    torch.manual_seed(5)
    found = build_head(class_path(Cosine), 8)
    torch.manual_seed(5)
    assert torch.equal(found.get_parameter("weight"), Cosine(8).weight)  # trying it draws no number
    torch.set_rng_state(before)
    assert found.training
    assert not found.is_additive


class Two(Cosine):
    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return super().forward(pooled)[:, None]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lineal", "There is no head 'lineal'. Did you mean linear.* There are: capsule, linear, mlp, normalised"),
        (class_path(Blocks), r"Blocks is no class derived from resgat_pl\.nn\.head\.Head"),
        (class_path(Wrong), "The additive form of the head .*Wrong is not its logit: they differ by"),
        (class_path(Two), r"The head .*Two gives \(3, 1\) for 3 images"),
        (class_path(Head), r"The head .* cannot be made"),
        (3, "head is 3; it must be a name"),
    ],
)
def test_what_is_no_head(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_head(name, 8)


@pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
def test_contributions_of_another_head(attention: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 64, 64)
    options = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 64}
    net = ResGAT(attention, head=class_path(Gated), **options).eval()  # type: ignore[arg-type]
    found = contributions(net, images)
    torch.testing.assert_close(found.node.sum(dim=1) + found.bias, net(images).logit, atol=1e-5, rtol=1e-5)
    assert net.has_contributions
    other = ResGAT(attention, head=class_path(Cosine), **options).eval()  # type: ignore[arg-type]
    assert not other.has_contributions
    with pytest.raises(ConfigError, match="The head Cosine has no additive form, so its logit is no sum over nodes"):
        contributions(other, images)
    assert other(images).logit.shape == (3,)


class Bounded(NodeHead):
    """No node can say more than 1; ``rest`` is what it withholds from its parts."""

    rest = 0.0

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, in_features))

    @property
    def directions(self) -> Tensor:
        return self.weight

    def forward(self, votes: Tensor, heard: Tensor, constant: Tensor) -> NodeReading:
        value, bias = votes.squeeze(-1).tanh(), constant.tanh().sum().expand(len(votes))
        return NodeReading((heard * value).sum(dim=(1, 2)) + bias + self.rest, value, bias)


class Withholding(Bounded):
    rest = 1.0


class Wide(Bounded):
    def forward(self, votes: Tensor, heard: Tensor, constant: Tensor) -> NodeReading:
        found = super().forward(votes, heard, constant)
        return found._replace(bias=found.bias[:, None])


def test_a_head_from_outside_may_read_nodes() -> None:
    torch.manual_seed(0)
    net = ResGAT(encoder="resnet18", heads=2, hidden=4, image_size=64, head=class_path(Bounded)).double().eval()
    nodes = torch.rand(2, 4, 512).double()
    found = decompose(net, net.graph(nodes))
    torch.testing.assert_close(found.node.sum(dim=1) + found.bias, found.output.logit)
    assert net.has_contributions
    with pytest.raises(ConfigError, match="no additive form"):
        net.head.linearise(nodes)


def test_a_head_whose_parts_are_not_its_logit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"The sum over the nodes of the head .*Withholding is not its logit"):
        build_head(class_path(Withholding), 8)
    with pytest.raises(ConfigError, match=r"gives logit, value and bias .* \(3, 1\)"):
        build_head(class_path(Wide), 8)
    with pytest.raises(ConfigError, match="reads the nodes of a graph one by one: train a ResGAT"):
        PooledClassifier("resnet18", head="capsule", image_size=64)
