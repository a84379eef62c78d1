"""The faces of a study, taken from the reports of ``resgat explain``."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.drawing.overlay import Scale, overlay, spread
from resgat_pl.explain.report.scores_csv import SCORES, read_rows
from resgat_pl.nn.node_geometry import Lattice

SIDE: Final = 448
"""Side in px of the pictures."""
_DATA: Final = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
Label = Literal["fake", "real"]


class Item(NamedTuple):
    """One face to be judged.

    Attributes:
        file: As ``scores.csv`` names it.
        label: The truth.
        verdict: The detector's.
        probability: Of fake, by the detector, of the frame that is shown.
        face: JPEG, without a map.
        map: JPEG of the same size, with the map of the report's first method over it.
        sentence: The explanation in words.
        legend: Unit and scale of the map, in words.
    """

    file: str
    label: Label
    verdict: Label
    probability: float
    face: bytes
    map: bytes
    sentence: str
    legend: str


def read_items(explained: Path, truth: Path) -> list[Item]:
    """The judged files of which the truth is known.

    Args:
        explained: Folder that ``resgat explain`` wrote, with reports.
        truth: CSV file with the columns ``file``, as in ``scores.csv``, and ``label``, ``fake`` or ``real``.

    Raises:
        ConfigError: A file cannot be read, names something unknown, or there are not four faces of each class.
    """
    labels = _labels(truth)
    table = explained / SCORES
    if not table.is_file():
        raise ConfigError(f"{explained} has no {SCORES}: give the folder that resgat explain wrote (--out).")
    rows = {row["file"]: row for row in read_rows(table)}
    if unknown := [name for name in labels if name not in rows]:
        raise ConfigError(f"{truth} names {unknown[0]!r}, which is not in the column file of {table}.")
    found = [
        _item(name, label, explained / rows[name]["report"] / "report.html")
        for name, label in labels.items()
        if rows[name]["status"] == "scored" and rows[name]["report"]
    ]
    counts = {label: sum(item.label == label for item in found) for label in ("fake", "real")}
    if min(counts.values()) < 4:
        raise ConfigError(
            f"A study needs 4 faces of each class at least; {truth} and {explained} have {counts['fake']} fakes and "
            f"{counts['real']} genuine ones with a report."
        )
    return found


def _labels(truth: Path) -> dict[str, Label]:
    try:
        with truth.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"--truth {truth} cannot be read: {error}") from None
    found: dict[str, Label] = {}
    for number, row in enumerate(rows, 2):
        name, label = (row.get("file") or "").strip(), (row.get("label") or "").strip().lower()
        if not name or label not in {"fake", "real"}:
            raise ConfigError(f"{truth}, line {number}: needs the columns file and label, which is fake or real.")
        found[name] = "fake" if label == "fake" else "real"
    return found


def _item(name: str, label: Label, page: Path) -> Item:
    document = _read_page(page)
    try:
        track = max(document["tracks"], key=lambda each: each["probability"])  # the face that decides
        verdict = document["decision"].get("leaning") or document["verdict"]  # participants decide, and so does it
        frame = _frame_of(track["frames"], verdict, document["decision"]["limit"])
        method = document["methods"][0]
        nodes = np.array(frame["maps"][method["name"]]["nodes"], np.float32)
        centres = document["centres"]
        image = _decoded(base64.b64decode(frame["jpeg"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{page} is no report of this version ({error}): explain the file again.") from None
    low, colours = (-method["scale"], "RdBu_r") if method["signed"] else (0.0, "magma")
    scale = Scale(low, method["scale"], colours)
    lattice = Lattice(1, 1, tuple(centres["rows"]), tuple(centres["columns"]))
    face = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    drawn = overlay(face, spread(nodes, lattice, face.shape[:2]), scale)
    signed = "red speaks for manipulated, blue for genuine" if method["signed"] else "bright is strong"
    legend = f"{method['name']}: {signed}; the strongest colour is {method['scale']:g} {method['unit']}."
    return Item(name, label, verdict, frame["probability"], _jpeg(face), _jpeg(drawn), frame["sentence"], legend)


def _frame_of(frames: Sequence[dict[str, Any]], verdict: Label, limit: float) -> dict[str, Any]:
    """Of the frames on the verdict's side of the threshold the one nearest to the middle.

    What participants see shall say what the detector said: a frame on the other side has words against the verdict.
    """
    middle = len(frames) // 2
    alike = [place for place, frame in enumerate(frames) if (frame["probability"] > limit) == (verdict == "fake")]
    return frames[min(alike or [middle], key=lambda place: abs(place - middle))]


def _read_page(page: Path) -> dict[str, Any]:
    try:
        found = _DATA.search(page.read_text(encoding="utf-8"))
        content = json.loads(found[1]) if found else None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{page} cannot be read ({error}): explain the file again, with reports.") from None
    if not isinstance(content, dict) or not content.get("tracks") or not content.get("methods"):
        raise ConfigError(f"{page} is no report of resgat explain with a face: explain the file again.")
    return content


def _decoded(jpeg: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("its picture is damaged")
    return np.asarray(image, np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    drawn = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
