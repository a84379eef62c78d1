"""Results of ``resgat test``, ``cross`` and ``robustness``, read for a model card and matched with the checkpoint."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from resgat_pl.core.errors import ConfigError, ManifestError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.privacy import without_paths
from resgat_pl.core.text import first_line, joined, shorten
from resgat_pl.data.splits.skipped import Coverage
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval, interval
from resgat_pl.evaluation.metrics.scores import AT_VAL, RESULTS_NAME, RESULTS_VERSION
from resgat_pl.evaluation.train_test_overlap import REMEMBERED
from resgat_pl.evaluation.training_data import MARK

_MATRIX_VERSION: Final = 1
"""Format of ``cross.json`` and ``robustness.json``."""


class ErrorRates(NamedTuple):
    """Errors at a threshold.

    Attributes:
        false_alarms: Genuine samples called fake.
        missed: Fakes called genuine.
        fpr: Share of the genuine samples called fake, with Wilson's interval in which each clip counts once.
        fnr: Share of the fakes missed, likewise.
    """

    false_alarms: int
    missed: int
    fpr: Interval
    fnr: Interval


@dataclass(frozen=True)
class Row:
    """The scores of one level against the fakes of one method, see ``metrics.scores.Scores``."""

    level: str
    method: str
    real: int
    fake: int
    clips: int
    values: Mapping[str, Interval]

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Row:
        """Undo ``Scores.plain``.

        Raises:
            ValueError, TypeError, KeyError: It is something else.
        """
        groups = stored.get("groups") or {}
        values = {
            str(name): _interval(three)._replace(groups=int(groups.get(name, 0)))
            for name, three in stored["values"].items()
        }
        level, method = shorten(stored["level"]), shorten(stored["method"])
        return cls(level, method, int(stored["real"]), int(stored["fake"]), int(stored["clips"]), values)

    def errors(self, suffix: str = AT_VAL) -> ErrorRates | None:
        """Errors at the threshold of validation (or at 0.5, with no suffix); None where it has no scores.

        Accuracy and F1 of counts give the counts: with W wrong, F1 = 2 TP / (2 TP + W).
        """
        accuracy, f1 = (self.values.get(f"{name}{suffix}") for name in ("accuracy", "f1_fake"))
        if accuracy is None or f1 is None or not self.real or not self.fake:
            return None
        wrong = round((1 - accuracy.value) * (self.real + self.fake))
        found = self.fake if not wrong else round(f1.value * wrong / (2 * (1 - f1.value))) if f1.value < 1 else -1
        missed = self.fake - found
        false_alarms = wrong - missed
        if not (0 <= missed <= self.fake and 0 <= false_alarms <= self.real):
            return None
        groups = self.values.get(f"balanced_accuracy{suffix}", accuracy).groups
        fpr, fnr = (_share(*pair, groups) for pair in ((false_alarms, self.real), (missed, self.fake)))
        return ErrorRates(false_alarms, missed, fpr, fnr)


@dataclass(frozen=True)
class DataSetTest:
    """A test of the checkpoint on one data set.

    Attributes:
        data: Data set in words.
        protocol: Split protocol in words.
        rows: Scores.
        coverage: Videos scored, of all.
        leaky: Kinds of leak.
        people: Statements on people who are unknown.
        compressions: Of the test videos, where known.
        methods: Manipulations in the test, where known.
        recordings: Whether the faces were recorded: false for those of ``resgat synth``, None if unknown.
    """

    data: str
    protocol: str
    rows: list[Row]
    coverage: str
    leaky: list[str]
    people: list[str]
    compressions: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    recordings: bool | None = None


@dataclass(frozen=True)
class Results:
    """Everything that a model card says on tests.

    Attributes:
        tests: One per data set.
        refused: Tests that were not made, and why.
        damaged: Rows of a robustness test: damage, strength, AUROC per video, loss.
        sources: Files that were read.

    Example:
        >>> Results().tests
        []
    """

    tests: list[DataSetTest] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    damaged: list[list[str]] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)


def find_results(detector: Detector, given: str | None) -> Results:
    """Read the results of a checkpoint.

    Args:
        detector: The checkpoint.
        given: Files or their folders, separated by commas; None takes each ``results.json`` of this checkpoint in its
            run's folder.

    Raises:
        ManifestError: A file is none of ours, or of another format.
        ConfigError: A file that was named is of another checkpoint, or is not there.
    """
    if given is None:
        path = detector.path.absolute()
        run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        paths = sorted({*run.glob(RESULTS_NAME), *run.glob(f"*/{RESULTS_NAME}")})
        return _collect(detector, [path for path in paths if _belongs(detector, _read(path))])
    paths = [Path(name.strip()) for name in given.split(",") if name.strip()]
    paths = [path / RESULTS_NAME if path.is_dir() else path for path in paths]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"--results: there is no file {path}. Name results.json, cross.json or robustness.json.")
        if not _belongs(detector, _read(path)):
            raise ConfigError(
                f"--results: {path} is not of {detector.path}: its checkpoint has another hash, provenance or "
                "threshold. Test this checkpoint, or leave the file out."
            )
    return _collect(detector, paths)


def _collect(detector: Detector, paths: list[Path]) -> Results:
    found = Results(sources=paths)
    for path in paths:
        document = _read(path)
        read: Callable[[Detector, Mapping[str, Any], Path, Results], None] = (
            _read_cross if "cells" in document else _read_robustness if "points" in document else _read_test
        )
        try:
            read(detector, document, path, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ManifestError(f"{path} holds no results of this version ({first_line(error)}). Test again.") from None
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise TypeError("it is no object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ManifestError(f"Cannot read {path}: {first_line(error)}. Test again.") from None
    newest = _MATRIX_VERSION if {"cells", "points"} & document.keys() else RESULTS_VERSION
    schema = document.get("schema", newest)
    check_version(schema, newest, path, ManifestError, again="Test again.", writer=document.get(WRITER))
    return document


def _belongs(detector: Detector, document: Mapping[str, Any]) -> bool:
    """True if results are of this checkpoint: by its hash, else by provenance, thresholds and temperatures."""
    if "checkpoint_sha256" in document:
        sums = document["checkpoint_sha256"]
        return detector.checkpoint.fingerprint in (sums.values() if isinstance(sums, dict) else [sums])
    if "scores" not in document:
        return False
    tested = document.get("checkpoint")
    theirs = tested.get("provenance") if isinstance(tested, dict) else None
    ours = {name: value for name, value in (detector.provenance or {}).items() if name not in REMEMBERED}
    same = _normal(ours or None) == _normal(theirs)
    chosen = {"thresholds": detector.thresholds, "temperatures": detector.temperatures}
    return same and all(_normal(document.get(name)) == _normal(value) for name, value in chosen.items())


def _normal(value: Any) -> Any:
    """Plain values as JSON returns them, without paths: a shared checkpoint has none."""
    return json.loads(json.dumps(without_paths(value)))


def _read_test(detector: Detector, document: Mapping[str, Any], path: Path, found: Results) -> None:
    data = (document.get("provenance") or {}).get("data") or {}
    seen = _videos(path.parent / "predictions" / "videos.csv")
    sets = sorted({name for name, _, _ in seen})
    compressions = frozenset(name for _, name, _ in seen if name)
    crops = without_paths(str(data.get("crops") or "")).rpartition("/")[2]
    unnamed = f"crops {shorten(crops)}" if crops else "unnamed crops"
    named = joined([shorten(name) for name in sets]) if sets else unnamed
    made = data.get(MARK)
    recordings = None if made is None else made not in {"drawn", "portraits"}
    notes = [*sorted(compressions), *(["made by resgat synth"] if recordings is False else [])]
    found.tests.append(
        DataSetTest(
            named + (f" ({', '.join(notes)})" if notes else ""),
            describe_protocol(data.get("protocol")),
            [Row.read(row) for row in document["scores"]],
            _coverage(document.get("videos") or {}),
            [shorten(kind) for kind in document.get("leaky") or ()],
            [shorten(line, 300) for line in document.get("people_unknown") or ()],
            compressions,
            frozenset(method for _, _, method in seen if method),
            recordings,
        )
    )


def _read_cross(detector: Detector, document: Mapping[str, Any], path: Path, found: Results) -> None:
    sums = document["checkpoint_sha256"]
    for cell in document["cells"]:
        if sums[cell["train"]] != detector.checkpoint.fingerprint:
            continue
        name = shorten(cell["test"])
        if "refused" in cell:
            found.refused.append(f"{name}: {shorten(without_paths(cell['refused']), 300)}")
            continue
        rows = [Row.read(row) for row in cell["scores"]]
        leaks = [shorten(kind) for kind in cell.get("leaky") or ()]
        people = [shorten(line, 300) for line in cell.get("people_unknown") or ()]
        protocol = "the splits of these crops, or the protocol of the training where it was trained on them"
        found.tests.append(DataSetTest(name, protocol, rows, _coverage(cell["videos"]), leaks, people))


def _read_robustness(detector: Detector, document: Mapping[str, Any], path: Path, found: Results) -> None:
    for point in document["points"]:
        video, loss = (_interval(point[name][:3]).text(counted=False) for name in ("video", "loss"))
        kind, label = shorten(point["kind"] or "none"), shorten(point["label"])
        found.damaged.append([kind, label, video, loss if point["strength"] else ""])


def describe_protocol(spec: object) -> str:
    """A split protocol from a provenance, in words: its name, its arguments, and the leaks that it declares."""
    if not isinstance(spec, Mapping) or not spec:
        return "unknown"
    others = {name: value for name, value in spec.items() if name not in {"name", "declares"}}
    arguments = [f"{shorten(name)} {shorten(value)}" for name, value in others.items()]
    declares = [shorten(kind) for kind in spec.get("declares") or ()]
    text = shorten(spec.get("name", "unnamed")) + (f" ({', '.join(arguments)})" if arguments else "")
    return f"{text}; {'it declares leaks: ' + ', '.join(declares) if declares else 'it declares no leak'}"


def _videos(path: Path) -> set[tuple[str, str, str]]:
    """Data set, compression and method (empty for genuine videos) in ``videos.csv``; none where it is not there."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                (row["dataset"], row["compression"], row["method"] if row["label"] == "1" else "")
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError, csv.Error):
        return set()


def _coverage(stored: Mapping[str, Any]) -> str:
    if not isinstance(stored.get("scored"), int):
        return "how many videos were scored is unknown"
    names = ("of", "without_face_real", "without_face_fake", "without_face_of_unknown_split")
    of, *left = (stored.get(name) for name in names)
    return str(Coverage(stored["scored"], of, *(one or 0 for one in left)))


def _interval(three: Sequence[float | None]) -> Interval:
    """Undo ``Interval.plain``."""
    return Interval(*(math.nan if one is None else float(one) for one in three))


def _share(count: int, of: int, groups: int) -> Interval:
    share = count / of
    return interval(np.array([share, share]), groups=min(groups, of), samples=min(groups, of))
