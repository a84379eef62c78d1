"""First page of a report, for readers who know nothing of the software: what, where, how sure, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from resgat_pl.core.text import joined
from resgat_pl.evaluation.error_rates import EVERYTHING
from resgat_pl.explain.benchmark.swaps import DRAWS
from resgat_pl.explain.report.document import Document, FaceTrack
from resgat_pl.explain.sentences import DISAGREEMENT

NO_PROOF: Final = "The output of a detector shows where to look. It is no proof."
BACKGROUND: Final = (
    "Background is everything outside the face: hair, ears, neck, clothes, and what is behind the person."
)
SIDES: Final = "Left and right are those of the picture as you see it, not the person's own."
NO_MASK: Final = (
    "Where says what the detector weighs. It is no outline of a manipulation, and names places in genuine faces too."
)
RATE_UNKNOWN: Final = (
    "How often the detector errs is unknown: no results of a test of this very checkpoint lie in the folder of its run."
)
_NAMED: Final = 3
"""Regions that are named."""
_NOTICEABLE: Final = 0.1
"""Share of the evidence from which on a region is named."""
_MUCH: Final = 0.5
"""Share of the evidence from which on the background has a warning: a manipulated face differs inside it."""
_OF_AREA: Final = " of the picture's area"
_LISTED: Final = 6


@dataclass(frozen=True)
class FirstPage:
    """The beginning of a report, as plain sentences without terms of this software.

    Attributes:
        title: Of the page and of pictures, short, with its limit in it: both are passed on alone.
        training: Data that the detector was trained and validated on.
        headline: The verdict, as one of a detector.
        what: The verdict on which face, with score and threshold.
        where: Regions that speak for it, each with its share of the evidence and of the picture.
        how_sure: Sentences on how often the detector errs, on what the score does and does not say, and on what would
            turn the verdict.
        limits: Sentences on what speaks against relying on it, the gravest first, and on the words of ``where``;
            without the notes of the document.
        paragraph: All of it in one paragraph that can be quoted.
        against: What the original of the case, put beside the deciding face, shows; empty without one.
    """

    title: str
    training: str
    headline: str
    what: str
    where: str
    how_sure: list[str]
    limits: list[str]
    paragraph: str
    against: str = ""


def first_page(document: Document) -> FirstPage:
    """Put a document into words.

    Every number is one of the document's, rounded, or a ratio of two of them.
    """
    training = f"{document.checkpoint.trained_on} {document.checkpoint.validated_on}"
    title = f"{document.file}: {_short(document)}"
    if document.probability is None:
        what = "Without a face there is nothing to judge: this says neither real nor fake."
        return FirstPage(title, training, "No face found", what, "", [], [], f"{document.file}: no face found. {what}")
    track = deciding(document)
    what, where, sure = _what(document, track), _where(document, track), _how_sure(document, track)
    against = _against(document, track)
    limits = [*_validity(document), *_background(document, track), *_contradictions(document, track), *_words(where)]
    quoted = " ".join(filter(None, [f"{document.file}: {what}", where, against, *sure, *limits, training, NO_PROOF]))
    return FirstPage(title, training, headline_of(document), what, where, sure, limits, quoted, against)


def headline_of(document: Document) -> str:
    """The verdict as one of a detector."""
    if document.verdict == "no face":
        return "No face found"
    said = _called(document)
    if document.decision.borderline and document.verdict != "inconclusive":
        said += ", borderline"
    if document.checkpoint.recordings is False:
        return f"Not valid for recordings. Detector's output: {said}"
    return f"Detector's verdict: {said}"


def percent(value: float) -> str:
    """A number in [0, 1] as a percentage.

    Example:
        >>> [percent(value) for value in (0.879, 0.999, 0.001)]
        ['88 %', 'above 99 %', 'below 1 %']
    """
    if value > 0.995:
        return "above 99 %"
    return "below 1 %" if value < 0.005 else f"{100 * value:.0f} %"


def both(value: float, limit: float) -> tuple[str, str]:
    """Two percentages with as many decimal places as it takes to see which is greater.

    Example:
        >>> both(0.6927, 0.693)
        ('69.27 %', '69.30 %')
    """
    if percent(value) != percent(limit) or value == limit:
        return percent(value), percent(limit)
    for digits in range(1, 16):
        texts = f"{100 * value:.{digits}f} %", f"{100 * limit:.{digits}f} %"
        if texts[0] != texts[1]:
            return texts
    return f"{100 * value:.17g} %", f"{100 * limit:.17g} %"


def deciding(document: Document) -> FaceTrack:
    """The face with the highest score, which decides alone or most."""
    return max(document.tracks, key=lambda track: track.score)


def leaning(document: Document) -> str:
    """``fake`` or ``real``: the side of the threshold, also of an inconclusive verdict."""
    return document.decision.leaning or document.verdict


def _called(document: Document) -> str:
    if document.verdict == "inconclusive":
        return f"inconclusive, leaning {leaning(document)}"
    return document.verdict


def evidence(document: Document, track: FaceTrack) -> dict[str, float] | None:
    """Share of each region in what speaks for the verdict on a file, in (0, 1], the largest first; they sum to 1.

    None without a map that adds up to the logit; empty where no region speaks for the verdict, or, of an inconclusive
    one, for the side to which it leans.
    """
    exact = [m.name for m in document.methods if m.unit == "logit" and m.exact and not m.name.startswith("Why ")]
    if not exact:
        return None
    sign = 1 if leaning(document) == "fake" else -1
    found = dict(zip(document.regions, track.maps[exact[0]].regions, strict=True))
    for_it = {name: sign * value for name, value in found.items() if sign * value > 0}
    total = sum(for_it.values())
    return {name: value / total for name, value in sorted(for_it.items(), key=lambda item: -item[1])}


def _short(document: Document) -> str:
    if document.probability is None:
        return "no face found"
    known = document.checkpoint.recordings
    limit = {True: "no proof", False: "not valid for recordings", None: "training data unknown, no proof"}[known]
    return f"detector says {_called(document)}, {limit}"


def _what(document: Document, track: FaceTrack) -> str:
    decision, judged = document.decision, len(document.tracks)
    probability = document.probability or 0.0
    score, limit = both(probability, decision.limit)
    if judged == 1:
        who = f"the face in this {document.kind}"
    elif decision.join == "noisy_or":
        who = f"the {judged} faces in this {document.kind} together"
    else:
        who = f"face {track.number}, of {judged} in this {document.kind} the one with the highest score,"
    side = "above" if leaning(document) == "fake" else "below" if probability < decision.limit else "not above"
    chosen = "" if decision.chosen else ", a default that no data support"
    said = f"The detector calls {who} {leaning(document)}: "
    if document.verdict == "inconclusive":
        said = f"Inconclusive: for {who} the detector leans to {leaning(document)}, without reason enough to say so: "
    text = f"{said}score {score}, {side} the threshold {limit}{chosen}.{_spread(track)}"
    seen = document.faces_found
    if seen is not None and seen > judged:
        text += f" Of {seen} faces that were seen, {judged} {'was' if judged == 1 else 'were'} judged."
    return text


def _where(document: Document, track: FaceTrack) -> str:
    shares = evidence(document, track)
    if shares is None:
        return "The detector cannot say: its maps are estimates from outside, and no parts of its computation."
    if not shares:
        return f"No part of the picture speaks for {leaning(document)}: what the detector starts from decides."
    areas = dict(zip(document.regions, track.areas, strict=False))
    named = [name for name, share in shares.items() if share >= _NOTICEABLE][:_NAMED] or list(shares)[:1]
    parts = []
    for place, name in enumerate(named):
        of_area = f" ({percent(areas[name])}{_OF_AREA if not place else ''})" if name in areas else ""
        parts.append(f"{percent(shares[name])} {'comes ' if not place else ''}from the {name}{of_area}")
    return f"Of all that speaks for {leaning(document)}, {joined(parts)}."


def _spread(track: FaceTrack) -> str:
    """Scores of single frames, on the scale of the file, of which the score is a mean."""
    values = [frame.probability for frame in track.frames]
    if len(values) < 2:
        return ""
    low, high = both(min(values), max(values))
    return f" Single frames score {low} to {high}; before calibration, the score is their mean."


def _against(document: Document, track: FaceTrack) -> str:
    """Finding of the restoration of the deciding face, without terms of this software."""
    faces = [] if document.original is None else document.original.faces
    face = next((face for face in faces if face.face == track.number), None)
    if face is None or face.limit is None:
        return "" if face is None else "The original was put beside it: see below."
    mine, whole = (value > face.limit for value in (face.logit, face.original_logit))
    said = f"Of the same frame of the original the detector says {'fake' if whole else 'real'}."
    if mine == whole:
        alike = " It judges both alike: what it reacts to is in the original as well." if mine else ""
        return said + alike
    if face.named_logit is None or face.random_turned is None:
        return said
    turns = "turns" if (face.named_logit > face.limit) == whole else "does not turn"
    return (
        f"{said} Putting back its {joined(face.named)} alone {turns} the verdict; as much of it at random places does "
        f"so in {round(face.random_turned * DRAWS)} of {DRAWS} draws."
    )


def _errors(document: Document) -> str:
    """Error rates of the detector over all files of its own test, with counts."""
    rates = [] if document.strength is None else document.strength.rates
    found = next((rate for rate in rates if rate.stratum == EVERYTHING), None)
    return RATE_UNKNOWN if found is None else f"In its own test: {found.text}. Below: for files like this one."


def _how_sure(document: Document, track: FaceTrack) -> list[str]:
    probability = document.probability or 0.0
    said = [*(f"Inconclusive: {reason}" for reason in document.decision.reasons), _errors(document)]
    if document.strength is not None and document.strength.likelihood is not None:
        said.append(document.strength.statement)
    files = "videos" if document.kind == "video" else "single faces"
    if document.calibration.temperature is not None:
        said.append(
            f"Among the {files} on which its scale was chosen, about {percent(probability)} of those with such a score "
            "were fake. This is not the probability that this file is fake: that also depends on how common fakes are "
            "where it comes from, and on how like those it is."
        )
    else:
        said.append(
            f"Unknown: the score is not calibrated. Of files that score {percent(probability)} any share may be fake."
        )
    if document.interval is not None:
        low, high = map(percent, document.interval)
        said.append(
            f"Other frames of this file would give {low} to {high} (95 % of draws). Frames of a video are alike, so "
            "this range is too narrow, and errors of the detector are not in it."
        )
    elif document.kind == "image":
        said.append("It is one picture, so how much the score would vary is unknown.")
    else:
        parts = "clips" if "clip_frames" in document.checkpoint.net.get("init_args", {}) else "frames"
        said.append(f"There are fewer than ten {parts}, so how much the score varies is unknown.")
    return said + _turning(track)


def _turning(track: FaceTrack) -> list[str]:
    """The certificate in words: so many places less, and the verdict is the other one."""
    if track.certificate is None:
        return []
    turns, total = track.certificate.numbers.get("turns"), track.certificate.numbers.get("total")
    where = f" in frame {track.certificate.frame}" if len(track.frames) > 1 else ""
    if turns is None:
        return [f"Leaving out places of the picture{where} did not turn it, as far as was tried."]
    return [f"What would turn it{where}: to leave out {len(turns['nodes'])} of the {total} places of the picture."]


def _validity(document: Document) -> list[str]:
    known = document.checkpoint.recordings
    if known is False:
        return ["The detector has never seen a recorded face: on photographs and recordings its verdict means nothing."]
    return [] if known else ["It is unknown whether the detector was trained on faces like this one."]


def _words(where: str) -> list[str]:
    """Definitions of the words of a sentence, and what it does not say."""
    sides = "left" in where or "right" in where
    return [NO_MASK] * ("% " in where) + [SIDES] * sides + [BACKGROUND] * ("background" in where)


def _background(document: Document, track: FaceTrack) -> list[str]:
    shares = evidence(document, track) or {}
    share = shares.get("background", 0.0)
    if share < _MUCH:
        return []
    return [
        f"{percent(share)} of the evidence lies outside the face, where a manipulated face is not changed: the "
        "detector may follow hair, clothes, surroundings or compression instead. Look there before you rely on it."
    ]


def _contradictions(document: Document, track: FaceTrack) -> list[str]:
    """Frames in which two ways to compute the map disagree about the place."""
    frames = [frame.index for frame in track.frames if frame.numbers.get("agreement", 1.0) < DISAGREEMENT]
    if not frames:
        return []
    if len(track.frames) == 1:
        return ["Two ways to compute the map contradict each other about the place: do not rely on the place."]
    listed = ", ".join(map(str, frames[:_LISTED])) + (", …" if len(frames) > _LISTED else "")
    return [
        f"In {len(frames)} of {len(track.frames)} frames ({listed}) two ways to compute the map contradict each other "
        "about the place: do not rely on the place there."
    ]


def picture_lines(document: Document) -> Sequence[str]:
    """Lines above a picture of a document, which is passed on alone."""
    page = first_page(document)
    return [page.what, *page.limits, *document.notes, page.training, NO_PROOF]
