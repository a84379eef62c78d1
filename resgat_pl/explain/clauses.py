"""Clauses of an explanation, each with the keys of its numbers, and the verifier that holds them against a report.

The numbers of a face are ``numbers`` of its part of ``report.json`` (a frame, or a face's mean). A key is the name of
one, such as ``region/mouth``, or several joined by ``+``, whose sum is meant. A clause is true if

- it has a key, and every key is there;
- its numbers, in the order of the text, are those of its first keys, rounded as they are printed;
- each region or kind that it names is one of its keys', and the direction that it states (*speaks for fake*, *looks
  altered*) is that of the number.

What no rule covers is not true: a verifier that lets pass what it does not understand proves nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import torch
from torch import Tensor

from resgat_pl.core.face_regions import REGIONS
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.outputs import NONE_OF_THESE

Numbers = Mapping[str, float]
_NUMBER: Final = re.compile(r"(above |below )?(?<![\w.])([+−-]?\d+(?:\.\d+)?)(?!\w|\.\d)")
_REGION: Final = re.compile(rf"\b({'|'.join(REGIONS)})\b")
_ALTERED: Final = re.compile(r"\b(altered|manipulated|forged|changed|tampered)\b")
_SPEAKS: Final = re.compile(r"\bspeaks? (noticeably )?for (fake|real)\b")
_VERDICT: Final = re.compile(r"^(Fake|Real),|\b(is|looks) (a )?(fake|real|genuine)\b")
_SPLIT: Final = re.compile(r"(?<=[.;!?])\s+|(?<=:)(?<!manipulation:)(?<!manipulated:)(?<!forgery:)\s+")
NOTICEABLE: Final = 0.1
"""Regions below this share of the strongest are not named."""
LIKELY: Final = 0.5
_PIXELS: Final = 112  # hardly matters for the share of a crop
_NEARLY: Final = 0.01  # numbers in a report are rounded, and so pixels at the threshold may change sides


@dataclass(frozen=True)
class Clause:
    """A part of an explanation.

    Attributes:
        text: Its words.
        keys: Names of the numbers that it states, in the order of the text, and then of those that it rests on.
    """

    text: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """A clause that was held against the numbers.

    Attributes:
        clause: The clause.
        fault: Why it is not true; empty if it is.
    """

    clause: Clause
    fault: str

    @property
    def holds(self) -> bool:
        """True if the numbers say the same."""
        return not self.fault


def verify(clauses: Sequence[Clause], numbers: Numbers) -> list[Checked]:
    """Hold clauses against the numbers of a face.

    Example:
        >>> numbers = {"region/nose": 1.234, "region/chin": -0.4}
        >>> clauses = [Clause("the nose (+1.2) speaks for fake", ("region/nose",)),
        ...            Clause("the chin (+0.4) speaks for fake", ("region/chin",))]
        >>> [checked.fault for checked in verify(clauses, numbers)]
        ['', 'it states +0.4, and region/chin is -0.4']
    """
    return [Checked(clause, _fault(clause, numbers)) for clause in clauses]


def verify_text(text: str, numbers: Numbers) -> list[Checked]:
    """Hold a text that somebody, or a network, wrote against the numbers of a face, clause by clause.

    Keys are looked up by the names in each clause: *the nose speaks for fake* by its contribution, *the nose looks
    altered* by the probability of the output of that region, or where there is none by a noticeable contribution.

    Example:
        >>> numbers = {"region/nose": 1.2, "region/chin": -0.4, "verdict": 1.0}
        >>> [checked.holds for checked in verify_text("The nose looks altered. The chin looks altered too.", numbers)]
        [True, False]
    """
    return verify([Clause(part, tuple(_keys_in(part, numbers))) for part in split_clauses(text)], numbers)


def verify_report(report: Mapping[str, Any]) -> list[Checked]:
    """Hold every clause of a ``report.json`` against its numbers, and the numbers against its maps.

    Args:
        report: As ``explain.report.document.read_report`` gives it.

    Returns:
        One for each clause of each face and frame; of a report of an earlier version, which has no clauses, none.
    """
    found: list[Checked] = []
    for track in report["tracks"]:
        for part in (track, *track["frames"]):
            numbers = part.get("numbers") or {}
            clauses = [Clause(clause["text"], tuple(clause["keys"])) for clause in part.get("clauses") or ()]
            checked = verify(clauses, numbers)
            for one in checked:
                fault = one.fault or _not_in_sentence(one.clause, part["sentence"]) or _not_of_maps(part, report)
                fault = fault or _not_of_mask(part, report) or _not_of_frames(part)
                found.append(Checked(one.clause, fault))
    return found


def hallucination_rate(checked: Sequence[Checked]) -> float:
    """Share of clauses whose numbers are not those of the report; NaN of none.

    Example:
        >>> hallucination_rate([Checked(Clause("a", ()), "no number"), Checked(Clause("b", ("bias",)), "")])
        0.5
    """
    return sum(not one.holds for one in checked) / len(checked) if checked else float("nan")


def split_clauses(text: str) -> list[str]:
    """Clauses of a text, ended by a full stop, a semicolon or a colon.

    Example:
        >>> split_clauses("Fake (logit +1.2): the nose speaks for fake; the chin does not. Look closer.")
        ['Fake (logit +1.2):', 'the nose speaks for fake;', 'the chin does not.', 'Look closer.']
    """
    return [part for part in _SPLIT.split(text.strip()) if part]


def noticeable(numbers: Numbers) -> dict[str, float]:
    """Contributions of the regions that are worth a name, by region."""
    regions = {key.removeprefix("region/"): value for key, value in numbers.items() if key.startswith("region/")}
    most = max(map(abs, regions.values()), default=0.0)
    return {name: value for name, value in regions.items() if value and abs(value) >= NOTICEABLE * most}


def digits_for(most: float) -> int:
    """Decimal places of contributions whose largest is ``most``: two significant digits of it, 1 to 4 places."""
    return 1 if most == 0 else min(4, max(1, 1 - math.floor(math.log10(most))))


def covered(masks: Tensor, lattice: Lattice, threshold: float) -> Tensor:
    """Share ``(B,)`` float64 of the crop on which masks of nodes ``(B, h, w)``, drawn over it, reach a threshold."""
    return (lattice.heatmap(masks, (_PIXELS, _PIXELS)) >= threshold).double().mean(dim=(1, 2))


def is_altered(region: str, numbers: Numbers) -> bool:
    """True if the numbers call a region manipulated: by its output, or where there is none by its contribution."""
    if any(key.startswith("manipulated/") for key in numbers):
        return numbers.get(f"manipulated/{region}", 0.0) > LIKELY
    return noticeable(numbers).get(region, 0.0) > 0


def _fault(clause: Clause, numbers: Numbers) -> str:
    """The first rule that a clause breaks, in words."""
    if not clause.keys:
        return "it rests on no number"
    if missing := [part for key in clause.keys for part in key.split("+") if part not in numbers]:
        return f"there is no number {missing[0]}"
    kinds = _names(numbers, "kind/")
    plain = _without(clause.text, kinds)
    stated = list(_NUMBER.finditer(plain))
    if fault := _wrong_number(stated, clause.keys, numbers):
        return fault
    named = {name for key in clause.keys for part in key.split("+") if (name := part.partition("/")[2])}
    said = {*_REGION.findall(plain.lower()), *(kind for kind in kinds if kind in clause.text)}
    if strange := said - named:
        return f"it names {min(strange)}, of which it has no key"
    claims = [claim for claim in _CLAIMS if claim.says.search(plain)]
    if not claims and not stated:
        return "it says nothing that a number could confirm"
    return next((fault for claim in claims if (fault := claim.fault(clause, numbers))), "")


def _wrong_number(stated: Sequence[re.Match[str]], keys: Sequence[str], numbers: Numbers) -> str:
    if len(stated) > len(keys):
        return "it states a number without a key"
    for match, key in zip(stated, keys, strict=False):
        value = sum(numbers[part] for part in key.split("+"))
        if not _agrees(match, value):
            return f"it states {match[2]}, and {key} is {value:.6g}"
    return ""


@dataclass(frozen=True)
class _Claim:
    """Words that state something, and the check of it."""

    says: re.Pattern[str]
    fault: Callable[[Clause, Numbers], str]


def _speaks(clause: Clause, numbers: Numbers) -> str:
    match = _SPEAKS.search(clause.text)
    side = match[2] if match else ""
    sign = 1 if side == "fake" else -1
    regions = [key for key in clause.keys if key.startswith("region/")]
    if "no region" in clause.text:
        most = max((abs(numbers[key]) for key in regions), default=0.0)
        least = max(NOTICEABLE * most, 0.5 * 10.0 ** -digits_for(most))
        loud = [key for key in regions if sign * numbers[key] > least]
        return f"{loud[0]} does" if loud else ""
    wrong = [key for key in regions if not sign * numbers[key] > 0]
    return f"{wrong[0]} is {numbers[wrong[0]]:.6g}" if wrong else "" if regions else "no region is named"


def _altered(clause: Clause, numbers: Numbers) -> str:
    regions = [key.partition("/")[2] for key in clause.keys if key.startswith(("region/", "manipulated/"))]
    wrong = [name for name in regions if not is_altered(name, numbers)]
    if re.search(r"\bno (part|region)\b|\bnot\b|\bnothing\b", clause.text.lower()):
        altered = [name for name in REGIONS if is_altered(name, numbers)]
        return f"the {altered[0]} is" if altered else ""
    return f"the {wrong[0]} is not" if wrong else "" if regions else "no region is named"


def _verdict(clause: Clause, numbers: Numbers) -> str:
    match = _VERDICT.search(clause.text)
    fake = bool(match and "fake" in match[0].lower())
    return "" if ("verdict" in numbers and (numbers["verdict"] > 0) == fake) else "the verdict is the other one"


def _kind(clause: Clause, numbers: Numbers) -> str:
    kinds = {name: numbers[f"kind/{name}"] for name in _names(numbers, "kind/")}
    unknown = numbers.get("unknown_kind", 0.0) > 0
    if NONE_OF_THESE in clause.text:
        return "" if unknown else "the kind is one of them"
    named = [name for name in kinds if name in clause.text]
    if not named:
        return "no kind is named"
    best = max((name for name in kinds if name != "genuine"), key=lambda name: kinds[name])
    return "" if not unknown and named == [best] else "the kind is another one"


def _flag(key: str, wanted: bool) -> Callable[[Clause, Numbers], str]:
    def fault(clause: Clause, numbers: Numbers) -> str:
        right = key in clause.keys and (numbers.get(key, 0.0) > 0) == wanted
        return "" if right else f"{key} does not say so"

    return fault


def _usual(clause: Clause, numbers: Numbers) -> str:
    fake = "would be fake" in clause.text or "say fake" in clause.text
    by_logit = "mean logit" in clause.text or ("logit" in clause.keys and "probability" not in clause.keys)
    value, limit = (numbers["logit"], 0.0) if by_logit else (numbers["probability"], 0.5)
    return "" if (value > limit) == fake else "it would not"


def _high(key: str, test: Callable[[float], bool]) -> Callable[[Clause, Numbers], str]:
    return lambda _, numbers: "" if key in numbers and test(numbers[key]) else f"{key} does not say so"


def _mask(clause: Clause, numbers: Numbers) -> str:
    if not {"mask/share", "mask/threshold", "mask/factor"} <= set(clause.keys):
        return "it has no key of the mask"
    stated = "not part of the logit" not in clause.text
    return "" if stated == (numbers["mask/factor"] > 0) else "mask/factor says otherwise"


def _span(clause: Clause, numbers: Numbers) -> str:
    if not {"span/first", "span/last", "span/mean", "span/rest"} <= set(clause.keys):
        return "it has no key of the span"
    if not numbers["span/first"] <= numbers["span/last"]:
        return "the span ends before it begins"
    return "" if numbers["span/mean"] > numbers["span/rest"] else "the other frames add more"


_CLAIMS: Final = (
    _Claim(_SPEAKS, _speaks),
    _Claim(_ALTERED, _altered),
    _Claim(_VERDICT, _verdict),
    _Claim(re.compile(r"\b[Kk]ind of (manipulation|forgery)\b"), _kind),
    _Claim(re.compile(r"is not calibrated"), _flag("calibrated", wanted=False)),
    _Claim(re.compile(r"those of an average face"), _flag("average_face", wanted=True)),
    _Claim(re.compile(r"are estimates by"), _flag("exact", wanted=False)),
    _Claim(re.compile(r"it would be|would say"), _usual),
    _Claim(re.compile(r"Attention is nearly uniform"), _high("entropy", lambda value: value > 0.9)),
    _Claim(re.compile(r"\bdisagree\b"), _high("agreement", lambda value: value < 0.5)),
    _Claim(re.compile(r"\bmask\b"), _mask),
    _Claim(re.compile(r"\bspan\b"), _span),
)


def _keys_in(text: str, numbers: Numbers) -> Iterator[str]:
    """Keys of what a clause of free text names."""
    lowered = text.lower()
    yield from dict.fromkeys(re.findall(r"\b(probability|logit|bias)\b", lowered))
    output = any(key.startswith("manipulated/") for key in numbers) and _ALTERED.search(lowered)
    for name in dict.fromkeys(_REGION.findall(lowered)):
        yield f"{'manipulated' if output else 'region'}/{name}"
    if re.search(r"\bno (part|region)\b|\bnothing\b", lowered):
        yield from (key for key in numbers if key.startswith("manipulated/" if output else "region/"))
    yield from (f"kind/{name}" for name in _names(numbers, "kind/") if name in text)
    if NONE_OF_THESE in text:
        yield "unknown_kind"
    yield from (key for part in ("mask", "span") if part in lowered for key in numbers if key.startswith(f"{part}/"))
    if re.search(r"\b(fake|real|genuine)\b", lowered):
        yield "verdict"


def _agrees(match: re.Match[str], value: float) -> bool:
    """True if a printed number is a value, rounded, or its bound."""
    text = match[2].replace("−", "-")
    if match[1]:
        return value > float(text) if match[1] == "above " else value < float(text)
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5000001 * 10.0**-digits


def _names(numbers: Numbers, prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in numbers if key.startswith(prefix)]


def _without(text: str, names: Sequence[str]) -> str:
    """A text without some names, which may hold digits."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "…")
    return text


