"""All detection metrics of a test run, per level and manipulation method, with bootstrap intervals over clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.types import VIDEO_KEY, Level, video_key
from resgat_pl.evaluation.metrics.binary import METRICS, THRESHOLDED
from resgat_pl.evaluation.metrics.calibration import calibrated, log_odds
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval, Units, bootstrap

RESULTS_NAME: Final = "results.json"
"""File of ``resgat test`` in the log folder: scores, leaks, provenance."""
RESULTS_VERSION: Final = 1
"""Format of ``results.json``; earlier files are the same without the number."""
POOLED: Final = "all"
"""Name of the row with the fakes of all methods."""
AT_VAL: Final = "_at_val"
"""Suffix of the scores under the threshold chosen on validation data; without it the threshold is 0.5."""
CLIPS: Final = (
    f"genuine clips with all that was made of each, in every compression (n: their number, of the scarcer class where "
    f"both are needed; no interval from fewer than {FEWEST})"
)
"""Units of the intervals, for the text below tables."""
CALIBRATED: Final = "_calibrated"
"""Suffix of the scores of the calibrated probability, which is that of ``resgat explain``; without it, of the score."""
SOURCE: Final = "source_video"
"""The column with the key of the genuine video that a fake was made from."""


class Predictions(NamedTuple):
    """Predictions at one level.

    Attributes:
        probability: ``(N,)`` float64 in [0, 1], of being fake.
        label: ``(N,)`` int64, 1 = fake.
        method: ``(N,)`` str, manipulation method.
        video: ``(N,)`` int64 codes of (dataset, method, compression, video), the same at every level.
        clip: ``(N,)`` int64 codes of the genuine clip behind each sample, see ``clip_codes``: the independent units.
    """

    probability: NDArray[np.float64]
    label: NDArray[np.int64]
    method: NDArray[np.object_]
    video: NDArray[np.int64]
    clip: NDArray[np.int64]

    def at(self, chosen: NDArray[np.bool_]) -> Predictions:
        """Those of the samples ``chosen``, ``(N,)`` bool."""
        return Predictions(
            self.probability[chosen], self.label[chosen], self.method[chosen], self.video[chosen], self.clip[chosen]
        )


@dataclass(frozen=True)
class Scores:
    """The scores of one level against the fakes of one method; all genuine samples take part.

    Attributes:
        level: ``frame`` or ``video``.
        method: Manipulation method, or ``POOLED``.
        real: Genuine samples.
        fake: Fakes.
        units: Samples, and independent genuine clips behind them.
        resamples: By metric ``(1 + R,)``: the value and one value per bootstrap resample (``intervals.bootstrap``).
            Thresholded metrics also with the suffix ``AT_VAL`` where there is such a threshold, and what depends on
            calibration with ``CALIBRATED`` where there is one of this level.
    """

    level: Level
    method: str
    real: int
    fake: int
    units: Units
    resamples: dict[str, NDArray[np.float64]] = field(repr=False)

    @cached_property
    def values(self) -> dict[str, Interval]:
        """Each metric with its 95 % interval."""
        return {name: self.interval(name, values) for name, values in self.resamples.items()}

    def interval(self, name: str, values: NDArray[np.float64]) -> Interval:
        """Of a metric's values ``(1 + R,)``, these scores' or a mean of several such."""
        return self.units.interval(name.removesuffix(AT_VAL).removesuffix(CALIBRATED), values)

    def clips(self, name: str) -> int:
        """Independent genuine clips that a metric rests on."""
        return self.units.behind(name.removesuffix(AT_VAL).removesuffix(CALIBRATED))

    def plain(self) -> dict[str, Any]:
        """For JSON: value, lower and upper end by metric; what is undefined, or no interval, becomes null."""
        return {
            "level": self.level,
            "method": self.method,
            "real": self.real,
            "fake": self.fake,
            "clips": self.units.groups,
            "values": {name: value.plain() for name, value in self.values.items()},
            "groups": {name: value.groups for name, value in self.values.items()},
        }


def evaluate(
    predictions: Mapping[Level, Predictions],
    thresholds: Mapping[Level, float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    temperatures: Mapping[Level, float | None] | None = None,
) -> list[Scores]:
    """Score predictions per level, pooled first and then per manipulation method.

    Args:
        predictions: By level.
        thresholds: By level, chosen on validation data; None where there was none.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
        temperatures: By level, fitted on validation data; None where there was none.
    """
    return [
        _score(level, method, part, (thresholds or {}).get(level), (temperatures or {}).get(level), resamples, seed)
        for level, whole in predictions.items()
        for method, part in by_method(whole)
    ]


def clip_codes(keys: Sequence[tuple[str, str, str, str]], sources: Sequence[str | None]) -> NDArray[np.int64]:
    """Number the genuine clips behind videos: a clip and all that was made of it are one, in every compression.

    Two clips of one person count as two.

    Args:
        keys: ``VIDEO_KEY`` of each video.
        sources: Key of the genuine video that each was made from; None or empty for genuine videos, and for fakes of
            unknown origin, which count as a clip each.

    Returns:
        ``(N,)`` int64 codes, in the order of the clips' names.
    """
    plain = {video_key(*key): video_key(key[0], key[1], "", key[3]) for key in keys}
    made_of: dict[str, str] = {}
    for key, source in zip(keys, sources, strict=True):
        if source:
            dataset, method, _, video = (source.split("/", 3) + [""] * 3)[:4]
            made_of[plain[video_key(*key)]] = plain.get(source, video_key(dataset, method, "", video))
    names = []
    for key in keys:
        name, passed = plain[video_key(*key)], set[str]()
        while name in made_of and name not in passed:
            passed.add(name)
            name = made_of[name]
        names.append(min(passed) if name in passed else name)
    return np.unique(np.array(names, object).astype(str), return_inverse=True)[1].astype(np.int64)


def read_predictions(folder: Path) -> dict[Level, Predictions]:
    """Read ``frames.csv`` and ``videos.csv`` that ``resgat test`` wrote.

    Raises:
        ManifestError: One is missing, or lacks a column.
    """
    found: dict[Level, Predictions] = {}
    codes: dict[tuple[str, str, str, str], int] = {}
    for level in get_args(Level):
        path = folder / f"{level}s.csv"
        try:
            # names such as 000 and an empty compression are text
            types = {
                **dict.fromkeys((*VIDEO_KEY, SOURCE, "split"), pa.string()),
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
            keys = list(zip(*(table.column(name).to_pylist() for name in VIDEO_KEY), strict=True))
            # predictions of earlier versions do not say what a fake was made from
            sources = table.column(SOURCE).to_pylist() if SOURCE in table.column_names else [None] * len(keys)
            of_key = dict(zip(keys, sources, strict=True))
            clip = dict(zip(of_key, clip_codes(list(of_key), list(of_key.values())), strict=True))
            found[level] = Predictions(
                table.column("probability").to_numpy().astype(np.float64),
                table.column("label").to_numpy().astype(np.int64),
                table.column("method").to_numpy(zero_copy_only=False),
                np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64),
                np.array([clip[key] for key in keys], np.int64),
            )
        except (OSError, pa.ArrowInvalid, KeyError, UnicodeDecodeError) as error:  # the last of names of columns
            raise ManifestError(f"{path} does not hold predictions of `resgat test` ({error}). Test again.") from None
    return found


def describe(scores: list[Scores]) -> str:
    """A Markdown table of the main scores in percent with 95 % intervals, and of the numbers of samples and clips."""
    shown = (
        *("auroc", "ap", "eer", "f1_fake", "f1_real", "balanced_accuracy", f"balanced_accuracy{AT_VAL}"),
        *("ece", f"ece{CALIBRATED}"),
    )
    columns = [name for name in shown if any(name in row.resamples for row in scores)]
    header = ["level", "fakes of", "real / fake", "clips", *(name.replace("_", " ") for name in columns)]
    body = []
    for row in scores:
        place = [row.level, row.method, f"{row.real:,} / {row.fake:,}", f"{row.units.groups:,}"]
        values = [row.values[name].brief if name in row.resamples else "" for name in columns]
        body.append([*place, *values])
    return markdown_table(header, body)


def by_method(whole: Predictions) -> Iterator[tuple[str, Predictions]]:
    """All predictions as ``POOLED``, then, where there are several methods, each with all genuine samples."""
    yield POOLED, whole
    methods = sorted(set(whole.method[whole.label == 1]))
    if len(methods) > 1:
        for method in methods:
            chosen = (whole.label == 0) | (whole.method == method)
            yield method, Predictions(*(values[chosen] for values in whole))


def _score(
    level: Level,
    method: str,
    part: Predictions,
    threshold: float | None,
    temperature: float | None,
    resamples: int,
    seed: int,
) -> Scores:
    group = np.unique(part.clip, return_inverse=True)[1].astype(np.int64)
    found = bootstrap(part.probability, part.label, group, 0.5, resamples, seed)
    if threshold is not None:
        at_val = bootstrap(part.probability, part.label, group, threshold, resamples, seed, ranked=False)
        found |= {f"{name}{AT_VAL}": at_val[name] for name in THRESHOLDED}
    if temperature is not None:
        chance = calibrated(log_odds(part.probability), temperature)
        after = bootstrap(chance, part.label, group, 0.5, resamples, seed, ranked=False)
        found |= {f"{name}{CALIBRATED}": after[name] for name in ("log_loss", "ece")}
    order = [name + suffix for name in METRICS for suffix in ("", AT_VAL, CALIBRATED) if name + suffix in found]
    fake = int(part.label.sum())
    units = Units.count(part.label, group)
    return Scores(level, method, len(part.label) - fake, fake, units, {name: found[name] for name in order})
