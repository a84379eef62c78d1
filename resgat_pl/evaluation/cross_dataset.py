"""A train × test matrix: every checkpoint on every data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import csv_table, json_text, markdown_table
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.data.splits.skipped import coverage
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import CLIPS, POOLED, evaluate
from resgat_pl.evaluation.predict import score
from resgat_pl.evaluation.provenance import environment
from resgat_pl.evaluation.train_test_overlap import mark_of_leaks, people_unknown

_NAMED: Final = re.compile(r"(?:([^=/]*)=)?(.*)")
"""NAME=PATH or PATH; an equals sign behind a slash belongs to the path."""
_CSV_HEADER: Final = ("train", "test", "level", "method", "metric", *Interval._fields, "leaky", "people_unknown")


class _Cell(NamedTuple):
    """One checkpoint on one data set, as it is written into each of the files."""

    json: dict[str, Any]
    text: str
    notes: list[str]
    rows: Sequence[list[object]] = ()


def cross(
    ckpt_path: str,
    crops: str,
    split: SplitProtocol | None = None,
    out: Path = Path("runs/cross"),
    batch_size: int = 32,
    workers: int = 0,
    allow_leakage: bool = False,
) -> str:
    """Test every checkpoint on every data set: a train × test matrix of video AUCs with 95 % intervals.

    On the crops it was trained on, a checkpoint is tested under the protocol it was trained under; on others, under
    the splits of their manifest. A cell whose test videos the checkpoint was trained or validated on, or
    which share originals or people with such, is not computed.

    Args:
        ckpt_path: Checkpoints of ``resgat fit``, separated by commas; NAME=PATH gives one a name.
        crops: Folders that ``resgat extract`` made, separated by commas; NAME=PATH gives one a name.
        split: How the crops are divided; null as said above.
        out: Folder for ``cross.md``, ``cross.csv`` and ``cross.json``.
        batch_size: Crops at once.
        workers: Loading processes.
        allow_leakage: Compute cells whose test videos the checkpoint was trained on, and mark them.

    Returns:
        The matrix as Markdown.
    """
    require_folder(out, "--out")
    detectors = {name: Detector.load(path) for name, path in _named(ckpt_path, "ckpt_path").items()}
    folders = _named(crops, "crops")
    for folder in folders.values():
        Manifest.read(folder)  # before the first cell is computed
    cells: list[_Cell] = []
    pairs = list(product(detectors.items(), folders.items()))
    for (trained, detector), (tested, folder) in tqdm(pairs, unit="cell", desc="cross"):
        names = {"train": trained, "test": tested}
        cells.append(_test(names, detector, folder, split, batch_size, workers, allow_leakage))

    # One line per checkpoint, one column per data set.
    lines = [[name, *(cell.text for cell in cells if cell.json["train"] == name)] for name in detectors]
    unit = (
        f"AUC per video in %, with 95 % bootstrap intervals over {CLIPS}; then the videos scored, of all in the split: "
        "from the others no face could be cut."
    )
    notes = dict.fromkeys(f"- {note}" for cell in cells for note in cell.notes)
    text = "\n".join([markdown_table(["trained on ↓, tested on →", *folders], lines), "", unit, *notes])
    document = {
        **stamp(1),
        "provenance": environment(),
        "checkpoints": {name: str(detector.path) for name, detector in detectors.items()},
        "checkpoint_sha256": {name: detector.checkpoint.fingerprint for name, detector in detectors.items()},
        "crops": {name: str(folder) for name, folder in folders.items()},
        "cells": [cell.json for cell in cells],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "cross.md", (text + "\n").encode())
    write_atomic(out / "cross.csv", csv_table(_CSV_HEADER, [row for cell in cells for row in cell.rows]).encode())
    write_atomic(out / "cross.json", json_text(document).encode())
    return text


def _test(
    names: dict[str, str],
    detector: Detector,
    crops: Path,
    split: SplitProtocol | None,
    batch_size: int,
    workers: int,
    allow_leakage: bool,
) -> _Cell:
    cell: dict[str, Any] = {**names}
    try:
        manifest = detector.manifest(crops, split)
        leaky = cell["leaky"] = detector.leaks_on(manifest, allow_leakage)
        people = cell["people_unknown"] = people_unknown(detector.provenance, manifest)
        found = score(detector, manifest, None, batch_size, workers, " on ".join(names.values()))
    except SplitError as error:  # a leak, or nothing to test on: the other cells can still be filled
        return _Cell({**cell, "refused": str(error)}, "refused", [f"{' on '.join(names.values())}: {error}"])
    scores = evaluate(found, detector.thresholds, temperatures=detector.temperatures)
    videos = coverage(manifest, len(found["video"].label))
    cell |= {
        "videos": videos.plain(),
        "splits": manifest.split_fingerprint(),
        "scores": [row.plain() for row in scores],
    }
    rows: list[list[object]] = [
        [*names.values(), row.level, row.method, metric, *value.cells(), " ".join(leaky), "; ".join(people)]
        for row in scores
        for metric, value in row.values.items()
    ]
    auroc = next(row.values["auroc"] for row in scores if (row.level, row.method) == ("video", POOLED))
    return _Cell(cell, f"{auroc}{mark_of_leaks(leaky, people)}; {videos.brief}", people, rows)


def _named(text: str, what: str) -> dict[str, Path]:
    """Read ``a=path,path`` into names and paths; the default name is the shortest end of the path that is unique."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise ConfigError(f"--{what} names nothing: give paths, separated by commas.")
    pairs = [found.groups() for entry in entries if (found := _NAMED.fullmatch(entry))]
    unnamed = [Path(path) for name, path in pairs if not name]
    depth = next((n for n in range(1, 20) if len({path.parts[-n:] for path in unnamed}) == len(unnamed)), 20)
    named: dict[str, Path] = {}
    for name, path in pairs:
        chosen = name or "/".join(Path(path).parts[-depth:])
        if chosen in named:
            raise ConfigError(f"--{what} names {chosen!r} twice: give each another name, NAME=PATH.")
        named[chosen] = Path(path)
    return named
