"""The numbers of a report once more: its own sums, and its scores from the media."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.text import shorten
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain import registry
from resgat_pl.explain.custody.record import hash_crops, machine
from resgat_pl.explain.report.document import Document, plain
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder, FoundFaces, cutting_of
from resgat_pl.explain.report.media_search import Medium, search_media
from resgat_pl.explain.report.run_methods import choose_methods, default_methods, require_explainable
from resgat_pl.nn.video.faces import Join

TOLERANCE: Final = 1e-3
"""Of probabilities and, times (1 + their size), of logits, on another machine or with other versions."""
BOX: Final = 2
"""Px by which a box may differ there, since the face detector's arithmetic does."""
_EXACT: Final = 1e-3
"""Gap from which a map that adds up by construction does not."""
_ROUNDED: Final = 1e-4
"""What rounding to seven digits leaves of a sum, times (1 + the size of the logit)."""
_SHOWN: Final = 4


class Check(NamedTuple):
    """One point of a verification.

    Attributes:
        name: What was checked.
        fits: None where it was not checked.
        said: The finding in words.
    """

    name: str
    fits: bool | None
    said: str


def ledger(report: Mapping[str, Any]) -> Iterator[Check]:
    """Check the sums of a report: maps against logits, frames against faces, faces against the verdict."""
    try:
        wrong = list(_sums(report))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        wrong = [f"a number is missing or of another type ({shorten(error)})"]
    counted = sum(len(track.get("frames", ())) for track in report["tracks"] if isinstance(track, dict))
    if wrong:
        yield Check("sums", False, "; ".join(wrong[:_SHOWN]) + "; …" * (len(wrong) > _SHOWN))
    else:
        yield Check("sums", True, f"{counted} frames: nodes and regions add up to the logits, and these to the verdict")


def _sums(report: Mapping[str, Any]) -> Iterator[str]:
    exact = {method["name"] for method in report["methods"] if method["exact"] and method["unit"] == "logit"}
    for track in report["tracks"]:
        places = [(f"face {track['number']}", track)]
        places += [(f"face {track['number']}, frame {frame['index']}", frame) for frame in track["frames"]]
        for where, part in places:
            for name, found in part["maps"].items():
                if name not in exact:
                    continue
                logit = part["logit"] if found.get("logit") is None else found["logit"]
                if found["gap"] > _EXACT:
                    yield f"{where}: {name} misses its logit by {found['gap']:.2g}"
                room = (found["gap"] + _ROUNDED) * (1 + abs(logit))
                for kind, total in (("nodes", sum(map(sum, found["nodes"]))), ("regions", sum(found["regions"]))):
                    if not abs(total + found["bias"] - logit) <= room:
                        yield f"{where}: the {kind} of {name} add up to {total + found['bias']:.5g}, not to {logit:.5g}"
    decision = report["decision"]
    if decision["score"] is None:
        if report["verdict"] in {"fake", "real"}:
            yield f"the verdict is {report['verdict']} without a score"
        return
    side = "fake" if decision["score"] > decision["threshold"] else "real"
    if (decision.get("leaning") or report["verdict"]) != side:
        yield f"the verdict is {report['verdict']}, and the score {decision['score']:.5g} says {side}"
    decided = "inconclusive" if decision.get("reasons") else side
    if report["verdict"] != decided:
        yield f"the verdict is {report['verdict']}, and its reasons make it {decided}"
    highest = max(track["score"] for track in report["tracks"])
    if decision.get("join", "maximum") == "maximum" and not math.isclose(highest, decision["score"], abs_tol=1e-5):
        yield f"the score is {decision['score']:.5g}, and the highest of its faces {highest:.5g}"


def rescored(report: Mapping[str, Any], media: Path, ckpt_path: Path, timeout: float) -> Iterator[Check]:
    """Judge a file again with the settings of its report, and compare all numbers.

    Args:
        report: As of ``document.read_report``, with a chain of custody; it may be hostile.
        media: The file.
        ckpt_path: The checkpoint.
        timeout: Seconds for decoding and finding faces.

    Raises:
        MediaError: The file cannot be read.
        WeightsError: The checkpoint cannot be read.
    """
    detector = Detector.load(ckpt_path)
    (medium,) = search_media([media]).media
    try:
        finder, examiner = _as_recorded(report, detector, timeout)
    except (ResGATError, KeyError, TypeError, ValueError, AttributeError) as error:
        yield Check("scores", False, f"its settings cannot be used ({shorten(error, 200)})")
        return
    try:
        found = finder.find(medium)
    finally:
        finder.close()
    again = examiner.document(medium, found, time.perf_counter())
    different = _conditions(report, again)
    yield from _compared(report, medium, found, again, different)


