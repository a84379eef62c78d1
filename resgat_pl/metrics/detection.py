"""Detection metrics per frame and per video, exact under any number of processes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_f1_score
from torchmetrics.utilities import dim_zero_cat

Level = Literal["frame", "video"]


class DetectionMetrics(Metric):
    """F1 of both classes, AUROC and accuracy at one level.

    Frame level counts every crop. Video level takes the mean probability over the frames of a track (one face over
    time), then the maximum over the tracks of a video, since one fake face makes the video fake.

    Every sample is kept with its row number and duplicates are dropped, so that the result is the same however the
    samples were divided over processes, and in which order they came.

    ``update`` takes ``probability (B,)`` float in [0, 1], and ``label``, ``row``, ``video``, ``track`` ``(B,)`` as in
    ``types.FaceBatch``. ``compute`` returns ``{level}_f1_fake``, ``_f1_real``, ``_auroc``, ``_accuracy``; AUROC is
    NaN (undefined) while only one class was seen.

    Args:
        level: ``frame`` or ``video``.
        threshold: A probability above it counts as fake.
    """

    full_state_update = False
    higher_is_better = True
    probability: list[Tensor]
    label: list[Tensor]
    row: list[Tensor]
    video: list[Tensor]
    track: list[Tensor]

    def __init__(self, level: Level, threshold: float = 0.5) -> None:
        super().__init__()
        self.level = level
        self.threshold = threshold
        for name in ("probability", "label", "row", "video", "track"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, probability: Tensor, label: Tensor, row: Tensor, video: Tensor, track: Tensor) -> None:
        """Add a batch."""
        self.probability.append(probability.detach().float())
        self.label.append(label.long())
        self.row.append(row)
        self.video.append(video)
        self.track.append(track)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of everything seen; empty before the first update."""
        if isinstance(self.row, list) and not self.row:  # after synchronisation it is one tensor
            return {}
        first = _unique_first(dim_zero_cat(self.row))[1]
        probability = dim_zero_cat(self.probability)[first]
        label = dim_zero_cat(self.label)[first]
        if self.level == "video":
            video = dim_zero_cat(self.video)[first]
            track = dim_zero_cat(self.track)[first]
            probability, label = video_scores(probability, label, video, track)[:2]
        return {f"{self.level}_{name}": value for name, value in scores(probability, label, self.threshold).items()}


def scores(probability: Tensor, label: Tensor, threshold: float = 0.5) -> dict[str, Tensor]:
    """F1 of the fake class, F1 of the real class (the paper's code reports that one), AUROC and accuracy.

    Args:
        probability: ``(N,)`` float in [0, 1], of being fake.
        label: ``(N,)`` int64, 1 = fake.
        threshold: A probability above it counts as fake.
    """
    called = (probability > threshold).long()
    one_class = label.min() == label.max()
    with warnings.catch_warnings():
        # torchmetrics warns that a class without samples has no F1; it returns 0, which is what the field reports.
        warnings.filterwarnings("ignore", message=".*(No positive|No negative).*")
        return {
            "f1_fake": binary_f1_score(called, label),
            "f1_real": binary_f1_score(1 - called, 1 - label),
            "auroc": torch.tensor(torch.nan) if one_class else binary_auroc(probability, label),
            "accuracy": binary_accuracy(called, label),
        }


def video_scores(
    probability: Tensor, label: Tensor, video: Tensor, track: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Aggregate frames to videos: mean over the frames of a track, maximum over the tracks of a video.

    Args:
        probability: ``(N,)`` float in [0, 1].
        label: ``(N,)`` int64, equal for all frames of a video.
        video: ``(N,)`` int64 codes.
        track: ``(N,)`` int64 codes, unique over all videos.

    Returns:
        Of the V videos in ascending code: probability, label, code; and of the T tracks in ascending code:
        probability, code.
    """
    tracks, first = _unique_first(track)
    inverse = torch.searchsorted(tracks, track)
    # float64, so that the order of summation cannot be seen
    sums = torch.zeros(len(tracks), dtype=torch.float64).index_add_(0, inverse.cpu(), probability.double().cpu())
    by_track = (sums / torch.bincount(inverse.cpu(), minlength=len(tracks))).to(probability)
    owner = video[first]
    videos, first = _unique_first(video)
    of_track = torch.searchsorted(videos, owner)
    by_video = by_track.new_zeros(len(videos)).scatter_reduce_(0, of_track, by_track, "amax", include_self=False)
    return by_video, label[first], videos, by_track, tracks


def detection_metrics(levels: Sequence[Level] = ("frame", "video")) -> MetricCollection:
    """The collection that every stage clones with its prefix."""
    return MetricCollection({level: DetectionMetrics(level) for level in levels}, compute_groups=False)


def _unique_first(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted unique values and the position of the first occurrence of each."""
    order = torch.argsort(values, stable=True)
    ordered = values[order]
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    return ordered[fresh], order[fresh]
