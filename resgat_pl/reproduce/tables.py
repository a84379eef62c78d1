"""Tables of runs beside the paper's numbers, as Markdown, CSV, LaTeX and in W&B."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.output_tables import csv_table, markdown_table, wandb_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import VIDEO_KEY
from resgat_pl.evaluation.metrics.intervals import Interval, interval
from resgat_pl.evaluation.metrics.scores import (
    CLIPS,
    POOLED,
    RESULTS_NAME,
    RESULTS_VERSION,
    Scores,
    evaluate,
    read_predictions,
)
from resgat_pl.evaluation.train_test_overlap import mark_of_leaks
from resgat_pl.reproduce.experiment import Row

SHOWN: Final = tuple((level, metric) for level in ("frame", "video") for metric in ("f1_fake", "f1_real", "auroc"))
"""The levels and metrics of the Markdown and LaTeX tables; CSV has all."""
_NAMES: Final = {"f1_fake": "F1 fake", "f1_real": "F1 real", "auroc": "AUC"}
_WARNING: Final = (
    "SYNTHETIC data and a small detector: this shows that every step works. It does not test the paper's numbers."
)


@dataclass(frozen=True)
class Run:
    """A tested run.

    Attributes:
        folder: Its log folder.
        scores: Pooled over methods, by level.
        results: Content of ``results.json``.
        videos: Keys of the test videos, in order.
    """

    folder: Path
    scores: dict[str, Scores]
    results: dict[str, Any]
    videos: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read what ``resgat test`` left in its log folder.

        Raises:
            ManifestError: A file is missing or is none of ours.
        """
        try:
            results = json.loads((folder / RESULTS_NAME).read_text())
            check_version(
                results.get("schema", RESULTS_VERSION),
                RESULTS_VERSION,
                folder / RESULTS_NAME,
                ManifestError,
                again="Test again.",
                writer=results.get(WRITER),
            )
            temperatures = dict(results.get("temperatures") or {})
            predictions = read_predictions(folder / "predictions")
            rows = evaluate(predictions, results["thresholds"], temperatures=temperatures)
            with (folder / "predictions" / "videos.csv").open(newline="") as file:
                lines = list(csv.DictReader(file))
            videos = tuple("/".join(line[name] for name in VIDEO_KEY) for line in lines)
            _ = results["provenance"]["data"]["counts"], results["provenance"]["seed"], results["checkpoint"]["path"]
            _ = dict(results.get("videos") or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(f"{folder} does not hold a finished `resgat test` ({error}). Test again.") from None
        return cls(folder, {row.level: row for row in rows if row.method == POOLED}, results, videos)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that was tested."""
        return Path(self.results["checkpoint"]["path"])

    @property
    def leaky(self) -> list[str]:
        """Kinds of leak between training and test."""
        return list(self.results.get("leaky") or [])

    @property
    def people_unknown(self) -> list[str]:
        """Notes on people of the test whose identity is unknown, one line per data set."""
        return list(self.results.get("people_unknown") or [])

    @property
    def scored(self) -> str:
        """Test videos with a score, of all of them: in some no face was found. ``?`` where not known."""
        found = self.results.get("videos") or {}
        scored, of = found.get("scored", len(self.videos)), found.get("of")
        return f"{scored:,} of {'?' if of is None else f'{of:,}'}"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Crops by split and class."""
        return dict(self.results["provenance"]["data"]["counts"])


@dataclass
class TableCell:
    """A row of the table under one preset and one protocol; ``note`` says why runs are missing."""

    row: Row
    preset: str
    protocol: str
    runs: list[Run]
    note: str


class CellSummary(NamedTuple):
    """A metric over the seeds of a cell: mean, its interval over videos, and the deviation over seeds."""

    resamples: NDArray[np.float64]
    interval: Interval
    deviation: float | None

    def __str__(self) -> str:
        if self.deviation is None:
            return str(self.interval)
        value, rest = str(self.interval).split(" ", 1)
        return f"{value} ± {100 * self.deviation:.2f} {rest}"


def summarise(cell: TableCell, level: str, metric: str) -> CellSummary | None:
    """Mean over a cell's seeds with its 95 % interval; None where nothing was run.

    All seeds are tested on the same videos and resampled alike, so the mean is taken resample by resample and its
    interval is that of the mean. The deviation is that of a sample, and None for a single seed.
    """
    found = [run.scores[level].resamples[metric] for run in cell.runs if metric in run.scores[level].resamples]
    if not found:
        return None
    stacked = np.stack(found)
    mean = stacked.mean(axis=0)
    return CellSummary(
        mean,
        cell.runs[0].scores[level].interval(metric, mean),
        float(stacked[:, 0].std(ddof=1)) if len(found) > 1 else None,
    )


def difference(first: TableCell, last: TableCell, level: str, metric: str) -> Interval | None:
    """First minus last, with an interval; None where one was not run.

    On the same test videos the difference is taken resample by resample. On others the resamples of one have nothing
    to do with those of the other.
    """
    one, other = summarise(first, level, metric), summarise(last, level, metric)
    if one is None or other is None:
        return None
    drawn = other.resamples
    if first.runs[0].videos != last.runs[0].videos:
        drawn = np.r_[drawn[0], np.roll(drawn[1:], len(drawn) // 2)]  # both were drawn with one seed
    return interval(one.resamples - drawn, min(one.interval.groups, other.interval.groups))


def write_tables(cells: Sequence[TableCell], out: Path, name: str, synthetic: bool, publish: bool = True) -> str:
    """Write ``out/<name>.md``, ``.csv`` and ``.tex``, with ``publish`` to W&B as well, and return the Markdown."""
    header, body = _main_table(cells)
    counts = _counts_table(cells)
    text = "\n\n".join(
        [
            *([_WARNING] if synthetic else []),
            markdown_table(header, body),
            f"All in %: mean ± deviation over seeds (if several), with 95 % bootstrap intervals over {CLIPS}. The "
            "paper's F1 is of the real class, by its code, at the threshold 0.5, as is ours. The difference is that "
            "of the first protocol to the last: what the first one's leaks are worth, if the last has none.",
            "Crops of each split, ours beside the paper's:",
            markdown_table(*counts),
            *_choices(cells),
            *_notes(cells),
            *dict.fromkeys(f"- {line}" for cell in cells for run in cell.runs for line in run.people_unknown),
        ]
    )
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / f"{name}.md", (text + "\n").encode())
    write_atomic(out / f"{name}.csv", _csv(cells, synthetic).encode())
    write_atomic(out / f"{name}.tex", _latex(header, body, synthetic).encode())
    if publish:
        _log_to_wandb(out, name, header, body)
    return text


def _main_table(cells: Sequence[TableCell]) -> tuple[list[str], list[list[str]]]:
    protocols = list(dict.fromkeys(cell.protocol for cell in cells))
    runs = {name: [run for cell in cells if cell.protocol == name for run in cell.runs] for name in protocols}
    marks = {
        name: mark_of_leaks(
            sorted({k for run in mine for k in run.leaky}), [k for run in mine for k in run.people_unknown]
        )
        for name, mine in runs.items()
    }
    header = ["row", "preset", "level", "metric", "paper"]
    header += [f"ours, {name}{marks[name]}" for name in protocols]
    header += [f"{protocols[0]} − {protocols[-1]}"] if len(protocols) > 1 else []
    body = []
    for row, preset, by_protocol in _grouped(cells):
        for level, metric in SHOWN:
            paper = {("frame", "f1_real"): row.paper.f1, ("frame", "auroc"): row.paper.auc}.get((level, metric))
            found = [summarise(by_protocol[name], level, metric) for name in protocols]
            line = [row.name, preset, level, _NAMES[metric], "" if paper is None else f"{paper:.2f}"]
            line += [
                by_protocol[name].note.partition(":")[0] if value is None else str(value)
                for name, value in zip(protocols, found, strict=True)
            ]
            if len(protocols) > 1:
                gap = difference(by_protocol[protocols[0]], by_protocol[protocols[-1]], level, metric)
                line.append("" if gap is None else gap.text(sign="+"))
            body.append(line)
    return header, body


def _counts_table(cells: Sequence[TableCell]) -> tuple[list[str], list[list[str]]]:
    header = ["row", "protocol", "preset", "train fake / real", "paper", "val", "test fake / real", "paper"]
    header += ["test videos scored"]
    body = []
    for cell in cells:
        if not cell.runs:
            continue
        ours, paper = cell.runs[0].counts, cell.row.paper
        body.append(
            [
                *(cell.row.name, cell.protocol, cell.preset),
                *(_pair(ours["train"]), _pair(vars(paper.train)), _pair(ours["val"])),
                *(_pair(ours["test"]), _pair(vars(paper.test))),
                cell.runs[0].scored,
            ]
        )
    return header, body


def _choices(cells: Sequence[TableCell]) -> list[str]:
    """Gains of the other presets over the first, in video AUC."""
    presets = list(dict.fromkeys(cell.preset for cell in cells))
    if len(presets) < 2:
        return []
    body = []
    for row in dict.fromkeys(cell.row.name for cell in cells):
        for protocol in dict.fromkeys(cell.protocol for cell in cells):
            mine = {cell.preset: cell for cell in cells if (cell.row.name, cell.protocol) == (row, protocol)}
            found = {preset: summarise(mine[preset], "video", "auroc") for preset in presets}
            base = found[presets[0]]
            if base is None:
                continue
            line = [row, protocol, str(base)]
            for preset in presets[1:]:
                other = found[preset]
                # the same test videos, resampled alike
                gap = None if other is None else interval(other.resamples - base.resamples, base.interval.groups)
                line.append("" if gap is None else gap.text(sign="+"))
            body.append(line)
    header = ["row", "protocol", presets[0], *(f"{preset} − {presets[0]}" for preset in presets[1:])]
    return ["AUC per video by preset:", markdown_table(header, body)] if body else []


def _notes(cells: Sequence[TableCell]) -> list[str]:
    """Reasons for empty cells, each once."""
    lines: dict[str, list[str]] = {}
    for cell in cells:
        if cell.note:
            lines.setdefault(cell.note, []).append(f"{cell.row.name} ({cell.protocol}, {cell.preset})")
    return ["\n".join(f"- {note}: {', '.join(who)}" for note, who in lines.items())] if lines else []


def _grouped(cells: Sequence[TableCell]) -> list[tuple[Row, str, dict[str, TableCell]]]:
    groups: dict[tuple[str, str], tuple[Row, str, dict[str, TableCell]]] = {}
    for cell in cells:
        groups.setdefault((cell.row.name, cell.preset), (cell.row, cell.preset, {}))[2][cell.protocol] = cell
    return list(groups.values())


def _pair(counts: dict[str, int]) -> str:
    return f"{counts['fake']:,} / {counts['real']:,}"


def _csv(cells: Sequence[TableCell], synthetic: bool) -> str:
    """Every metric of every run, one per line."""
    header = [*("data", "row", "preset", "protocol", "seed", "level", "metric"), *Interval._fields, "leaky", "folder"]
    rows: list[list[object]] = []
    for cell in cells:
        for run in cell.runs:
            seed = run.results["provenance"]["seed"]
            for level, scores in run.scores.items():
                for metric, value in scores.values.items():
                    place = [
                        "synthetic" if synthetic else "real",
                        cell.row.name,
                        cell.preset,
                        cell.protocol,
                        seed,
                        level,
                        metric,
                    ]
                    rows.append([*place, *value.cells(), " ".join(run.leaky), str(run.folder)])
    return csv_table(header, rows)


def _latex(header: Sequence[str], body: Sequence[Sequence[str]], synthetic: bool) -> str:
    """A table for the packages booktabs and nothing else."""
    special = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "±": r"$\pm$", "−": "$-$"})
    lines = [f"% {_WARNING}"] if synthetic else []
    lines += [rf"\begin{{tabular}}{{{'l' * 4}{'r' * (len(header) - 4)}}}", r"\toprule"]
    if synthetic:
        lines.append(rf"\multicolumn{{{len(header)}}}{{l}}{{{_WARNING}}} \\")
    lines.append(" & ".join(name.translate(special) for name in header) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(value.translate(special) for value in line) + r" \\" for line in body]
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _log_to_wandb(out: Path, name: str, header: list[str], body: list[list[str]]) -> None:
    from resgat_pl.core.wandb_run import publish

    publish(
        lambda: {name: wandb_table(header, body)},
        project="resgat",
        name=name,
        job_type="reproduce",
        dir=out,
    )
