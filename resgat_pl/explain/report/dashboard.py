"""The results of ``resgat explain`` at W&B: a table of the files, and their reports as pages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.output_tables import wandb_table
from resgat_pl.core.privacy import without_paths
from resgat_pl.core.wandb_run import publish

MOST: Final = 50
"""Reports that are sent, a megabyte or two each; all are in the folder."""
_COLUMNS: Final = (
    "file",
    "status",
    "verdict",
    "probability",
    "low",
    "high",
    "threshold",
    "faces",
    "log10_lr",
    "reasons",
    "notes",
    "report",
)
_NUMBERS: Final = frozenset({"probability", "low", "high", "threshold", "faces", "log10_lr"})


def publish_reports(out: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Log a table of all files and the reports of the first ``MOST`` as one W&B run; a warning if that fails.

    Offline unless ``WANDB_MODE`` says otherwise. Faces and names of files are part of it; of paths the last name is.

    Args:
        out: Folder of the reports, and of the offline run.
        rows: Of ``scores.csv``.
    """
    os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    pages = {row["report"]: out / row["report"] / "report.html" for row in rows if row["report"]}
    there = {name: path for name, path in pages.items() if path.is_file()}
    if len(there) > MOST:
        rank_zero_warn(f"W&B gets the reports of the first {MOST} of {len(there):,} files; all are in {out}.")

    def make() -> dict[str, Any]:
        import wandb

        # as they are: W&B's own styles would change them, and their policy forbids anything from outside
        html = {f"reports/{name}": wandb.Html(str(there[name]), inject=False) for name in list(there)[:MOST]}
        return {"scores": wandb_table(_COLUMNS, [_cells(row) for row in rows]), **html}

    publish(make, project="resgat", name=out.name, job_type="explain", dir=out)


def _cells(row: Mapping[str, str]) -> list[Any]:
    numbers = {name: float(row[name]) if row[name] else None for name in _NUMBERS}
    return [numbers[name] if name in numbers else without_paths(row[name]) for name in _COLUMNS]
