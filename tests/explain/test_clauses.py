"""A clause is true or it is not: what is changed in it must be found."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from resgat_pl.core.face_regions import FACE_REGIONS, REGIONS
from resgat_pl.explain.clauses import (
    Clause,
    hallucination_rate,
    split_clauses,
    verify,
    verify_report,
    verify_text,
)
from resgat_pl.explain.sentences import Finding
from resgat_pl.nn.outputs import NONE_OF_THESE

share = st.floats(0, 1)


@st.composite
def faces(draw: Any) -> Finding:
    """Any face, with every warning and output now and then."""
    size = draw(st.sampled_from([1e-3, 0.03, 1.0, 20.0]))
    values = draw(st.lists(st.floats(-1, 1) | st.just(0.0), min_size=len(REGIONS), max_size=len(REGIONS)))
    regions = {name: value * size for name, value in zip(REGIONS, values, strict=True)}
    bias = draw(st.floats(-2, 2)) * size
    kinds = {name: draw(share) for name in ("genuine", "Face2Face", "swap-2")} if draw(st.booleans()) else {}
    rest = draw(st.floats(-9, 9))
    span = {
        "first": 3.0,
        "last": 17.0,
        "start": 0.1,
        "end": 0.56,
        "mean": rest + draw(st.floats(0.01, 9)),
        "rest": rest,
    }
    best = max((name for name in kinds if name != "genuine"), key=lambda name: kinds[name], default="")
    face = Finding(
        logit=math.fsum(regions.values()) + bias,
        bias=bias,
        regions=regions,
        temperature=draw(st.none() | st.floats(0.2, 5)),
        average_face=draw(st.booleans()),
        entropy=draw(st.none() | share),
        agreement=draw(st.none() | st.floats(-1, 1)),
        methods=(draw(st.sampled_from(["Contribution", "KernelSHAP"])), "GradCAM"),
        mean_probability=draw(st.none() | share),
        limit=draw(st.floats(0.05, 0.95)),
        kinds=kinds,
        manipulated={name: draw(share) for name in FACE_REGIONS} if draw(st.booleans()) else {},
        mask=draw(st.sampled_from([{}, {"share": draw(share), "threshold": draw(share), "factor": 1.0}])),
        span=draw(st.sampled_from([{}, span, {name: span[name] for name in ("first", "last", "mean", "rest")}])),
    )
    kind = draw(st.sampled_from([best, NONE_OF_THESE])) if kinds and face.verdict == "fake" else ""
    return replace(face, kind=kind)


TINY = Finding(
    logit=1e-311,
    bias=0.0,
    regions={**dict.fromkeys(REGIONS, 0.0), "background": 1e-311},
    temperature=None,
    average_face=False,
    limit=0.75,
    methods=("Contribution", "GradCAM"),
)
"""A logit above 0 whose probability is 0.5 to the last digit."""


@settings(deadline=None, max_examples=150)
@given(faces())
@example(TINY)
def test_no_clause_of_a_sentence_says_what_its_numbers_do_not(face: Finding) -> None:
    found = verify(face.clauses, face.numbers)
    assert [one for one in found if one.fault] == []
    assert all(clause.text in face.sentence for clause in face.clauses)
    # and all of the sentence is in some clause
    left = face.sentence
    for clause in sorted(face.clauses, key=lambda one: -len(one.text)):
        left = left.replace(clause.text, "", 1)
    assert re.sub(r"[\s.;:]", "", left) == ""


@settings(deadline=None, max_examples=80)
@given(faces(), st.data())
def test_a_changed_number_is_found(face: Finding, data: Any) -> None:
    clause = data.draw(st.sampled_from(face.clauses[: 1 + len(face.clauses) // 2]))
    match = re.search(r"(?<![\w.])[+−]\d+\.\d+", clause.text)
    if match is None:
        return
    digits = match[0].partition(".")[2]
    other = float(match[0].replace("−", "-")) + 3 * 10 ** -len(digits)
    wrong = replace(clause, text=clause.text.replace(match[0], f"{other:+.{len(digits)}f}".replace("-", "−"), 1))
    (checked,) = verify([wrong], face.numbers)
    assert not checked.holds


NUMBERS = {"region/nose": 1.234, "region/chin": -0.4, "region/mouth": 0.01, "bias": 0.5, "logit": 1.3, "verdict": 1.0}
NUMBERS |= {"probability": 0.79, "calibrated": 1.0, "limit": 0.5, "entropy": 0.4, "unknown_kind": 0.0}
NUMBERS |= {"mask/share": 0.23, "mask/threshold": 0.4, "mask/factor": 0.0}
NUMBERS |= {"span/first": 3.0, "span/last": 9.0, "span/mean": 1.5, "span/rest": 1.9}
NUMBERS |= {"kind/genuine": 0.1, "kind/Face2Face": 0.7, "kind/FaceSwap": 0.2}


MASK = ("mask/share", "mask/threshold", "mask/factor")
SPAN = ("span/first", "span/last", "span/mean", "span/rest")


@pytest.mark.parametrize(
    ("text", "keys", "fault"),
    [
        ("the nose (+1.2) speaks for fake", ("region/nose",), ""),
        ("the nose (+1.3) speaks for fake", ("region/nose",), "it states"),
        ("the nose (+1.2) speaks for real", ("region/nose",), "region/nose is"),
        ("the chin (+1.2) speaks for fake", ("region/nose",), "it names chin"),
        ("the nose (+1.2) and the chin (−0.4) speak for fake", ("region/nose", "region/chin"), "region/chin is"),
        ("the nose (+1.2) speaks for fake", (), "it rests on no number"),
        ("the nose (+1.2) speaks for fake", ("region/ear",), "there is no number region/ear"),
        ("the nose (+1.2, or 7) speaks for fake", ("region/nose",), "without a key"),
        ("all other regions together give −0.39", ("region/chin+region/mouth",), ""),
        ("all other regions together give −0.4", ("region/mouth",), "it states"),
        ("no region speaks noticeably for real", ("region/nose", "region/mouth", "region/chin"), "region/chin does"),
        ("Fake, probability above 0.99 (logit +1.3)", ("probability", "logit"), "it states"),
        ("Real, probability of fake 0.79", ("probability",), "the verdict is the other one"),
        ("The probability is not calibrated.", ("calibrated",), "calibrated does not say so"),
        ("Attention is nearly uniform.", ("entropy",), "entropy does not say so"),
        ("Kind of manipulation: Face2Face (probability 0.70)", ("kind/Face2Face",), ""),
        ("Kind of manipulation: FaceSwap (probability 0.20)", ("kind/FaceSwap",), "the kind is another one"),
        ("Kind of manipulation: none of these", ("unknown_kind",), "the kind is one of them"),
        ("The mask, not part of the logit, covers 0.23 at 0.40", MASK, ""),
        ("The mask, not part of the logit, covers 0.24 at 0.40", MASK, "it states 0.24"),
        ("The mask, a factor of the contributions, covers 0.23 at 0.40", MASK, "mask/factor says otherwise"),
        ("The mask covers 0.23", ("mask/share",), "no key of the mask"),
        ("The span from frame 3 to 9 adds most", SPAN, "the other frames add more"),
        ("The span from frame 3 to 8 adds most", SPAN, "it states 8"),
        ("The span from frame 3 adds most", SPAN[:1], "no key of the span"),
        ("The lighting is inconsistent.", ("logit",), "nothing that a number could confirm"),
    ],
)
def test_each_rule(text: str, keys: tuple[str, ...], fault: str) -> None:
    (checked,) = verify([Clause(text, keys)], NUMBERS)
    assert (fault in checked.fault) if fault else checked.holds, checked


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("The nose looks altered.", [True]),
        ("The nose looks altered; the chin looks altered.", [True, False]),
        ("The mouth looks altered.", [False]),  # not noticeably
        ("No part of the face looks altered.", [False]),
        ("The face is fake: the nose speaks for fake.", [True, True]),
        ("The face is genuine.", [False]),
        ("Kind of forgery: Face2Face.", [True]),
        ("Kind of forgery: FaceSwap.", [False]),
        ("The nose speaks for fake, by 9.5.", [False]),
        ("His ear is blurred. He looks nervous.", [False, False]),
    ],
)
def test_free_text_is_checked_by_the_names_in_it(text: str, holds: list[bool]) -> None:
    assert [checked.holds for checked in verify_text(text, NUMBERS)] == holds


def test_outputs_of_regions_decide_what_looks_altered() -> None:
    numbers = {**NUMBERS, "manipulated/chin": 0.9, "manipulated/nose": 0.2}
    assert [one.holds for one in verify_text("The nose looks altered. The chin looks altered.", numbers)] == [
        False,
        True,
    ]


def test_a_report_is_checked_against_its_maps_and_sentences() -> None:
    face = Finding(1.5, 0.5, {**dict.fromkeys(REGIONS, 0.0), "nose": 1.0}, temperature=1.0)
    part: dict[str, Any] = {
        "logit": 1.5,
        "sentence": face.sentence,
        "numbers": face.numbers,
        "clauses": [{"text": clause.text, "keys": list(clause.keys)} for clause in face.clauses],
        "maps": {"Contribution": {"regions": list(face.regions.values()), "bias": 0.5}},
        "frames": [],
    }
    report = {"regions": list(REGIONS), "tracks": [part]}
    found = verify_report(report)
    assert len(found) == 3 and hallucination_rate(found) == 0
    part["maps"]["Contribution"]["bias"] = 0.9
    assert {one.fault for one in verify_report(report)} == {"bias is another one in the map"}
    part["maps"] = {}
    part["sentence"] = "Fake."
    assert hallucination_rate(verify_report(report)) == 1
    assert verify_report({"regions": list(REGIONS), "tracks": [{"sentence": "", "maps": {}, "frames": []}]}) == []
    assert math.isnan(hallucination_rate([]))


def stated(face: Finding, index: int, **others: Any) -> dict[str, Any]:
    clauses = [{"text": clause.text, "keys": list(clause.keys)} for clause in face.clauses]
    rest = {"logit": face.logit, "index": index, "maps": {}, **others}
    return {"sentence": face.sentence, "numbers": face.numbers, "clauses": clauses, **rest}


def test_mask_and_span_are_checked_against_map_and_frames() -> None:
    mask = {"share": 62 / 112, "threshold": 0.4, "factor": 0.0}
    face = Finding(0.0, 0.0, dict.fromkeys(REGIONS, 0.0), temperature=1.0, mask=mask)
    maps = {"PredictedMask": {"nodes": [[0.9, 0.9], [0.1, 0.1]]}}  # 0.4 is reached down to 0.5625 of the height
    frames = [stated(replace(face, logit=logit), i, maps=maps) for i, logit in enumerate((-1.0, 2.0, 3.0, -2.0))]
    span = {"first": 1.0, "last": 2.0, "mean": 2.5, "rest": -1.5}
    track = stated(replace(face, span=span), 0, frames=frames, maps=maps)
    report = {"regions": list(REGIONS), "centres": {"rows": [0.25, 0.75], "columns": [0.25, 0.75]}, "tracks": [track]}
    assert [one.fault for one in verify_report(report) if one.fault] == []
    frames[1]["maps"] = {"PredictedMask": {"nodes": [[0.9, 0.9], [0.9, 0.9]]}}
    assert "the map covers 1" in {one.fault for one in verify_report(report)}
    frames[1]["maps"], frames[2]["logit"] = maps, 0.0
    assert "span/mean is not that of the frames" in {one.fault for one in verify_report(report)}


def test_clauses_end_at_stops_that_are_no_decimal_points() -> None:
    assert split_clauses("It is 0.5. So; and: yes") == ["It is 0.5.", "So;", "and:", "yes"]
