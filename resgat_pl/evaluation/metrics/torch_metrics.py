"""Detection metrics per frame and per video, exact under any number of processes."""

from __future__ import annotations

import warnings
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import binary_auroc, binary_f1_score
from torchmetrics.utilities import dim_zero_cat

from resgat_pl.core.types import Level, Validation
from resgat_pl.evaluation.metrics.binary import best_threshold, measure
from resgat_pl.evaluation.metrics.calibration import fit_temperature, log_odds
from resgat_pl.evaluation.metrics.extra import ExtraMetrics

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class DetectionMetrics(Metric):
    """Every metric of ``metrics.binary`` at one level, over everything seen on all processes.

    Frame level counts every crop. Video level takes the mean probability over the frames of a track (one face over
    time), then the maximum over the tracks of a video, since one fake face makes the video fake.

    Every sample is stored with its row number and duplicates are dropped, so that the result is the same however the
    samples were divided over processes, and in which order they came.

    Faces of fakes that are known not to have been altered count for their video and not as crops.

    ``update`` takes ``logit (B,)`` float, and ``label``, ``row``, ``video``, ``track``, ``untouched`` ``(B,)`` as in
    ``types.FaceBatch``. ``compute`` returns ``{level}_<name>`` for each of ``metrics.binary.METRICS``; AUROC and others
    are NaN (undefined) while only one class was seen.

    Args:
        level: ``frame`` or ``video``.
        threshold: A probability above it counts as fake.
        extra: Metrics that are computed of the same samples, under their own names.

    Example:
        >>> metric, label, row = DetectionMetrics("frame"), torch.tensor([0, 1]), torch.arange(2)
        >>> metric.update(torch.tensor([-1.0, 2.0]), label, row, row, row, torch.zeros(2, dtype=torch.bool))
        >>> float(metric.compute()["frame_auroc"])
        1.0
    """

    full_state_update = False
    higher_is_better = True
    logit: list[Tensor]
    label: list[Tensor]
    row: list[Tensor]
    video: list[Tensor]
    track: list[Tensor]
    untouched: list[Tensor]

    def __init__(self, level: Level, threshold: float = 0.5, extra: ExtraMetrics | None = None) -> None:
        super().__init__()
        self.level = level
        self.added = extra
        self.threshold = threshold
        self.best_threshold: float | None = None
        self.temperature: float | None = None
        self.validation: Validation | None = None
        for name in ("logit", "label", "row", "video", "track", "untouched"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self,
        logit: Tensor,
        label: Tensor,
        row: Tensor,
        video: Tensor,
        track: Tensor,
        untouched: Tensor | None = None,
    ) -> None:
        """Add a batch."""
        self.logit.append(logit.detach().float())
        self.label.append(label.long())
        self.row.append(row)
        self.video.append(video)
        self.track.append(track)
        self.untouched.append(torch.zeros_like(row) if untouched is None else untouched.to(row.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of everything seen, float64; empty before the first update.

        Also sets ``best_threshold`` (highest balanced accuracy), ``temperature`` (see ``metrics.calibration``) and at
        video level ``validation``, the videos that both were chosen on; None where the data allow none, as those of one
        class. All are computed from the samples of all processes, so they are the same on each.
        """
        if isinstance(self.row, list) and not self.row:  # after synchronisation it is one tensor
            return {}
        names = ("row", "label", "video", "track", "untouched")
        row, label, video, track, untouched = (dim_zero_cat(getattr(self, name)).cpu().numpy() for name in names)
        first = np.unique(row, return_index=True)[1]
        if self.level == "frame":
            first = first[untouched[first] == 0]
            if not len(first):
                return {}
        label, video, track = label[first], video[first], track[first]
        # float64, so that confident predictions do not become certain ones, whose log-loss has no end
        logit = dim_zero_cat(self.logit).cpu()[torch.from_numpy(first)].double()
        probability = logit.sigmoid().numpy()
        if self.level == "frame":
            self.temperature = fit_temperature(logit.numpy(), label, video)
        else:
            found = video_scores(probability, video, track)
            probability, label, faces = found.probability, label[found.first], found.tracks
            self.temperature = fit_temperature(log_odds(probability), label, np.arange(len(label)))
            fakes = int(label.sum())
            self.validation = Validation(len(label) - fakes, fakes, int(faces.min()), int(faces.max()))
        self.best_threshold = best_threshold(probability, label)
        values = {f"{self.level}_{name}": value for name, value in scores(probability, label, self.threshold).items()}
        return values if self.added is None else values | self.added(probability, label)


def scores(probability: Floats, label: Codes, threshold: float = 0.5) -> dict[str, Tensor]:
    """Each of ``metrics.binary.METRICS``; F1 and AUROC by torchmetrics.

    Two codes for these, on purpose: validation shows and chooses by torchmetrics, the numbers that others report, while
    intervals need weighted samples and float64, which only ``metrics.binary`` has. They agree within 1e-6.

    Args:
        probability: ``(N,)`` float64 in [0, 1], of being fake.
        label: ``(N,)`` int64, 1 = fake.
        threshold: A probability above it counts as fake.
    """
    found = {
        name: torch.tensor(value, dtype=torch.float64) for name, value in measure(probability, label, threshold).items()
    }
    called, fake = torch.from_numpy((probability > threshold).astype(np.int64)), torch.from_numpy(label)
    with warnings.catch_warnings():
        # torchmetrics warns that a class without samples has no F1; it returns 0, which is what the field reports.
        warnings.filterwarnings("ignore", message=".*(No positive|No negative).*")
        found["f1_fake"] = binary_f1_score(called, fake).double()
        found["f1_real"] = binary_f1_score(1 - called, 1 - fake).double()
        if label.min() != label.max():
            # torchmetrics counts in float32; AUROC depends on the order alone, which ranks keep
            rank = torch.from_numpy(np.unique(probability, return_inverse=True)[1])
            found["auroc"] = binary_auroc(rank / len(rank), fake).double()
    return found


class VideoScores(NamedTuple):
    """Scores of V videos in ascending code, and of their T tracks likewise.

    Attributes:
        probability: ``(V,)`` float64 in [0, 1].
        first: ``(V,)`` int64, place of a frame of each video, for what all its frames share.
        tracks: ``(V,)`` int64, tracks of each video.
        track_probability: ``(T,)`` float64 in [0, 1].
        track_first: ``(T,)`` int64, place of each track's first frame.
    """

    probability: Floats
    first: Codes
    tracks: Codes
    track_probability: Floats
    track_first: Codes


def video_scores(probability: Floats, video: Codes, track: Codes) -> VideoScores:
    """Aggregate frames to videos: mean over the frames of a track, maximum over the tracks of a video.

    Args:
        probability: ``(N,)`` float in [0, 1].
        video: ``(N,)`` int64 codes.
        track: ``(N,)`` int64 codes, unique over all videos.
    """
    _, track_first, of_track = np.unique(track, return_index=True, return_inverse=True)
    by_track = np.bincount(of_track, probability) / np.bincount(of_track)
    _, first, of_video = np.unique(video[track_first], return_index=True, return_inverse=True)
    by_video = np.zeros(len(first))
    np.maximum.at(by_video, of_video, by_track)
    return VideoScores(by_video, track_first[first], np.bincount(of_video), by_track, track_first)


def detection_metrics(extra: ExtraMetrics | None = None) -> MetricCollection:
    """The collection that every stage clones with its prefix; extra metrics are of frames."""
    metrics: dict[str, Metric | MetricCollection] = {
        level: DetectionMetrics(level, extra=extra if level == "frame" else None) for level in get_args(Level)
    }
    return MetricCollection(metrics, compute_groups=False)
