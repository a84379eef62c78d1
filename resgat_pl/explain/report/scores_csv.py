"""``scores.csv``: one row a file, written as the work goes on, so that a killed run continues where it stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TextIO

from resgat_pl import __version__
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.folder_lock import LOCK_NAME
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.output_tables import csv_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.report.media_search import LeftOut

SCORES: Final = "scores.csv"
LEFT_OUT: Final = "not_looked_at.csv"
"""Files that were given and are not in the table, with the reason; absent where there are none."""
SETTINGS: Final = "settings.json"
"""The request; a folder is continued only with the same."""


@dataclass(frozen=True)
class Row:
    """One file in ``scores.csv``; a field without a value is empty.

    Attributes:
        file: As the user named it.
        status: ``scored``, ``no face`` or ``failed``.
        verdict: ``fake``, ``real``, ``inconclusive``, or empty.
        probability: Of fake.
        low: Lower end of its 95 % interval over the frames; empty for fewer than ten.
        high: Upper end.
        threshold: Limit of ``probability``: ``fake`` if it is above.
        calibrated: ``yes`` if ``probability`` is calibrated at the level of files, else ``no``.
        score: The same without calibration, as in the project's metrics per video.
        faces: Faces judged.
        frames: Frames searched.
        seconds: Time taken.
        bytes: Size of the file; another size means another file.
        report: Folder of its report, or empty.
        error: Why it failed.
        faces_found: Different faces seen, also those that were not judged.
        notes: What was unusual about the file and what limits its verdict; sentences, separated by " | ".
        trained_on: What the detector was trained on.
        bin: For triage, in the order in which the finished table is sorted: see ``BINS``.
        leaning: ``fake`` or ``real``, the side of the threshold.
        log10_lr: Logarithm of the likelihood ratio; empty of a checkpoint without a pool.
        reasons: Why the verdict is inconclusive; sentences, separated by " | ".
        sha256: Of the file, taken before it was decoded; empty where it cannot be read.
    """

    file: str
    status: Literal["scored", "no face", "failed"]
    verdict: str = ""
    probability: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    calibrated: Literal["yes", "no", ""] = ""
    score: float | None = None
    faces: int = 0
    frames: int = 0
    seconds: float = 0.0
    bytes: int = 0
    report: str = ""
    error: str = ""
    faces_found: int = 0
    notes: str = ""
    trained_on: str = ""
    bin: str = ""
    leaning: str = ""
    log10_lr: float | None = None
    reasons: str = ""
    sha256: str = ""


BINS: Final = (
    *("1 fake", "2 inconclusive, leaning fake", "3 inconclusive, leaning real", "4 real", "5 no face", "6 failed"),
)
"""Values of ``Row.bin``; within a bin the greatest likelihood ratio, or probability, comes first."""


def bin_of(row: Row) -> str:
    """The bin of a row.

    Example:
        >>> bin_of(Row("a.mp4", "scored", verdict="inconclusive", leaning="real"))
        '3 inconclusive, leaning real'
    """
    if row.status != "scored":
        return BINS[4] if row.status == "no face" else BINS[5]
    if row.verdict == "inconclusive":
        return BINS[1] if row.leaning == "fake" else BINS[2]
    return BINS[0] if row.verdict == "fake" else BINS[3]


COLUMNS: Final = tuple(entry.name for entry in fields(Row))
_FIRST: Final = COLUMNS[: COLUMNS.index("error") + 1]
"""Columns of the first tables, which had no notes on what limits a verdict."""


class ScoreTable:
    """The table, in an output folder that is new or continued.

    Args:
        folder: Output folder, made if need be.
        settings: Everything that changes the results, as plain values.

    Attributes:
        done: Rows of an earlier run by file, without those that failed, which are tried again. Those that are removed
            before the table is opened are dropped.

    Raises:
        ConfigError: The folder cannot be used, holds something else, or the results of other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        _claim(folder, json.loads(json.dumps(settings)))
        rows = read_rows(folder / SCORES)
        self.done = {row["file"]: row for row in rows if row["status"] != "failed"}
        self._file: TextIO | None = None

    def __enter__(self) -> ScoreTable:
        """Write the rows of the earlier run again, then stay open for more."""
        path = self.folder / SCORES
        _write(path, COLUMNS, ([row[name] for name in COLUMNS] for row in self.done.values()))
        self._file = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def is_done(self, name: str, size: int) -> bool:
        """True if an earlier run judged this file, it has not changed since, and its report is still there."""
        row = self.done.get(name)
        if row is None or row["bytes"] != str(size):
            return False
        return not row["report"] or (self.folder / row["report"] / "report.json").is_file()

    def add(self, row: Row) -> None:
        """Write one row, at once."""
        if self._file is None:
            raise RuntimeError("the table is not open")
        values = {name: "" if value is None else value for name, value in asdict(row).items()}
        csv.DictWriter(self._file, COLUMNS, lineterminator="\n").writerow(values)
        self._file.flush()


def sort_table(folder: Path) -> None:
    """Sort a finished table for triage: by bin, and in a bin from the strongest evidence of fake to the weakest."""

    def order(row: dict[str, str]) -> tuple[str, float, float, str]:
        strength, probability = (float(row[name] or "-inf") for name in ("log10_lr", "probability"))
        return row["bin"], -strength, -probability, row["file"]

    rows = sorted(read_rows(folder / SCORES), key=order)
    _write(folder / SCORES, COLUMNS, ([row[name] for name in COLUMNS] for row in rows))


def write_left_out(folder: Path, left_out: Sequence[LeftOut]) -> None:
    """List the files that are not in the table; remove an earlier run's list where nothing is left out now."""
    if left_out:
        _write(folder / LEFT_OUT, ("file", "reason"), ((entry.name, entry.reason) for entry in left_out))
    else:
        (folder / LEFT_OUT).unlink(missing_ok=True)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    write_atomic(path, csv_table(header, rows).encode("utf-8", "surrogateescape"))


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder that of these settings, or check that it is."""
    path = folder / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [entry.name for entry in folder.iterdir() if entry.name != LOCK_NAME]
        if SETTINGS not in others:
            if others:
                raise ConfigError(
                    f"{folder} is not empty and holds no results of resgat explain (there is, for example, "
                    f"{sorted(others)[0]}). Name a new folder with --out."
                )
            content = {**settings, WRITER: __version__}
            write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False).encode())
            return
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used for the results ({error.strerror}). Name another --out.") from None
    except ValueError:
        earlier = {}
    if isinstance(earlier, dict) and earlier:
        again = "Name a new folder with --out."
        check_version(
            earlier.get("schema"), settings["schema"], path, ConfigError, again=again, writer=earlier.get(WRITER)
        )
    different = [name for name in settings if not isinstance(earlier, dict) or earlier.get(name) != settings[name]]
    if different:
        raise ConfigError(
            f"{folder} holds results of another request: {', '.join(different)} differ (see {SETTINGS} there). Ask "
            "for the same again to continue it, or name a new folder with --out."
        )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Whole rows of a table, all cells as text; a killed run may have left half a line.

    Raises:
        ConfigError: The table is of an earlier version, so that its rows lack what later ones have.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError:
        return []
    if tuple(reader.fieldnames or ()) == _FIRST:
        lacking = ", ".join(COLUMNS[len(_FIRST) :])
        raise ConfigError(
            f"{path} is of an earlier version and lacks the columns {lacking}: who was not judged in those files is "
            "unknown. Name a new folder with --out."
        )
    return [row for row in rows if set(row) == set(COLUMNS) and None not in row.values()]
