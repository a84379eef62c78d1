"""What a test run is worth: every metric, per level and manipulation method, with intervals over videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from resgat_pl.errors import ManifestError
from resgat_pl.metrics.binary import METRICS, THRESHOLDED
from resgat_pl.metrics.intervals import Interval, bootstrap, interval
from resgat_pl.types import Level

RESULTS_NAME: Final = "results.json"
RESULTS_VERSION: Final = 1
"""Format of ``results.json``; those of before it had a number are the same without it."""
"""File of ``resgat test`` in the log folder: scores, leaks, provenance."""
POOLED: Final = "all"
"""Name of the row with the fakes of all methods."""
AT_VAL: Final = "_at_val"
"""Suffix of the scores under the threshold chosen on validation data; without it the threshold is 0.5."""
VIDEO_KEY: Final = ("dataset", "method", "compression", "video")
"""The columns that name a video."""


class Predictions(NamedTuple):
    """Predictions at one level.

    Attributes:
        probability: ``(N,)`` float64 in [0, 1], of being fake.
        label: ``(N,)`` int64, 1 = fake.
        method: ``(N,)`` str, manipulation method.
        video: ``(N,)`` int64 codes of (dataset, method, compression, video), the same at every level.
    """

    probability: NDArray[np.float64]
    label: NDArray[np.int64]
    method: NDArray[np.object_]
    video: NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """The scores of one level against the fakes of one method; all genuine samples take part.

    Attributes:
        level: ``frame`` or ``video``.
        method: Manipulation method, or ``POOLED``.
        real: Genuine samples.
        fake: Fakes.
        resamples: By metric ``(1 + R,)``: the value and one value a bootstrap resample (``intervals.bootstrap``).
            Thresholded metrics also with the suffix ``AT_VAL`` where there is such a threshold.
    """

    level: Level
    method: str
    real: int
    fake: int
    resamples: dict[str, NDArray[np.float64]] = field(repr=False)

    @property
    def values(self) -> dict[str, Interval]:
        """Each metric with its 95 % interval."""
        return {name: interval(values) for name, values in self.resamples.items()}

    def plain(self) -> dict[str, Any]:
        """For JSON; undefined values become null."""
        return {
            "level": self.level,
            "method": self.method,
            "real": self.real,
            "fake": self.fake,
            "values": {name: [None if np.isnan(v) else v for v in value] for name, value in self.values.items()},
        }


def evaluate(
    predictions: Mapping[Level, Predictions],
    thresholds: Mapping[Level, float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Scores]:
    """Score predictions per level, pooled first and then per manipulation method.

    Args:
        predictions: By level.
        thresholds: By level, chosen on validation data; None where there was none.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
    """
    return [
        _score(level, method, part, (thresholds or {}).get(level), resamples, seed)
        for level, whole in predictions.items()
        for method, part in _parts(whole)
    ]


def read_predictions(folder: Path) -> dict[Level, Predictions]:
    """Read ``frames.csv`` and ``videos.csv`` that ``resgat test`` wrote.

    Raises:
        ManifestError: One is missing, or lacks a column.
    """
    found: dict[Level, Predictions] = {}
    codes: dict[str, int] = {}
    for level in get_args(Level):
        path = folder / f"{level}s.csv"
        try:
            # names such as 000 and an empty compression are text
            types = {
                **dict.fromkeys((*VIDEO_KEY, "split"), pa.string()),
                "probability": pa.float64(),
                "label": pa.int64(),
                "altered": pa.bool_(),
            }
            table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=types))
            if table.column("probability").null_count or table.column("label").null_count:
                raise pa.ArrowInvalid("a probability or label is missing")
            if "altered" in table.column_names:  # of the face, which is not always that of the video
                known = pc.if_else(pc.equal(table.column("label"), 1), table.column("altered"), None)
                table = table.filter(pc.not_equal(known, pa.scalar(False)).fill_null(True))
            keys = zip(*(table.column(name).to_pylist() for name in VIDEO_KEY), strict=True)
            found[level] = Predictions(
                table.column("probability").to_numpy().astype(np.float64),
                table.column("label").to_numpy().astype(np.int64),
                table.column("method").to_numpy(zero_copy_only=False),
                np.array([codes.setdefault("\0".join(key), len(codes)) for key in keys], np.int64),
            )
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise ManifestError(f"{path} does not hold predictions of `resgat test` ({error}). Test again.") from None
    return found


def describe(scores: list[Scores]) -> str:
    """A Markdown table of the main scores, in percent with 95 % intervals."""
    shown = ("auroc", "ap", "eer", "f1_fake", "f1_real", "balanced_accuracy", f"balanced_accuracy{AT_VAL}", "ece")
    columns = [name for name in shown if name in scores[0].resamples]
    lines = [
        "| level | fakes of | real / fake | " + " | ".join(name.replace("_", " ") for name in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for row in scores:
        cells = [str(row.values[name]) for name in columns]
        lines.append(f"| {row.level} | {row.method} | {row.real:,} / {row.fake:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _parts(whole: Predictions) -> Iterator[tuple[str, Predictions]]:
    yield POOLED, whole
    methods = sorted(set(whole.method[whole.label == 1]))
    if len(methods) > 1:
        for method in methods:
            chosen = (whole.label == 0) | (whole.method == method)
            yield method, Predictions(*(values[chosen] for values in whole))


def _score(level: Level, method: str, part: Predictions, threshold: float | None, resamples: int, seed: int) -> Scores:
    group = np.unique(part.video, return_inverse=True)[1].astype(np.int64)
    found = bootstrap(part.probability, part.label, group, 0.5, resamples, seed)
    if threshold is not None:
        at_val = bootstrap(part.probability, part.label, group, threshold, resamples, seed, ranked=False)
        found |= {f"{name}{AT_VAL}": at_val[name] for name in THRESHOLDED}
    order = [name + suffix for name in METRICS for suffix in ("", AT_VAL) if name + suffix in found]
    fake = int(part.label.sum())
    return Scores(level, method, len(part.label) - fake, fake, {name: found[name] for name in order})
