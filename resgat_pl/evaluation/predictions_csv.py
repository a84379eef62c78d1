"""Predictions as CSV: one row per frame, track and video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import VIDEO_KEY, Level
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.calibration import calibrated, log_odds
from resgat_pl.evaluation.metrics.scores import SOURCE
from resgat_pl.evaluation.metrics.torch_metrics import video_scores


def write_predictions(
    manifest: Manifest,
    rows: Tensor,
    logits: Tensor,
    folder: Path,
    temperatures: Mapping[Level, float | None] | None = None,
) -> None:
    """Write one CSV file per level.

    Args:
        manifest: The manifest the rows are of.
        rows: ``(N,)`` int64 ascending.
        logits: ``(N,)`` float32.
        folder: Existing folder.
        temperatures: By level, for the column ``calibrated``: the probability that ``resgat explain`` gives of a video
            of these frames. Empty without one.
    """
    index = rows.numpy()
    probability = torch.sigmoid(logits.double()).numpy()  # as the metrics, see DetectionMetrics
    found = video_scores(probability, manifest.video_codes[index], manifest.track_codes[index])

    def save(
        name: str, level: Level, positions: NDArray[np.int64], columns: list[str], **scores: NDArray[np.floating]
    ) -> None:
        table = manifest.take(index[positions], [*VIDEO_KEY, *columns, SOURCE, "split", "label"])
        temperature = (temperatures or {}).get(level)
        empty = pa.nulls(len(table), pa.float64())
        chance = empty if temperature is None else pa.array(calibrated(log_odds(scores["probability"]), temperature))
        table = table.append_column("calibrated", chance)
        for column, values in scores.items():
            table = table.append_column(column, pa.array(values))
        file = pa.BufferOutputStream()
        pa.csv.write_csv(table, file)
        write_atomic(folder / name, file.getvalue().to_pybytes())

    frame_columns = ["track", "frame_index", "time", "crop_path", "altered"]
    frames = np.arange(len(index), dtype=np.int64)
    save("frames.csv", "frame", frames, frame_columns, probability=probability, logit=logits.numpy())
    save("tracks.csv", "video", found.track_first, ["track"], probability=found.track_probability)
    save("videos.csv", "video", found.first, [], probability=found.probability)
