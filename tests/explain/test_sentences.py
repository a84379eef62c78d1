"""A sentence may leave things out, but it must never say what its numbers do not."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Explainer, Explanation, Target
from resgat_pl.explain.methods.graph import Attention, Contribution, EdgeContribution, NodeEvidence
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, REGIONS
from resgat_pl.explain.sentences import (
    BIAS_SHARE,
    DISAGREEMENT,
    UNIFORM,
    Finding,
    attention_entropy,
    findings,
)
from resgat_pl.nn.grid import Grid
from resgat_pl.nn.head import LinearHead
from resgat_pl.nn.resgat import ResGAT

NUMBER = r"([+−]\d+\.\d+)"
REGION = re.compile(rf"the ({'|'.join(REGIONS)}) \({NUMBER}\)")


def finding(logit: float | None = None, bias: float = 0.0, **regions: float) -> Finding:
    """Of some regions, the others giving nothing; names with an underscore for each blank."""
    table = dict.fromkeys(REGIONS, 0.0) | {name.replace("_", " "): value for name, value in regions.items()}
    return Finding(math.fsum(table.values()) + bias if logit is None else logit, bias, table)


def made(bias: float, values: list[float], temperature: float | None) -> Finding:
    return replace(finding(bias=bias, **dict(zip(REGIONS, values, strict=True))), temperature=temperature)


sizes = st.sampled_from([1e-3, 0.03, 1.0, 20.0])
found = st.builds(
    lambda size, bias, values, temperature: made(bias * size, [v * size for v in values], temperature),
    sizes,
    st.floats(-2, 2) | st.just(0.0),
    st.lists(st.floats(-1, 1) | st.just(0.0), min_size=len(REGIONS), max_size=len(REGIONS)),
    st.none() | st.floats(0.2, 5),
)


def value(number: str) -> float:
    return float(number.replace("−", "-"))


def claims(sentence: str) -> dict[str, tuple[float, str]]:
    """Region → number and class that it is said to speak for."""
    claimed = {}
    for clause in sentence.partition(": ")[2].split("; "):
        side = re.search(r"speaks? for (fake|real)", clause)
        for name, number in REGION.findall(clause):
            assert side is not None
            claimed[name] = (value(number), side[1])
    return claimed


def only(pattern: str, sentence: str) -> float | None:
    match = re.search(pattern, sentence)
    return None if match is None else value(match[1])


@settings(deadline=None, max_examples=120)
@given(found)
def test_every_number_is_that_of_the_table(face: Finding) -> None:
    sentence = face.sentence
    half = 0.5000001 * 10**-face.digits
    claimed = claims(sentence)
    for name, (number, side) in claimed.items():
        assert number == pytest.approx(face.regions[name], abs=half)
        assert number != 0
        assert side == ("fake" if face.regions[name] > 0 else "real")
    assert only(rf"\(logit {NUMBER}\)", sentence) == pytest.approx(face.logit, abs=half)
    rest = only(rf"all other regions together give {NUMBER}", sentence) or 0.0
    others = math.fsum(v for name, v in face.regions.items() if name not in claimed)
    assert rest == pytest.approx(others, abs=half)
    bias = only(rf"bias, which no region gives, is {NUMBER}", sentence)
    if bias is not None:
        assert bias == pytest.approx(face.bias, abs=half)
        stated_sum = math.fsum(number for number, _ in claimed.values()) + rest + bias
        assert stated_sum == pytest.approx(face.logit, abs=(len(claimed) + 2) * half)
    else:
        moved = abs(face.bias) + sum(map(abs, face.regions.values()))
        assert abs(face.bias) < max(BIAS_SHARE * moved, half)
    stated = re.findall(r"[+−]?\d+(?:\.\d+)?", sentence)
    known = len(claimed) + 2 + ("all other" in sentence) + (bias is not None)  # the logit and the probability
    assert len(stated) == known
    assert "-" not in sentence


@settings(deadline=None, max_examples=120)
@given(found)
def test_the_verdict_and_the_strongest_reason_for_it_come_first(face: Finding) -> None:
    sentence = face.sentence
    assert sentence.startswith("Fake, " if face.logit > 0 else "Real, ")
    ours = [v for v in face.regions.values() if (v > 0) == (face.logit > 0) and v != 0]
    first = sentence.partition(": ")[2].partition(";")[0]
    best = max(ours, key=abs, default=0.0)
    if round(best, face.digits) == 0 or abs(best) < 0.1 * max(map(abs, face.regions.values())):
        assert first.startswith(f"no region speaks noticeably for {face.verdict}")
    else:
        match = REGION.search(first)
        assert match is not None
        assert face.regions[match[1]] == best
        assert f"for {face.verdict}" in first
    probability = 1 / (1 + math.exp(-face.logit / (face.temperature or 1)))
    shown = re.search(r"probability (?:of fake )?(above |below |)(\d\.\d\d)", sentence)
    assert shown is not None
    if shown[1]:
        assert probability > 0.99 if shown[1] == "above " else probability < 0.01
    else:
        assert float(shown[2]) == pytest.approx(probability, abs=0.005001)


def test_sentences_as_they_are_meant() -> None:
    face = replace(finding(mouth=1.9, left_eye=0.6, nose=-0.3, forehead=0.06, bias=0.9), temperature=1.0)
    assert face.sentence == (
        "Fake, probability 0.96 (logit +3.2): the mouth (+1.9) and the left eye (+0.6) speak for fake; the nose (−0.3) "
        "speaks for real; all other regions together give +0.1; the model's bias, which no region gives, is +0.9."
    )
    assert finding(chin=-4.0, nose=-1.04, background=-0.91, mouth=0.62).sentence == (
        "Real, probability of fake below 0.01 (logit −5.3): the chin (−4.0), the nose (−1.0) and the background (−0.9) "
        "speak for real; the mouth (+0.6) speaks for fake. The probability is not calibrated."
    )
    assert finding(nose=-0.4, bias=2.0).sentence == (
        "Fake, probability 0.83 (logit +1.60): no region speaks noticeably for fake; the nose (−0.40) speaks for real; "
        "the model's bias, which no region gives, is +2.00. The probability is not calibrated."
    )
    assert finding().sentence == (
        "Real, probability of fake 0.50 (logit +0.0): no region speaks noticeably for real. "
        "The probability is not calibrated."
    )


def test_the_words_follow_the_decision_and_say_where_the_logit_does_not() -> None:
    """A few frames of large logits: the mean logit is positive, the mean probability is not above one half."""
    mean = replace(finding(mouth=0.31), temperature=1.3, mean_probability=0.44)
    assert mean.sentence == (
        "Real, probability of fake 0.44 (logit +0.31): no region speaks noticeably for real; the mouth (+0.31) speaks "
        "for fake. The mean logit alone would say fake: the verdict follows the mean of the frames' probabilities, "
        "which a few frames of large logits move less."
    )
    low = replace(mean, limit=0.4)
    assert low.verdict == "fake"
    assert low.sentence.endswith("By a threshold of 0.50 it would be real: the one in force is 0.40.")
    single = replace(finding(mouth=0.31), temperature=1.3, limit=0.6)
    assert single.verdict == "real"
    assert single.sentence.endswith("By a threshold of 0.50 it would be fake: the one in force is 0.60.")
    close = replace(finding(mouth=0.002), temperature=1.0, limit=0.50061)
    assert "By a threshold of 0.500 it would be fake: the one in force is 0.501." in close.sentence
    assert replace(finding(mouth=0.31), temperature=1.3, limit=0.3).warnings == ()


@given(st.floats(-30, 30), st.none() | st.floats(0.1, 10), st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=80)
def test_a_single_face_is_fake_above_the_limit_on_the_scale_of_its_probability(
    logit: float, temperature: float | None, limit: float
) -> None:
    face = Finding(logit, logit, {}, temperature=temperature, limit=limit)
    if abs(face.probability - limit) > 1e-12:
        assert (face.verdict == "fake") == (face.probability > limit)


def test_doubts_are_reported_from_their_thresholds_on() -> None:
    sure = replace(finding(mouth=2.0), temperature=1.5, entropy=UNIFORM - 1e-6, agreement=DISAGREEMENT)
    assert sure.warnings == ()
    assert "entropy 0.98" in replace(sure, entropy=UNIFORM).sentence
    doubtful = replace(sure, agreement=-0.125, methods=("Contribution", "GradCam"))
    assert "Contribution and GradCam disagree (rank correlation −0.1" in doubtful.sentence
    assert "average face" in replace(sure, average_face=True).sentence
    assert "not calibrated" in replace(sure, temperature=None).sentence


def test_entropy_of_attention_that_is_uniform_certain_and_between() -> None:
    grid = Grid(3, 4)
    target = grid.edge_index[1]
    uniform = (1 / target.bincount().float())[target][None, :, None].expand(1, -1, 3)
    itself = (grid.edge_index[0] == target).float()[None, :, None].expand(1, -1, 3)
    torch.testing.assert_close(attention_entropy(torch.cat([uniform, itself]), grid.edge_index), torch.tensor([1.0, 0]))
    mixed = torch.cat([uniform[..., :1], itself[..., :2]], dim=-1)
    assert float(attention_entropy(mixed, grid.edge_index)) == pytest.approx(1 / 3)
    certain_once = uniform.clone()
    certain_once[:, target == 0] = itself[:, target == 0]
    assert float(attention_entropy(certain_once, grid.edge_index)) == pytest.approx(11 / 12)


@pytest.fixture(scope="module")
def net() -> ResGAT:
    torch.manual_seed(1)
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64)
    assert isinstance(net.head, LinearHead)
    with torch.no_grad():
        net.head.bias.fill_(0.25)
        net.head.weight.mul_(20)
    return net.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("target", get_args(Target))
@pytest.mark.parametrize("method", [Contribution, EdgeContribution])
def test_findings_are_the_explanations_numbers(
    method: type[Explainer], target: Target, net: ResGAT, images: Tensor
) -> None:
    explanation = method(net).attribute(images, "fake")
    landmarks = AVERAGE_LANDMARKS.repeat(3, 1, 1)
    landmarks[0] += 0.05
    landmarks[1, 3, 1] = math.nan
    with torch.no_grad():
        attention = net(images).attention
    asked = method(net).attribute(images, target)
    gathered = findings(asked, landmarks, attention, NodeEvidence(net).attribute(images, target), 2.0)
    entropy = attention_entropy(attention, explanation.edge_index)
    for i, face in enumerate(gathered):
        assert face.logit == pytest.approx(float(explanation.logit[i]))
        assert math.fsum(face.regions.values()) + face.bias == pytest.approx(face.logit, abs=1e-4)
        used = AVERAGE_LANDMARKS if i == 1 else landmarks[i]
        torch.testing.assert_close(torch.tensor(list(face.regions.values())), regions_of(explanation, i, used))
        assert face.average_face == (i == 1)
        assert face.entropy == pytest.approx(float(entropy[i]))
        assert face.agreement is not None
        assert face.methods == (method.__name__, "NodeEvidence")
    assert all(face.average_face for face in findings(asked))


def regions_of(explanation: Explanation, index: int, landmarks: Tensor) -> Tensor:
    return explanation.regions(landmarks.expand(len(explanation.node_map), 5, 2))[index]


def test_targets_and_agreement(net: ResGAT, images: Tensor) -> None:
    fake, real = (Contribution(net).attribute(images, target) for target in get_args(Target))
    assert [face.sentence for face in findings(fake)] == [face.sentence for face in findings(real)]
    assert [face.agreement for face in findings(fake, other=real)] == pytest.approx([1.0] * 3)
    flat = replace(fake, node_map=torch.zeros_like(fake.node_map))
    assert [face.agreement for face in findings(fake, other=flat)] == [None] * 3


def test_what_does_not_add_up_is_not_put_into_words(net: ResGAT, images: Tensor) -> None:
    good = Contribution(net).attribute(images)
    for wrong in (NodeEvidence(net), Attention(net)):
        with pytest.raises(ConfigError, match="add up"):
            findings(wrong.attribute(images))
    with pytest.raises(ConfigError, match="there are 2 landmarks"):
        findings(good, AVERAGE_LANDMARKS.repeat(2, 1, 1))
    with pytest.raises(ConfigError, match="temperature is 0"):
        findings(good, temperature=0.0)
