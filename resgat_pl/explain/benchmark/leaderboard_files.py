"""The files of a leaderboard, and its run at W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import json_text, wandb_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.scores import POOLED
from resgat_pl.evaluation.provenance import environment
from resgat_pl.explain.benchmark.leaderboard import FaceScores, LeaderboardRow, as_csv
from resgat_pl.explain.benchmark.leaderboard_plot import draw_leaderboard
from resgat_pl.explain.benchmark.leaderboard_text import markdown
from resgat_pl.explain.benchmark.scores import GROUPS, SCORES


def write_leaderboard(
    out: Path,
    lines: list[LeaderboardRow],
    compared: list[LeaderboardRow],
    entries: list[FaceScores],
    detectors: list[dict[str, Any]],
    options: dict[str, Any],
    publish: bool,
) -> str:
    """Write leaderboard.md, .csv, .png and .json.

    Args:
        out: Folder.
        lines: Of ``leaderboard.summarise``.
        compared: Of ``leaderboard.differences``.
        entries: The measurements behind them.
        detectors: See ``leaderboard_text.markdown``.
        options: Of the command.
        publish: Whether it also goes to W&B.

    Returns:
        The Markdown.
    """
    text = markdown(lines, entries, detectors, compared)
    costs: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        costs.setdefault((entry.label, entry.method), []).append(entry.cost["ms"])
    ms = {place: float(np.mean(values)) for place, values in costs.items()}
    write_atomic(out / "leaderboard.md", (text + "\n").encode())
    write_atomic(out / "leaderboard.csv", as_csv(lines).encode())
    write_atomic(out / "leaderboard.png", draw_leaderboard(lines, ms))
    document = {
        **stamp(2),
        "provenance": environment(),
        "options": options,
        "detectors": detectors,
        "scores": {
            name: {"group": group, **SCORES[name]._asdict()} for group, names in GROUPS.items() for name in names
        },
        "methods": [
            {"label": e.label, "checkpoint": e.checkpoint, "method": e.method, **e.cost, **e.traits} for e in entries
        ],
        "lines": [{**line._asdict(), "value": line.value._asdict()} for line in lines],
        "differences": [{**line._asdict(), "value": line.value._asdict()} for line in compared],
    }
    write_atomic(out / "leaderboard.json", json_text(document).encode())
    if publish:
        _log_to_wandb(out, lines, ms)
    return text


def _log_to_wandb(out: Path, lines: list[LeaderboardRow], ms: dict[tuple[str, str], float]) -> None:
    import wandb

    from resgat_pl.core.wandb_run import publish

    pooled = [line for line in lines if line.checkpoint == POOLED]
    place = ("label", "method", "kind", "extent", "score")
    columns = [*place, *Interval._fields, "faces", "ms"]
    data = [
        [*(getattr(line, name) for name in place), *line.value, line.faces, ms[line.label, line.method]]
        for line in pooled
    ]

    def make() -> dict[str, Any]:
        picture = wandb.Image(str(out / "leaderboard.png"))
        return {"leaderboard": wandb_table(columns, data), "quality against time": picture}

    publish(make, project="resgat", name=out.name, job_type="benchmark", dir=out)
