"""The answers of a study: read, checked and analysed."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import check_version
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.explain.study.pages import KEY, VERSION

COLUMNS: Final = ("study", "participant", "trial", "item", "condition", "answer", "confidence", "seconds")
RESAMPLES: Final = 2000
_FEWEST: Final = 5
"""Fewer participants, or items, get no interval."""
Floats = NDArray[np.float64]


class Answers(NamedTuple):
    """All answers, one row each.

    Attributes:
        person: ``(n,)`` int codes.
        item: ``(n,)`` int codes.
        condition: ``(n,)`` str.
        fake: ``(n,)`` bool, the truth.
        said: ``(n,)`` bool, the answer.
        machine: ``(n,)`` bool, the detector's verdict.
        sure: ``(n,)`` float, confidence in percent.
        seconds: ``(n,)`` float.
    """

    person: NDArray[np.int64]
    item: NDArray[np.int64]
    condition: NDArray[np.str_]
    fake: NDArray[np.bool_]
    said: NDArray[np.bool_]
    machine: NDArray[np.bool_]
    sure: Floats
    seconds: Floats


class Estimate(NamedTuple):
    """A value with its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


MEASURES: Final[dict[str, tuple[str, Callable[[Answers, Floats], float]]]] = {
    "accuracy": ("right answers", lambda a, w: _mean(a.said == a.fake, w)),
    "hits": ("fakes called manipulated", lambda a, w: _mean(a.said[a.fake], w[a.fake])),
    "alarms": ("genuine faces called manipulated", lambda a, w: _mean(a.said[~a.fake], w[~a.fake])),
    "follows_right": (
        "agrees with the detector where it is right",
        lambda a, w: _mean((a.said == a.machine)[a.machine == a.fake], w[a.machine == a.fake]),
    ),
    "follows_wrong": (
        "agrees with the detector where it is wrong",
        lambda a, w: _mean((a.said == a.machine)[a.machine != a.fake], w[a.machine != a.fake]),
    ),
    "confidence": ("confidence, %", lambda a, w: _mean(a.sure, w)),
    "seconds": ("seconds a face, geometric mean", lambda a, w: float(np.exp(_mean(np.log(a.seconds + 0.1), w)) - 0.1)),
}
"""By name, its meaning and its computation with weights of the answers."""


def read_key(study: Path) -> dict[str, Any]:
    """The key of a study.

    Raises:
        ConfigError: It is missing, damaged, or of a newer version.
    """
    path = study / KEY
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): give the folder that resgat study make wrote.") from None
    if not isinstance(key, dict) or not {"study", "items", "plan", "conditions"} <= key.keys():
        raise ConfigError(f"{path} is no key of a study: give the folder that resgat study make wrote.")
    check_version(key.get("schema"), VERSION, path, ConfigError, again="Make the study again.")
    return key


def read_answers(key: dict[str, Any], paths: Sequence[Path]) -> tuple[Answers, list[str]]:
    """Read the files of the participants.

    Args:
        key: See ``read_key``.
        paths: CSV files.

    Returns:
        The answers, and notes on participants who did not finish.

    Raises:
        ConfigError: A file is of another study, has other columns or values, or a participant comes twice.
    """
    items = {entry["item"]: (place, entry) for place, entry in enumerate(key["items"])}
    rows: list[tuple[int, int, str, bool, bool, bool, float, float]] = []
    seen: dict[str, Path] = {}
    notes = []
    for path in paths:
        mine = _rows(path, key)
        person = mine[0]["participant"]
        if person in seen:
            raise ConfigError(f"{path} and {seen[person]} are both of {person}: give each page once, or remove one.")
        seen[person] = path
        wanted = dict(map(tuple, key["plan"][person]))
        for row in mine:
            if wanted.pop(row["item"], None) != row["condition"]:
                raise ConfigError(f"{path}: {row['item']} ({row['condition']}) was not asked of {person}, or is twice.")
            place, entry = items[row["item"]]
            fake, machine = entry["label"] == "fake", entry["verdict"] == "fake"
            numbers = float(row["confidence"]), float(row["seconds"])
            rows.append((len(seen) - 1, place, row["condition"], fake, row["answer"] == "fake", machine, *numbers))
        if wanted:
            notes.append(f"{person} answered {len(mine)} of {len(mine) + len(wanted)}.")
    if not rows:
        raise ConfigError("There are no answers: give the CSV files that the participants saved.")
    columns: list[Any] = list(zip(*rows, strict=True))
    kinds = (np.int64, np.int64, np.str_, np.bool_, np.bool_, np.bool_, np.float64, np.float64)
    return Answers(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True))), notes


