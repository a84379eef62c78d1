"""Lightning's CSV logger, whose file is whole after a kill or on a full disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from resgat_pl.core.disk_full import is_disk_full
from resgat_pl.core.storage import locate, write_atomic


class WholeCSVLogger(CSVLogger):
    """Lightning's ``CSVLogger``, whose ``metrics.csv`` is whole at any time.

    Lightning's empties the file to write a new header, and then finds that the disk is full.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the files."""
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = WholeWriter(log_dir=self.log_dir)
        return self._experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left; on a disk that is full the error that stopped the run says so already."""
        try:
            super().finalize(status)
        except OSError as error:
            if status != "failed" or not is_disk_full(error):
                raise


class WholeWriter(ExperimentWriter):
    """Writes the whole file each time: it is small, and saved every 100 steps.

    Rows that the file has already, since the logger's version is fixed, are kept: a training that goes on continues
    after its checkpoint's, one that begins anew moves the file to ``metrics.1.csv`` (or the next number that is free),
    and what is no training, such as a test, adds its own after them.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._saved: list[dict[str, Any]] | None = None
        self._names: list[str] = []
        self._text = ""

    def begin_with(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the rows of an earlier run in the place of those that are there."""
        self._saved, self._names = [], []
        self.metrics = [*rows, *self.metrics]
        self.save()

    def begin_anew(self) -> None:
        """Move the rows that are there out of the way."""
        path = Path(self.metrics_file_path)
        if path.exists():
            number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.stem}.{n}.csv").exists())
            path.rename(path.with_name(f"{path.stem}.{number}.csv"))
            rank_zero_warn(f"{path} is of an earlier run: it is now {path.stem}.{number}.csv.")
        self._saved, self._names = [], []

    def save(self) -> None:
        """Write all rows; those that cannot be written are kept for the next time."""
        if not self.metrics:
            return
        if self._saved is None:
            self._saved = self._there()
        names = sorted(set(self._names).union(*self.metrics, *([] if self._names else self._saved)))
        is_same = names == self._names  # else all rows get another form
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        if not is_same:
            writer.writeheader()
            writer.writerows(self._saved)
        writer.writerows(self.metrics)
        whole = (self._text if is_same else "") + text.getvalue()
        write_atomic(locate(self.metrics_file_path), whole.encode())
        self._text, self._names = whole, names
        self._saved, self.metrics = [*self._saved, *self.metrics], []

    def _check_log_dir_exists(self) -> None:
        """Remove nothing, as Lightning does."""

    def _there(self) -> list[dict[str, Any]]:
        """The rows of the file; one that is no table is moved away."""
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
        except (UnicodeDecodeError, csv.Error):
            rows = [{}]
        if all("step" in row and None not in row for row in rows):
            return rows
        self.begin_anew()
        return []
