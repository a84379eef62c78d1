"""The rows of ``metrics.csv`` over an interruption: none is lost or doubled when a run resumes.

A checkpoint stores how many rows there were when it was written. A run that resumes begins with as many, and repeats
the others. The checkpoint may be untrusted: only a ``metrics.csv`` of its own run, or of this one, is read.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from resgat_pl.training.checkpoints.best_checkpoints import is_own
from resgat_pl.training.loggers.csv import METRICS, AtomicWriter

_MOST_ROWS: Final = 10**7
_MOST_BYTES: Final = 2**28
"""Of ``metrics.csv``; a long training's has a few megabytes."""


def rows_written(trainer: Trainer) -> int:
    """Flush ``metrics.csv``, and return its number of rows, for a checkpoint."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.experiment.save()
            path = Path(logger.experiment.metrics_file_path)
            if path.is_file():
                with path.open("rb") as file:
                    return sum(1 for _ in file) - 1
    return 0


def begin_rows(trainer: Trainer, state: Mapping[str, Any] | None) -> None:
    """Begin every ``metrics.csv`` of a training.

    Args:
        trainer: The Trainer.
        state: The state of ``Recovery`` in the checkpoint that it resumes from; None for a new training.
    """
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger) and isinstance(logger.experiment, AtomicWriter):
            own = Path(logger.experiment.metrics_file_path)
            logger.experiment.begin(None if state is None else _rows_before(Path(str(trainer.ckpt_path)), state, own))


def _rows_before(checkpoint: Path, state: Mapping[str, Any], own: Path) -> list[dict[str, str]] | None:
    """The rows that ``metrics.csv`` had when a checkpoint was written; None if they are not there any more."""
    count, folder = state.get("rows"), checkpoint.resolve().parent
    if not isinstance(count, int) or not 0 < count <= _MOST_ROWS:
        return [] if count == 0 else None
    places = [folder.parent / METRICS, own] if folder.name == "checkpoints" else [own]
    return next((rows for place in places if (rows := _read(place, count))), None)


def _read(path: Path, count: int) -> list[dict[str, str]]:
    """The first ``count`` rows of a ``metrics.csv``; empty if it is none."""
    if not is_own(path) or path.stat().st_size > _MOST_BYTES:
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if "step" not in (reader.fieldnames or ()):
                return []
            rows = list(islice(reader, count))
    except (UnicodeDecodeError, csv.Error):
        return []
    return [] if any(None in row or not _is_step(row["step"]) for row in rows) else rows


def _is_step(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False
