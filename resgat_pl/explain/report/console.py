"""The console's lines on a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from resgat_pl.evaluation.metrics.likelihood import ratio_text, verbal
from resgat_pl.explain.report.scores_csv import Row
from resgat_pl.explain.report.verdict import compared, faces_judged


def lines_of(row: Row, out: Path, chosen: bool, known: Collection[str]) -> list[str]:
    """Lines on one file.

    Args:
        row: Its row of the table.
        out: Folder of the reports.
        chosen: Whether validation chose the threshold.
        known: Notes that are given once for all files.

    Example:
        >>> lines_of(Row("a.mp4", "failed", error="no video"), Path("explained"), True, ())
        ['a.mp4: failed: no video']
    """
    if row.status == "failed":
        return [f"{row.file}: failed: {row.error}"]
    where = f"  → {out / row.report / 'report.html'}" if row.report else ""
    notes = [f"  {note}" for note in row.notes.split(" | ") if note and note not in known]
    if row.probability is None or row.threshold is None:
        return [f"{row.file}: no face found in {row.frames} frame{'s' * (row.frames != 1)}{where}", *notes]
    interval = None if row.low is None or row.high is None else (row.low, row.high)
    leaning = row.leaning or row.verdict
    said = compared(row.probability, row.threshold, row.verdict, interval, chosen, row.calibrated == "yes", leaning)
    if row.log10_lr is not None:
        said += f", likelihood ratio {ratio_text(row.log10_lr)} ({verbal(row.log10_lr)})"
    reasons = [f"  Inconclusive: {reason}" for reason in row.reasons.split(" | ") if reason]
    return [f"{row.file}: {said}, {faces_judged(row.faces, row.faces_found)}{where}", *reasons, *notes]
