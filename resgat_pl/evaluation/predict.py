"""Predictions of a detector on the test split of any manifest, without a Trainer: for many tests in one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import VIDEO_KEY, Level
from resgat_pl.data.loading.clips import FaceClips
from resgat_pl.data.loading.crop_loader import Change
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import EvalSampler
from resgat_pl.data.manifest.class_counts import check_splits
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.scores import SOURCE, Predictions, clip_codes
from resgat_pl.evaluation.metrics.torch_metrics import video_scores
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.video.net import VideoResGAT


def score(
    detector: Detector,
    manifest: Manifest,
    corruption: Change | None = None,
    batch_size: int = 32,
    workers: int = 0,
    title: str = "score",
) -> dict[Level, Predictions]:
    """Predictions for the test split of a manifest.

    Args:
        detector: The detector.
        manifest: With the splits in force.
        corruption: Applied to each crop as it is stored, seeded by its row.
        batch_size: Crops, or clips, at once.
        workers: Loading processes.
        title: Of the progress bar.

    Raises:
        SplitError: There is no test split, or it has one class only.
    """
    rows = manifest.rows_of("test")
    if not len(rows):
        raise SplitError(f"{manifest.folder} has no test split: choose another protocol with --split.")
    check_splits(manifest.counts(), ["test"])
    faces = samples_of(detector.net, manifest, rows, corruption)
    return predictions(manifest, faces.rows, row_logits(detector, faces, batch_size, workers, title))


def row_logits(
    detector: Detector, faces: FaceCrops, batch_size: int = 32, workers: int = 0, title: str = "score"
) -> Tensor:
    """Logits ``(n,)`` float32 on the CPU of n samples, in their order; arguments are those of ``score``."""
    loader = ResumableLoader(faces, EvalSampler(faces, 1, 0), batch_size, workers)
    return torch.cat(list(_logits(detector.net, tqdm(loader, desc=title, unit="batch", leave=False))))


def samples_of(
    net: DetectorNet, manifest: Manifest, rows: NDArray[np.int64], corruption: Change | None = None
) -> FaceCrops:
    """Samples of a detector from some rows of a manifest, ascending: their crops, or clips of them."""
    if isinstance(net, VideoResGAT):
        return FaceClips(manifest, rows, net.image_size, net.clip_frames, corruption)
    return FaceCrops(manifest, rows, net.image_size, corruption)


def predictions(manifest: Manifest, rows: NDArray[np.int64], logits: Tensor) -> dict[Level, Predictions]:
    """Predictions per frame and per video from the logits ``(n,)`` of rows ``(n,)`` of a manifest.

    Faces of fakes that are known not to have been altered count for their video and not as frames.
    """
    probability = logits.double().sigmoid().numpy()
    label = manifest.column("label")[rows].astype(np.int64)
    method = manifest.column("method")[rows]
    video = manifest.video_codes[rows]
    by_video, first, *_ = video_scores(probability, video, manifest.track_codes[rows])
    table = manifest.take(rows[first], [*VIDEO_KEY, SOURCE]).to_pydict()
    clip = clip_codes(list(zip(*(table[name] for name in VIDEO_KEY), strict=True)), table[SOURCE])
    frames: Any = ~manifest.untouched[rows]
    whole = Predictions(probability, label, method, video, clip[np.searchsorted(video[first], video)])
    return {
        "frame": Predictions(*(values[frames] for values in whole)),
        "video": Predictions(by_video, label[first], method[first], video[first], clip),
    }


@torch.inference_mode()
def _logits(net: DetectorNet, loader: Any) -> Iterator[Tensor]:
    device = next(net.parameters()).device
    for batch in loader:
        images = batch["image"].to(device, non_blocking=True).float().div_(255)
        yield net(images).logit.float().cpu()