def _as_recorded(report: Mapping[str, Any], detector: Detector, timeout: float) -> tuple[FaceFinder, Examiner]:
    """Finder and examiner with the settings of a report; only what this package has is made from its text."""
    settings = report["custody"]["configuration"]
    cutting, _ = cutting_of({"data": {"extraction": report["checkpoint"]["extraction"]}})
    frames, every, faces = settings["frames"], settings["every"], settings["faces"]
    batch, seed = settings["batch_size"], settings["seed"]
    for name, value in (("frames", 1 if frames == "all" else frames), ("every", every or 1), ("faces", faces)):
        _require_count(name, value)
    _require_count("batch_size", batch)
    join = settings.get("join") or "maximum"
    if join not in get_args(Join) or isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError("join or seed are none")
    cutting = replace(cutting, frames=frames, every=every)
    own = registry.own_names()
    named = [name for name in settings["methods"] or () if isinstance(name, str) and name in own]
    chosen = choose_methods(",".join(named) or default_methods(detector.net))
    require_explainable(detector.net, chosen)
    assumed = list(map(str, report["checkpoint"]["assumed"]))
    bound = float(settings.get("inconclusive") or 0)
    examiner = Examiner(detector, cutting, assumed, chosen, batch, seed, join=cast("Join", join), bound=bound)
    if settings.get("pool") != examiner.weigher.pool_sha256:
        raise ConfigError("the likelihood ratios beside the checkpoint are others than those of the report")
    return FaceFinder(cutting, faces, timeout), examiner


def _require_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6:
        raise ConfigError(f"{name} is {shorten(value)}")


def _conditions(report: Mapping[str, Any], again: Document) -> list[str]:
    """Conditions that differ from those of the report, by which the last bits of numbers may differ."""
    recorded, here = report["custody"]["machine"], machine()
    recorded = recorded if isinstance(recorded, dict) else {}
    different = [name for name, value in here.items() if recorded.get(name) != value]
    known = report["versions"] if isinstance(report["versions"], dict) else {}
    versions = again.versions
    names = ("resgat_pl", "git", "python", "platform", "packages")
    return [*different, *(f"versions.{name}" for name in names if known.get(name) != versions.get(name))]


def _compared(
    report: Mapping[str, Any], medium: Medium, found: FoundFaces, again: Document, different: list[str]
) -> Iterator[Check]:
    crops = hash_crops(shot.image for track in found.tracks for shot in track)
    if crops == report["custody"]["crops_sha256"]:
        yield Check("faces", True, "cut out again, every pixel is the same")
    else:
        yield Check("faces", None if different else False, "cut out again, their pixels differ")
    where = "on this machine and with these versions" if not different else f"elsewhere ({', '.join(different)} differ)"
    try:
        numbers = dict(_numbers(report))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield Check("scores", False, f"a number of the report is missing or of another type ({shorten(error)})")
        return
    here = dict(_numbers(plain(again)))
    wrong = [
        f"{name} is {_said(here.get(name))}, was {_said(numbers.get(name))}"
        for name in dict.fromkeys([*numbers, *here])
        if not _alike(name, numbers.get(name), here.get(name), exact=not different)
    ]
    if not wrong:
        how = "to the last digit" if numbers == here else f"within {TOLERANCE:g}"
        yield Check("scores", True, f"{len(numbers)} numbers of {medium.path.name} are the same {how} {where}")
        return
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    yield Check("scores", False, f"{where}: {'; '.join(wrong[:_SHOWN])}{more}")


def _numbers(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything that is compared, by name: verdict, decision and, face by face and frame by frame, scores and maps."""
    for name in ("kind", "verdict", "probability", "frames_total", "frames_sampled"):
        yield name, report[name]
    for name in ("score", "threshold", "limit"):
        yield f"decision {name}", report["decision"][name]
    for number, track in enumerate(report["tracks"], 1):
        for name in ("probability", "score", "logit"):
            yield f"face {number}: {name}", track[name]
        for frame in track["frames"]:
            ahead = f"face {number}, frame {frame['index']}: "
            for name in ("logit", "probability"):
                yield ahead + name, frame[name]
            for place, value in enumerate(frame["box"]):
                yield f"{ahead}box {place}", value
            for name in ("Contribution", "ClipContribution", "EnsembleContribution"):
                if name in frame["maps"]:
                    for place, value in enumerate(value for row in frame["maps"][name]["nodes"] for value in row):
                        yield f"{ahead}logit of node {place} by {name}", value


def _alike(name: str, one: object, other: object, exact: bool) -> bool:
    if exact or not isinstance(one, int | float) or not isinstance(other, int | float):
        return one == other
    what = name.rpartition(": ")[2]
    if what.startswith("box"):
        return abs(one - other) <= BOX
    room = TOLERANCE * (1 + abs(one)) if what.startswith("logit") else TOLERANCE
    return abs(one - other) <= room


def _said(value: object) -> str:
    return "absent" if value is None else f"{value:.7g}" if isinstance(value, float) else shorten(value)