def analyse(answers: Answers, conditions: Sequence[str], seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """Estimate every measure in every condition, and its difference to the first condition.

    The intervals are percentile bootstrap intervals with participants *and* faces drawn again (the pigeonhole
    bootstrap, Owen, Annals of Applied Statistics 2007): both are random effects, as in a mixed logistic model, and the
    interval is rather too wide than too narrow. All conditions are drawn together, so that differences are paired.

    Returns:
        By condition, and by ``CONDITION − FIRST``, the estimates by name; NaN where there is nothing to measure.
    """
    rng = np.random.default_rng(seed)
    people, items = (np.unique(codes, return_inverse=True)[1] for codes in (answers.person, answers.item))
    many = min(people.max(), items.max()) + 1 >= _FEWEST
    draws = RESAMPLES if many else 0
    weights = [np.ones(len(people))]
    for _ in range(draws):
        drawn = [rng.multinomial(n, np.full(n, 1 / n)) for n in (people.max() + 1, items.max() + 1)]
        weights.append((drawn[0][people] * drawn[1][items]).astype(np.float64))
    parts = {name: answers.condition == name for name in conditions}
    values = {
        name: {
            measure: np.array([compute(_part(answers, chosen), weight[chosen]) for weight in weights])
            for measure, (_, compute) in MEASURES.items()
        }
        for name, chosen in parts.items()
    }
    first = conditions[0]
    for name in conditions[1:]:
        values[f"{name} − {first}"] = {measure: values[name][measure] - values[first][measure] for measure in MEASURES}
    return {name: {measure: _estimate(drawn) for measure, drawn in each.items()} for name, each in values.items()}


def report(found: dict[str, dict[str, Estimate]], answers: Answers, notes: Sequence[str]) -> str:
    """The analysis as Markdown."""
    head = ["measure", *found]
    lines = [
        [meaning, *(_cell(each[measure], measure) for each in found.values())]
        for measure, (meaning, _) in MEASURES.items()
    ]
    people, items = len(np.unique(answers.person)), len(np.unique(answers.item))
    about = (
        f"{len(answers.said):,} answers of {people} participants on {items} faces. 95 % intervals by drawing "
        "participants and faces again; shares in %. A difference whose interval holds 0 is not shown."
    )
    few = [f"Fewer than {_FEWEST} participants or faces: no intervals."] if min(people, items) < _FEWEST else []
    return "\n".join([markdown_table(head, lines), "", about, *(f"- {note}" for note in (*few, *notes))])


def _rows(path: Path, key: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of one file, all of one participant, with values that a page can give."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if tuple(reader.fieldnames or ()) != COLUMNS or not rows:
        raise ConfigError(f"{path} has not the columns {', '.join(COLUMNS)} of a page of a study, or no answer.")
    for number, row in enumerate(rows, 2):
        place = f"{path}, line {number}"
        if row["study"] != key["study"]:
            raise ConfigError(f"{place}: is of the study {row['study']}, and the key of {key['study']}.")
        if row["participant"] != rows[0]["participant"] or row["participant"] not in key["plan"]:
            raise ConfigError(f"{place}: the participant {row['participant']!r} is another one, or was not planned.")
        valid = _number(row["confidence"], 0, 100) and _number(row["seconds"])
        if row["answer"] not in {"fake", "real"} or not valid:
            raise ConfigError(f"{place}: is not as the page saved it ({', '.join(map(str, row.values()))}).")
    return rows


def _number(text: str | None, least: float = 0, most: float = math.inf) -> bool:
    try:
        return least <= float(text or "nan") <= most and math.isfinite(float(text or "nan"))
    except ValueError:
        return False


def _part(answers: Answers, chosen: NDArray[np.bool_]) -> Answers:
    columns: list[Any] = [column[chosen] for column in answers]
    return Answers(*columns)


def _mean(values: NDArray[Any], weight: Floats) -> float:
    total = float(weight.sum())
    return float((values * weight).sum()) / total if total > 0 else math.nan


def _estimate(drawn: Floats) -> Estimate:
    rest = drawn[1:][np.isfinite(drawn[1:])]
    if math.isnan(drawn[0]) or len(rest) < 0.9 * len(drawn[1:]) or not len(rest):
        return Estimate(float(drawn[0]))
    low, high = np.quantile(rest, [0.025, 0.975])
    return Estimate(float(drawn[0]), float(low), float(high))


def _cell(estimate: Estimate, measure: str) -> str:
    if math.isnan(estimate.value):
        return ""
    factor = 1 if measure in {"confidence", "seconds"} else 100
    texts = [f"{factor * number:.1f}".replace("-", "−") for number in estimate if not math.isnan(number)]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"
