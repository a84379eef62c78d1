"""Lightning's CSV logger without its two losses: of all rows on a full disk, and of those of an earlier run.

Measured with Lightning 2.6.6: a new metric makes it empty ``metrics.csv`` and write all rows again, so that a kill or a
full disk at that moment leaves an empty file; and a second run with the same version removes the file of the first.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter
from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.storage import locate, write_atomic

METRICS: Final = ExperimentWriter.NAME_METRICS_FILE


class AtomicCSVLogger(CSVLogger):
    """Lightning's ``CSVLogger``, with the same options, which replaces ``metrics.csv`` at once and removes none.

    Attributes:
        subfolder: Folder of the files below the run's, for all commands but ``fit``.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> logger = AtomicCSVLogger(folder, name="", version="")
        >>> logger.log_metrics({"train/loss": 0.7}, step=0)
        >>> logger.save()
        >>> print((Path(folder) / "metrics.csv").read_text())
        step,train/loss
        0,0.7
        <BLANKLINE>
    """

    subfolder = ""

    @property
    def log_dir(self) -> str:
        """The folder of the files."""
        return str(Path(super().log_dir, self.subfolder))

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the files."""
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = AtomicWriter(log_dir=self.log_dir)
        return self._experiment


class AtomicWriter(ExperimentWriter):
    """Appends rows as Lightning's writer, but replaces the file at once when a new metric changes its header.

    Rows of an earlier run with the same version: a training moves them away, a test appends its own.
    """

    def begin(self, rows: list[dict[str, str]] | None) -> None:
        """Begin the file with the rows of a resumed training; None moves a file that is there to ``metrics.1.csv``."""
        path = Path(self.metrics_file_path)
        self.metrics_keys = sorted({name for row in rows or () for name in row})
        if rows:
            self._replace(rows)
        elif rows is not None:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._move_away(path)

    def save(self) -> None:
        """Write the new rows; if that fails, the file is as before, and they are written the next time."""
        path, keys = Path(self.metrics_file_path), list(self.metrics_keys)
        size = path.stat().st_size if path.is_file() else 0
        try:
            super().save()
        except OSError:
            if self.metrics_keys == keys and path.is_file():  # not while the header changed: rows are half appended
                with contextlib.suppress(OSError):
                    os.truncate(path, size)
            self.metrics_keys = keys
            raise

    def _check_log_dir_exists(self) -> None:
        """Go on with the header of a file that is there; Lightning's removes the file."""
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                is_table = "step" in (reader.fieldnames or ()) and all(None not in row for row in reader)
        except (UnicodeDecodeError, csv.Error):
            is_table = False
        if is_table:
            self.metrics_keys = list(reader.fieldnames or ())
        else:
            self._move_away(path)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(encoding="utf-8", newline="") as file:
            self._replace(list(csv.DictReader(file)))

    def _replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(locate(self.metrics_file_path), text.getvalue().encode())

    def _move_away(self, path: Path) -> None:
        number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.stem}.{n}.csv").exists())
        path.rename(path.with_name(f"{path.stem}.{number}.csv"))
        rank_zero_warn(f"{path} is of an earlier run: it is now {path.stem}.{number}.csv.")