def _not_of_mask(part: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """A difference between the share of the mask and its map, or of a face and its frames."""
    numbers, found = part["numbers"], part["maps"].get("PredictedMask")
    if "mask/share" not in numbers or found is None:
        return ""
    if "frames" in part:
        share = fmean(frame["numbers"]["mask/share"] for frame in part["frames"])
    else:
        centres = report["centres"]
        lattice = Lattice(1, 1, tuple(centres["rows"]), tuple(centres["columns"]))
        share = float(covered(torch.tensor(found["nodes"])[None], lattice, numbers["mask/threshold"])[0])
    return "" if abs(share - numbers["mask/share"]) <= _NEARLY else f"the map covers {share:.3g}"


def _not_of_frames(part: Mapping[str, Any]) -> str:
    """A difference between the span of a clip and the numbers of its frames."""
    numbers = part["numbers"]
    if "span/first" not in numbers:
        return ""
    groups: dict[bool, list[float]] = {True: [], False: []}
    for frame in part["frames"]:
        groups[numbers["span/first"] <= frame["index"] <= numbers["span/last"]].append(frame["logit"])
    pairs = (("mean", groups[True]), ("rest", groups[False]))
    wrong = [name for name, some in pairs if not some or abs(fmean(some) - numbers[f"span/{name}"]) > _NEARLY]
    return f"span/{wrong[0]} is not that of the frames" if wrong else ""


def _not_in_sentence(clause: Clause, sentence: str) -> str:
    return "" if clause.text in sentence else "the sentence does not have it"


def _not_of_maps(part: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """A difference between the numbers of a face and its map of contributions, where that was asked for."""
    found, numbers = part["maps"].get("Contribution"), part["numbers"]
    if found is None or not any(key.startswith("region/") for key in numbers):
        return ""
    pairs = [
        ("bias", found["bias"]),
        *((f"region/{name}", v) for name, v in zip(report["regions"], found["regions"], strict=True)),
    ]
    scale = 1 + abs(part["logit"])
    wrong = [key for key, value in pairs if abs(numbers[key] - value) > 1e-4 * scale]
    return f"{wrong[0]} is another one in the map" if wrong else ""
