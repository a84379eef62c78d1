"""Contributions of an ensemble, and its members in a report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.methods.ensemble import EnsembleContribution
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.regions import AVERAGE_LANDMARKS
from resgat_pl.explain.report.caveats import caveats
from resgat_pl.explain.report.face_records import Member
from resgat_pl.explain.report.members import disagreement, members_of
from resgat_pl.explain.report.run_methods import default_methods
from resgat_pl.nn.ensemble import Ensemble
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {"encoder": "resnet18", "heads": 2, "hidden": 4, "image_size": 64}
NETS = (ResGAT(encoder_stage=3, **SMALL), ResGAT("gatv1", head="mlp", **SMALL))


def joint(*nets: Any) -> Ensemble:
    net = Ensemble([one.spec for one in nets], [0.5, 2.0], [0.5, 1.0], ["fine", "coarse"], 64)
    for member, one in zip(net.members, nets, strict=True):
        member.load_state_dict(one.state_dict())
    return net.eval()


def test_it_is_exact_and_the_sum_of_the_members_maps() -> None:
    found = EnsembleContribution(joint(*NETS)).attribute(IMAGES)
    assert found.completeness_gap.max() < 1e-5
    torch.testing.assert_close(found.logit, joint(*NETS)(IMAGES).logit.detach())
    fine, coarse = (Contribution(net.eval()).attribute(IMAGES).node_map for net in NETS)
    assert coarse.shape[1:] == (2, 2)
    shared = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
    # cells of two strides do not lie in each other to the pixel: compare sums, and the map without the coarse member
    torch.testing.assert_close(
        found.node_map.sum(dim=(1, 2)), (fine + 2 * shared).sum(dim=(1, 2)), rtol=1e-4, atol=1e-5
    )


def test_members_add_up_to_the_mean_logit_and_their_regions_to_their_shares() -> None:
    net = joint(*NETS)
    landmarks = AVERAGE_LANDMARKS.expand(3, 5, 2)
    found = members_of(net, IMAGES, landmarks, batch_size=2)
    logit, parts = float(net(IMAGES).logit.detach().mean()), net.parts(IMAGES)
    assert sum(member.share for member in found) == pytest.approx(logit, abs=1e-5)
    for place, member in enumerate(found):
        assert member.regions is not None
        bias = float(parts.bias[place].detach().mean())
        assert sum(member.regions) + bias == pytest.approx(member.share, abs=1e-5)
    assert [member.name for member in found] == ["fine", "coarse"]
    assert members_of(NETS[0], IMAGES, landmarks, 2) == []


def test_words_on_agreement_and_disagreement() -> None:
    one = Member("a", 1.0, 1.0, 2.0, [0.5, 0.5, 1.0, 0, 0, 0, 0, 0, 0])
    two = Member("b", 1.0, 1.0, -0.5, [0.5, 0.5, -1.5, 0, 0, 0, 0, 0, 0])
    three = Member("c", 1.0, 1.0, 1.0, one.regions)
    assert disagreement([one, three]) == "2 of 2 members speak for fake."
    assert disagreement([one, two, three]) == (
        "The members disagree: 2 of 3 members speak for fake (a +2.00, c +1.00), 1 for real (b −0.50). They differ "
        "most at the nose: a +1.00 and b −1.50."
    )
    assert disagreement([one, Member("d", 0.0, 1.0, 0.0, None)]) == ""
    assert "differ" not in disagreement([one, Member("d", 1.0, 1.0, 1.0, None)])


def test_black_boxes_are_refused_by_name_and_scored_without_maps() -> None:
    net = joint(NETS[0], PooledClassifier("resnet18", image_size=64))
    with pytest.raises(ConfigError, match="EnsembleContribution adds up contributions, and the member coarse has none"):
        EnsembleContribution(net)
    found = members_of(net, IMAGES, AVERAGE_LANDMARKS.expand(3, 5, 2), 3)
    assert [member.regions for member in found] == [None, None]
    assert default_methods(net) == "InputXGradient"
    assert default_methods(joint(*NETS)) == "EnsembleContribution"
    with pytest.raises(ConfigError, match="Contribution explains the graph of a ResGAT"):
        Contribution(net)


def test_caveats_are_those_of_an_ensemble() -> None:

    said = " ".join(caveats(SimpleNamespace(net=joint(*NETS)), calibrated=False))  # type: ignore[arg-type]  # the net alone is read
    assert "contributions of an ensemble are those of its members" in said
    assert "divided by area" in said
    assert "black box" not in said
