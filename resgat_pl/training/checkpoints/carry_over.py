"""The files that a resumed run takes along: the best checkpoints, and the rows of ``metrics.csv``.

A checkpoint may be a stranger's. Of the paths that it holds only the names count: files are taken from the folder in
which it lies itself, or are those of this very run, and nothing else is read, copied or left for Lightning to remove.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.storage import write_atomic
from resgat_pl.training.checkpoints.writing import METRICS
from resgat_pl.training.loggers.csv import WholeWriter

_PATHS: Final = ("best_model_path", "kth_best_model_path", "last_model_path")
_SCORES: Final = ("best_model_score", "current_score", "kth_value")
_MOST_ROWS: Final = 10**7
_MOST_BYTES: Final = 2**28
"""Of ``metrics.csv``; a long training's has a few megabytes."""


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; nobody sees half of it, and the disk has it when it gets its name."""
    write_atomic(target, source.read_bytes())


def is_own(path: Path) -> bool:
    """Whether a path is a file of its folder, not a link to one elsewhere."""
    return path.is_file() and path.resolve().parent == path.parent.resolve()


def adopt_best_checkpoints(state: Any, folder: Path, checkpoint: Path) -> dict[str, Any] | None:
    """Copy the files that a ``ModelCheckpoint`` remembers into its folder.

    Args:
        state: What the checkpoint holds of it.
        folder: Where it writes in this run.
        checkpoint: What the run goes on from.

    Returns:
        What it is to remember in this run; None for nothing, so that Lightning begins anew and has nothing to remove.
    """
    checkpoint = checkpoint.resolve()  # the user may have named a link
    problem = _problem(state)
    if problem is not None:
        rank_zero_warn(f"{checkpoint} {problem}: which checkpoint is best starts anew.")
        return None
    models = state["best_k_models"]
    same = Path(str(state.get("dirpath"))) == folder
    sources: dict[Path, Path] = {}
    for path in models:
        target, beside = folder / Path(path).name, checkpoint.parent / Path(path).name
        if (same and is_own(target)) or _are_one(beside, target):
            continue  # it is where it was written
        told = f"{target} is there already, of another run" if target.exists() else f"{beside} is not there"
        if target.exists() or not is_own(beside):
            rank_zero_warn(f"{told}: which checkpoint is best starts anew.")
            return None
        sources[target] = beside
    folder.mkdir(parents=True, exist_ok=True)
    for target, source in sources.items():
        copy_whole(source, target)

    def moved(path: Any) -> str:
        # one that was not taken along is not here, and Lightning would remove what has its name
        return str(folder / Path(path).name) if path and (same or path in models) else ""

    return {
        **{name: value for name, value in state.items() if name not in {*_PATHS, *_SCORES}},  # of a class of the user's
        "dirpath": str(folder),
        "best_k_models": {moved(path): score for path, score in models.items()},
        **{name: moved(state.get(name)) for name in _PATHS},
        **{name: state[name] for name in _SCORES if _is_number(state.get(name))},
    }


def remember(callback: ModelCheckpoint, state: Mapping[str, Any]) -> None:
    """Put what ``adopt_best_checkpoints`` found into a ``ModelCheckpoint``."""
    callback.load_state_dict({"best_model_score": None, **state})
    callback.current_score = state.get("current_score")  # Lightning stores it and forgets to restore it


def rows_written(trainer: Trainer) -> dict[str, Any]:
    """Write ``metrics.csv`` out, and say where it is and how many rows it has."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.experiment.save()
            path = Path(logger.experiment.metrics_file_path)
            if path.is_file():
                with path.open("rb") as file:
                    return {"csv": str(path), "rows": sum(1 for _ in file) - 1}
    return {"csv": None, "rows": 0}


def go_on_with_rows(checkpoint: Path, state: Mapping[str, Any], logger: CSVLogger) -> None:
    """Begin ``metrics.csv`` with the rows that it had when the checkpoint was written.

    Args:
        checkpoint: What the run goes on from; the rows are looked for in the folder of its run, in the target itself,
            and where the logger's other runs are.
        state: The checkpoint's entry of ``Recovery``.
        logger: Writes this run's rows.
    """
    writer = logger.experiment
    count, named = state.get("rows"), state.get("csv")
    target = Path(writer.metrics_file_path)
    places = [checkpoint.resolve().parent.parent / METRICS, target]
    if isinstance(named, str) and _is_of(named, Path(logger.root_dir)):
        places.insert(1, Path(named))
    found = None
    if isinstance(count, int) and 0 < count <= _MOST_ROWS:
        found = next((rows for rows in (_rows(place, count) for place in places) if rows), None)
    if isinstance(writer, WholeWriter):
        if found is not None:
            writer.begin_with(found)
        else:
            writer.begin_anew()
    elif found is not None and not target.exists():  # Lightning's own adds to a file of the names that it knows
        writer.metrics_keys = list(found[0])
        writer.metrics = [*found, *writer.metrics]


def checked(state: Any, checkpoint: object) -> dict[str, Any] | None:
    """The entry of ``Recovery`` in a checkpoint, if it is as that writes it.

    Raises:
        WeightsError: It is not.
    """
    if state is None:
        return None
    fine = isinstance(state, dict) and isinstance(state.get("random"), list) and isinstance(state.get("metrics"), dict)
    if fine:
        fine = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state["metrics"].items())
        row = state.get("row")
        if row is not None:
            fine &= isinstance(row, tuple | list) and len(row) == 2 and isinstance(row[1], int)
            fine = fine and isinstance(row[0], dict)
            fine = fine and all(
                isinstance(name, str) and isinstance(value, float | int) for name, value in row[0].items()
            )
    if not fine:
        raise WeightsError(f"{checkpoint} holds a state of a training that resgat did not write: take another one.")
    return {"row": None, **state}


def _problem(state: Any) -> str | None:
    """Why a ModelCheckpoint cannot go on from a state, if so."""
    models = state.get("best_k_models") if isinstance(state, dict) else None
    if not isinstance(models, dict) or not all(map(_is_number, models.values())):
        return "does not say which checkpoints were best"
    for path in (*models, *filter(None, map(state.get, _PATHS))):
        if not _is_checkpoint(path):
            return f"remembers {str(path)[:200]!r}, which is no local .ckpt file"
    kth = state.get("kth_best_model_path")
    return "remembers a checkpoint without its score" if kth and kth not in models else None


def _is_checkpoint(path: object) -> bool:
    return isinstance(path, str) and "://" not in path and path.endswith(".ckpt") and path.isprintable()


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) or (isinstance(value, Tensor) and value.numel() == 1)


def _are_one(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)


def _is_of(name: str, root: Path) -> bool:
    """Whether it is the ``metrics.csv`` of a run that is kept in ``root``."""
    path = Path(name)
    return "\0" not in name and path.name == METRICS and path.resolve().parent.parent == root.resolve()


def _rows(path: Path, count: int) -> list[dict[str, str]] | None:
    """The first rows of a ``metrics.csv``, at most ``count``; None where it is none."""
    if not is_own(path) or path.stat().st_size > _MOST_BYTES:
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if "step" not in (reader.fieldnames or ()):
                return None
            rows = list(islice(reader, count))
    except (UnicodeDecodeError, csv.Error):
        return None
    return None if any(None in row or not _is_place(row["step"]) for row in rows) else rows


def _is_place(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False
