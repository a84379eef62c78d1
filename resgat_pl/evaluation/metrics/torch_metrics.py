"""Detection metrics per frame and per video, exact under any number of processes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import binary_auroc, binary_f1_score
from torchmetrics.utilities import dim_zero_cat

from resgat_pl.core.types import Level, Validation
from resgat_pl.evaluation.metrics.binary import best_threshold, measure
from resgat_pl.evaluation.metrics.calibration import fit_temperature, log_odds


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

    def __init__(self, level: Level, threshold: float = 0.5) -> None:
        super().__init__()
        self.level = level
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
        first = _unique_first(dim_zero_cat(self.row))[1]
        if self.level == "frame":
            first = first[dim_zero_cat(self.untouched)[first] == 0]
            if not len(first):
                return {}
        # float64, so that confident predictions do not become certain ones, whose log-loss has no end
        logit = dim_zero_cat(self.logit)[first].cpu().double()
        probability = logit.sigmoid()
        label = dim_zero_cat(self.label)[first].cpu()
        video = dim_zero_cat(self.video)[first].cpu()
        if self.level == "frame":
            self.temperature = fit_temperature(logit.numpy(), label.numpy(), video.numpy())
        else:
            track = dim_zero_cat(self.track)[first].cpu()
            seen = torch.bincount(torch.unique(torch.stack([video, track]), dim=1)[0])
            seen = seen[seen > 0]  # tracks of each video
            probability, label = video_scores(probability, label, video, track)[:2]
            odds = log_odds(probability.numpy())
            self.temperature = fit_temperature(odds, label.numpy(), np.arange(len(odds)))
            fakes = int(label.sum())
            self.validation = Validation(len(label) - fakes, fakes, int(seen.min()), int(seen.max()))
        self.best_threshold = best_threshold(probability.numpy(), label.numpy())
        return {f"{self.level}_{name}": value for name, value in scores(probability, label, self.threshold).items()}


def scores(probability: Tensor, label: Tensor, threshold: float = 0.5) -> dict[str, Tensor]:
    """Each of ``metrics.binary.METRICS``; F1 and AUROC by torchmetrics.

    Two codes for these, on purpose: validation shows and chooses by torchmetrics, the numbers that others report, while
    intervals need weighted samples and float64, which only ``metrics.binary`` has. They agree within 1e-6.

    Args:
        probability: ``(N,)`` float64 in [0, 1], of being fake.
        label: ``(N,)`` int64, 1 = fake.
        threshold: A probability above it counts as fake.
    """
    called = (probability > threshold).long()
    found = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in measure(probability.numpy(), label.numpy(), threshold).items()
    }
    with warnings.catch_warnings():
        # torchmetrics warns that a class without samples has no F1; it returns 0, which is what the field reports.
        warnings.filterwarnings("ignore", message=".*(No positive|No negative).*")
        found["f1_fake"] = binary_f1_score(called, label).double()
        found["f1_real"] = binary_f1_score(1 - called, 1 - label).double()
        if label.min() != label.max():
            # torchmetrics counts in float32; AUROC depends on the order alone, which ranks keep
            rank = torch.unique(probability, return_inverse=True)[1]
            found["auroc"] = binary_auroc(rank / len(rank), label).double()
    return found


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
