"""Predictions as CSV: one row per frame, track and video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import VIDEO_KEY, Level
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.calibration import log_odds
from resgat_pl.evaluation.metrics.scores import (
    SOURCE,
)
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
    probability = torch.sigmoid(logits.double())  # as the metrics, see DetectionMetrics
    video, track = (torch.from_numpy(codes[index]) for codes in (manifest.video_codes, manifest.track_codes))
    label = torch.from_numpy(manifest.column("label")[index].astype(np.int64))
    by_video, _, videos, by_track, tracks = video_scores(probability, label, video, track)

    def save(
        name: str, level: Level, positions: NDArray[np.int64], columns: list[str], score: Tensor, **more: Tensor
    ) -> None:
        table = manifest.take(index[positions], [*VIDEO_KEY, *columns, SOURCE, "split", "label"])
        temperature = (temperatures or {}).get(level)
        chance = None if temperature is None else expit(log_odds(score.numpy()) / temperature)
        empty = pa.nulls(len(table), pa.float64())
        table = table.append_column("calibrated", empty if chance is None else pa.array(chance))
        for column, values in {"probability": score, **more}.items():
            table = table.append_column(column, pa.array(values.numpy()))
        file = pa.BufferOutputStream()
        pa.csv.write_csv(table, file)
        write_atomic(folder / name, file.getvalue().to_pybytes())

    everything = np.arange(len(index), dtype=np.int64)
    frame_columns = ["track", "frame_index", "time", "crop_path", "altered"]
    save("frames.csv", "frame", everything, frame_columns, probability, logit=logits)
    save("tracks.csv", "video", np.searchsorted(track.numpy(), tracks.numpy()), ["track"], by_track)
    save("videos.csv", "video", np.searchsorted(video.numpy(), videos.numpy()), [], by_video)
