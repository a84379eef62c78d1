"""Words of the first page: every number is the document's, and what limits the verdict is said."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from resgat_pl.evaluation.error_rates import ErrorRate
from resgat_pl.explain.custody.record import FileHash
from resgat_pl.explain.report.comparison_records import OriginalComparison, RestoredFace
from resgat_pl.explain.report.document import Document
from resgat_pl.explain.report.face_records import FaceCertificate
from resgat_pl.explain.report.first_page import NO_MASK, NO_PROOF, RATE_UNKNOWN, evidence, first_page
from resgat_pl.explain.report.strength_records import Strength

from .browser_page import Make


def with_regions(made: Document, values: list[float], areas: list[float]) -> Document:
    track = made.tracks[0]
    maps = track.maps | {"Contribution": replace(track.maps["Contribution"], regions=values)}
    return replace(made, verdict="fake", tracks=[replace(track, maps=maps, areas=areas)])


def test_shares_of_evidence_stand_beside_shares_of_area(document: Make) -> None:
    values = [2.0, 0.1, -1.0, 0, 0, 0, 0, 0, 6.0]
    made = with_regions(document(), values, [0.04, 0.04, 0.05, 0.04, 0.05, 0.05, 0.06, 0.03, 0.64])
    shares = evidence(made, made.tracks[0])
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == pytest.approx({"background": 6 / 8.1, "left eye": 2 / 8.1, "right eye": 0.1 / 8.1})
    page = first_page(made)
    assert "74 % comes from the background (64 % of the picture's area) and 25 % from the left eye (4 %)" in page.where
    said = " ".join(page.limits)
    assert "74 % of the evidence lies outside the face" in said
    assert NO_MASK in said
    assert "Background is everything outside the face" in said
    assert "as you see it, not the person's own" in said


def test_evidence_inside_the_face_has_no_warning(document: Make) -> None:
    page = first_page(with_regions(document(), [0, 0, 3.0, 0, 0, 0, 0, 0, 2.9], []))
    assert "outside the face, where" not in " ".join(page.limits)
    assert "not the person's own" not in " ".join(page.limits)
    assert "area" not in page.where


def test_evidence_is_that_for_the_verdict(document: Make) -> None:
    made = replace(with_regions(document(), [1.0, -3.0, 0, 0, 0, 0, 0, 0, 0], []), verdict="real")
    assert evidence(made, made.tracks[0]) == {"right eye": 1.0}
    none = with_regions(document(), [-1.0] * 9, [])
    assert "No part of the picture speaks for fake" in first_page(none).where
    estimates = replace(none, methods=[replace(method, exact=False) for method in none.methods])
    assert "cannot say" in first_page(estimates).where


@pytest.mark.parametrize(("count", "named"), [(0, ""), (2, "(0, 7)"), (9, "(0, 7, 14, 21, 28, 35, …)")])
def test_contradictions_of_explainers_are_counted(document: Make, count: int, named: str) -> None:
    made = document(frames=12)
    track = made.tracks[0]
    frames = [replace(f, numbers={"agreement": 0.1 if i < count else 0.5}) for i, f in enumerate(track.frames)]
    said = " ".join(first_page(replace(made, tracks=[replace(track, frames=frames)])).limits)
    assert (f"In {count} of 12 frames {named} two ways" in said) == bool(count)
    assert ("contradict" in said) == bool(count)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"probability": 0.4, "verdict": "fake"}, "fake: score 40 %, above the threshold 30 %, a default that no data"),
        ({"probability": 0.3, "verdict": "real"}, "real: score 30 %, not above the threshold 30 %"),
        ({"probability": 0.2996, "verdict": "real"}, "real: score 29.96 %, below the threshold 30.00 %"),
    ],
)
def test_score_and_threshold_cannot_contradict(document: Make, changes: dict[str, Any], said: str) -> None:
    made = document(frames=2)
    page = first_page(replace(made, decision=replace(made.decision, limit=0.3), **changes))
    assert said in page.what
    assert page.headline == f"Detector's verdict: {changes['verdict']}"


@pytest.mark.parametrize(("side", "compared"), [("fake", "above"), ("real", "below")])
def test_inconclusive_is_said_with_its_side_and_reasons(document: Make, side: str, compared: str) -> None:
    made = document(frames=2)
    decision = replace(made.decision, limit=0.5, leaning=side, reasons=["The face is dark."], borderline=True)
    score = 0.6 if side == "fake" else 0.4
    page = first_page(replace(made, decision=decision, verdict="inconclusive", probability=score))
    assert page.headline == f"Detector's verdict: inconclusive, leaning {side}"
    assert f"leans to {side}" in page.what and f"{compared} the threshold" in page.what
    assert page.how_sure[0] == "Inconclusive: The face is dark." and page.how_sure[0] in page.paragraph
    assert page.how_sure[1] == RATE_UNKNOWN
    assert f"speaks for {side}" in page.where


def test_the_score_is_no_probability_of_this_file(document: Make) -> None:
    bare, calibrated = (first_page(document(temperature=temperature)) for temperature in (None, 1.5))
    assert "is not calibrated" in bare.how_sure[1]
    assert "is not the probability that this file is fake" in calibrated.how_sure[1]
    assert "too narrow, and errors of the detector are not in it" in calibrated.how_sure[2]
    assert not any("too narrow" in said for said in first_page(document(frames=0)).how_sure)


def test_how_often_the_detector_errs_comes_first(document: Make) -> None:
    rate = ErrorRate("all", "all", 20, 1, (0.05, 0.01, 0.24), 20, 40, 8, (0.2, 0.1, 0.35), 40)
    others = [replace(rate, stratum="kind", value="Deepfakes"), rate]
    page = first_page(replace(document(), strength=Strength(rates=others)))
    assert page.how_sure[0].startswith("In its own test: 1 of 20 genuine videos called fake (5 %")
    assert "8 of 40 fakes missed" in page.how_sure[0]
    assert [first_page(replace(document(), strength=one)).how_sure[0] for one in (None, Strength())] == 2 * [
        RATE_UNKNOWN
    ]


def test_scores_of_frames_and_of_the_file_are_reconciled(document: Make) -> None:
    made = document(frames=3)
    track = made.tracks[0]
    frames = [replace(frame, probability=score) for frame, score in zip(track.frames, (0.9, 0.2, 0.5), strict=True)]
    said = first_page(replace(made, tracks=[replace(track, frames=frames)])).what
    assert said.endswith("Single frames score 20 % to 90 %; before calibration, the score is their mean.")
    assert "Single frames" not in first_page(document(frames=0)).what


def test_the_original_of_the_case_is_on_the_first_page(document: Make) -> None:
    made = document()
    face = RestoredFace(
        1, 0, 1.0, -1.0, 0.0, [], [], [], [], [], ["mouth", "nose"], -0.5, 4, 0.9, 0.25, None, 3.0, "Of a logit."
    )

    def said(**changes: Any) -> str:
        faces = [replace(face, face=2), replace(face, **changes)]
        page = first_page(replace(made, original=OriginalComparison(FileHash("o.mp4", 3, "ab"), 0.9, "", faces)))
        assert page.against in page.paragraph and "logit" not in page.paragraph
        return page.against

    assert first_page(made).against == ""
    assert said() == (
        "Of the same frame of the original the detector says real. Putting back its mouth and nose alone turns the "
        "verdict; as much of it at random places does so in 2 of 8 draws."
    )
    assert "alone does not turn the verdict" in said(named_logit=0.5)
    assert said(original_logit=2.0).endswith("what it reacts to is in the original as well.")
    assert said(named_logit=None) == "Of the same frame of the original the detector says real."
    assert said(limit=None).endswith("see below.")


@pytest.mark.parametrize(
    ("turns", "said"), [({"nodes": [1, 2, 3]}, "to leave out 3 of the 49 places"), (None, "not turn")]
)
def test_what_would_turn_it_is_said(document: Make, turns: Any, said: str) -> None:
    made = document()
    known = FaceCertificate(7, "", {"turns": turns, "total": 49})
    page = first_page(replace(made, tracks=[replace(made.tracks[0], certificate=known)]))
    assert said in page.how_sure[-1] and "in frame 7" in page.how_sure[-1]


def test_what_is_passed_on_carries_its_limit(document: Make) -> None:
    made = document()
    drawn = replace(made, checkpoint=replace(made.checkpoint, recordings=False, trained_on="Trained on drawn faces."))
    page = first_page(drawn)
    assert page.title.endswith("not valid for recordings")
    assert page.headline.startswith("Not valid for recordings.")
    for part in (page.what, page.where, *page.how_sure, *page.limits, "Trained on drawn faces.", NO_PROOF):
        assert part in page.paragraph
    assert not re.search(r"\b(logits?|nodes?|NodeAblation|temperature|explainers?)\b", page.paragraph)


def test_without_a_face_nothing_is_claimed(document: Make) -> None:
    page = first_page(document(faces=0))
    assert (page.headline, page.where, page.how_sure) == ("No face found", "", [])
