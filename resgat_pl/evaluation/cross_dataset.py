"""A train × test matrix: every checkpoint on every data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    cells: list[dict[str, Any]] = []
    with tqdm(total=len(detectors) * len(folders), unit="cell", desc="cross") as bar:
        for trained, detector in detectors.items():
            for tested, folder in folders.items():
                cell: dict[str, Any] = {"train": trained, "test": tested}
                cells.append(cell)
                try:
                    manifest = detector.manifest(folder, split)
                    cell["leaky"] = detector.leaks_on(manifest, allow_leakage)
                    cell["people_unknown"] = people_unknown(detector.provenance, manifest)
                    found = score(detector, manifest, None, batch_size, workers, f"{trained} on {tested}")
                except SplitError as error:  # a leak, or nothing to test on: the other cells can still be filled
                    cell["refused"] = str(error)
                else:
                    scores = evaluate(found, detector.thresholds, temperatures=detector.temperatures)
                    cell["videos"] = coverage(manifest, len(found["video"].label))
                    cell["splits"] = manifest.split_fingerprint()
                    cell["scores"] = [row.plain() for row in scores]
                    cell["shown"] = next(
                        row.values["auroc"] for row in scores if (row.level, row.method) == ("video", POOLED)
                    )
                bar.update()
    text = _markdown(cells, list(detectors), list(folders))
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "cross.md", (text + "\n").encode())
    write_atomic(out / "cross.csv", _csv(cells).encode())
    document = {
        **stamp(1),
        "provenance": environment(),
        "checkpoints": {name: str(detector.path) for name, detector in detectors.items()},
        "crops": {name: str(folder) for name, folder in folders.items()},
        "cells": [_plain(cell) for cell in cells],
    }
    write_atomic(out / "cross.json", json_text(document).encode())
    return text


def _plain(cell: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in cell.items() if name != "shown"}
    return {**kept, "videos": cell["videos"].plain()} if "videos" in cell else kept


def _named(text: str, what: str) -> dict[str, Path]:
    """Read ``a=path,path`` into names and paths; the default name is the shortest end of the path that is unique."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise ConfigError(f"--{what} names nothing: give paths, separated by commas.")
    # a sign behind a slash belongs to the path
    pairs = [entry.partition("=") if "/" not in entry.partition("=")[0] else ("", "", entry) for entry in entries]
    pairs = [(name, sign, path) if sign else ("", "", path or name) for name, sign, path in pairs]
    unnamed = [Path(path) for name, _, path in pairs if not name]
    depth = next(
        (depth for depth in range(1, 20) if len({path.parts[-depth:] for path in unnamed}) == len(unnamed)), 20
    )
    named: dict[str, Path] = {}
    for name, _, path in pairs:
        chosen = name or "/".join(Path(path).parts[-depth:])
        if chosen in named:
            raise ConfigError(f"--{what} names {chosen!r} twice: give each a name of its own, NAME=PATH.")
        named[chosen] = Path(path)
    return named


def _markdown(cells: list[dict[str, Any]], rows: list[str], columns: list[str]) -> str:
    by_place = {(cell["train"], cell["test"]): cell for cell in cells}
    body: list[list[str]] = []
    notes: list[str] = []
    for row in rows:
        line = [row]
        for column in columns:
            cell = by_place[row, column]
            if "shown" in cell:
                stamp_of = mark_of_leaks(cell["leaky"], cell["people_unknown"])
                line.append(f"{cell['shown']}{stamp_of}; {cell['videos'].brief}")
                notes += [f"- {said}" for said in cell["people_unknown"] if f"- {said}" not in notes]
            else:
                line.append("refused")
                notes.append(f"- {row} on {column}: {cell['refused']}")
        body.append(line)
    text = (
        f"AUC per video in %, with 95 % bootstrap intervals over {CLIPS}; then the videos scored, of all in the split: "
        "from the others no face could be cut."
    )
    return "\n".join([markdown_table(["trained on ↓, tested on →", *columns], body), "", text, *notes])


def _csv(cells: list[dict[str, Any]]) -> str:
    header = ["train", "test", "level", "method", "metric", *Interval._fields, "leaky", "people_unknown"]
    rows: list[list[object]] = []
    for cell in cells:
        for row in cell.get("scores", []):
            for metric, values in row["values"].items():
                place = [cell["train"], cell["test"], row["level"], row["method"], metric]
                stamps = [" ".join(cell["leaky"]), "; ".join(cell["people_unknown"])]
                numbers = ["" if v is None else f"{v:.6f}" for v in values]
                rows.append([*place, *numbers, row["groups"][metric], *stamps])
    return csv_table(header, rows)
