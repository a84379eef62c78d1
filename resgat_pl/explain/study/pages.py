"""The pages of a study: one HTML file for each participant, and the key that stays with the researcher."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from resgat_pl.core.formats import stamp
from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.study.items import Item

Condition = Literal["none", "map", "report"]
KEY: Final = "key.json"
VERSION: Final = 1
CONSENT: Final = (
    "You will see pictures of faces, some of them manipulated by a computer, and say of each whether you think that it "
    "is genuine or manipulated. It takes about {minutes} minutes. Taking part is voluntary, and you may stop at any "
    "time by closing this page. The page records your answers, how sure you were and how long you took; nothing about "
    "you as a person, and nothing is sent anywhere: at the end you save a file and hand it in yourself."
)
_SECONDS: Final = 15
"""Time for one picture, of which the consent text states the sum."""


def plan(
    labels: Sequence[str], conditions: Sequence[Condition], participants: int, seed: int
) -> list[list[tuple[int, Condition]]]:
    """Order and conditions of the items for each participant.

    Within each class items rotate through the conditions (a Latin square): over any run of as many participants as
    there are conditions, each item is seen once in each; and for one participant, the conditions are as equally
    frequent within each class as the number of items allows. The order is random and differs between participants.

    Args:
        labels: Truth of each item.
        conditions: Names.
        participants: Their number.
        seed: Of all that is random.

    Returns:
        For each participant pairs of an item's number and a condition.

    Example:
        >>> [sorted(pairs) for pairs in plan(["fake", "real"], ["none", "map"], 2, 0)]
        [[(0, 'none'), (1, 'none')], [(0, 'map'), (1, 'map')]]
    """
    rng = np.random.default_rng(seed)
    place = np.zeros(len(labels), int)
    for label in sorted(set(labels)):
        mine = rng.permutation([i for i, each in enumerate(labels) if each == label])
        place[mine] = np.arange(len(mine))
    found = []
    for person in range(participants):
        order = rng.permutation(len(labels))
        found.append([(int(i), conditions[(place[i] + person) % len(conditions)]) for i in order])
    return found


def write_study(
    items: Sequence[Item], conditions: Sequence[Condition], participants: int, seed: int, out: Path, consent: str | None
) -> list[Path]:
    """Write the pages and the key.

    A page holds pictures, conditions and the numbers of items, and neither the names of files nor the truth; the
    verdict of the detector only where the condition shows it.

    Args:
        items: The faces.
        conditions: What is shown beside the face: nothing, the map, or the map with verdict and words.
        participants: Number of pages.
        seed: Of orders and numbers.
        out: Folder; its pages are replaced.
        consent: Text to agree to; None for ``CONSENT``.

    Returns:
        The pages.
    """
    rng = np.random.default_rng(seed)
    items = [items[i] for i in rng.permutation(len(items))]  # numbers say nothing of the order of files
    names = [f"i{number:03d}" for number in range(1, len(items) + 1)]
    plans = plan([item.label for item in items], conditions, participants, seed + 1)
    truth = [
        {"item": name, "file": item.file, "label": item.label, "verdict": item.verdict, "probability": item.probability}
        for name, item in zip(names, items, strict=True)
    ]
    identity = hashlib.sha256(json.dumps([truth, plans, seed]).encode()).hexdigest()[:12]
    minutes = max(1, round(len(items) * _SECONDS / 60))
    text = (CONSENT if consent is None else consent).replace("{minutes}", str(minutes))
    out.mkdir(parents=True, exist_ok=True)
    written, order = [], {}
    for number, pairs in enumerate(plans, 1):
        person = f"p{number:03d}"
        trials = [_trial(names[i], items[i], condition) for i, condition in pairs]
        order[person] = [[names[i], condition] for i, condition in pairs]
        page = {"study": identity, "participant": person, "consent": text, "trials": trials}
        written.append(out / f"{person}.html")
        write_atomic(written[-1], to_html(page).encode())
    key = {
        **stamp(VERSION),
        "study": identity,
        "seed": seed,
        "conditions": list(conditions),
        "consent": text,
        "items": truth,
        "plan": order,
    }
    write_atomic(out / KEY, json.dumps(key, ensure_ascii=False, indent=1).encode())
    return written


def to_html(page: dict[str, Any]) -> str:
    """One page; like a report it may not load or send anything."""
    style, script = (_asset(name) for name in ("study.css", "study.js"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(page, ensure_ascii=True).translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"})
    parts = {"policy": policy, "participant": html.escape(page["participant"])}
    parts |= {"style": style, "data": data, "script": script}
    # In one pass: what is put in is not looked through again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("study.html"))


def _trial(name: str, item: Item, condition: Condition) -> dict[str, Any]:
    shown: dict[str, Any] = {"item": name, "condition": condition, "face": _data_url(item.face)}
    if condition != "none":
        shown |= {"map": _data_url(item.map), "legend": item.legend}
    if condition == "report":
        says = "manipulated" if item.verdict == "fake" else "genuine"
        chance = f"probability of manipulated {item.probability:.0%}"
        shown["words"] = f"The detector says {says} ({chance}). {item.sentence}"
    return shown


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return files("resgat_pl.explain.study").joinpath(name).read_text("utf-8")
