"""What a detector makes of kinds of alteration, and of face regions, that it never saw forged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.types import VIDEO_KEY, video_key
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import Interval, Units, bootstrap, draw, interval
from resgat_pl.explain.benchmark.localisation import node_auroc, pointing_game
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.regions import inside_face

_RESAMPLES = 1000
_BATCH = 64


@dataclass(frozen=True)
class Judged:
    """Every test crop under one checkpoint.

    Attributes:
        key: ``(n,)`` str, video of each crop.
        label: ``(n,)`` int64, 1 = fake.
        group: ``(n,)`` int64, the genuine video behind it: what is resampled.
        probability: ``(n,)`` float64 in [0, 1].
        detected: ``(n,)`` bool.
        inside: ``(n,)`` float64, node AUROC of the contributions inside the face; NaN for genuine faces.
        pointing: ``(n,)`` float64, whether the highest node is forged; NaN likewise.
    """

    key: NDArray[np.str_]
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    probability: NDArray[np.float64]
    detected: NDArray[np.bool_]
    inside: NDArray[np.float64]
    pointing: NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One line of the table; ``crops`` fakes were scored, ``found`` of them detected."""

    what: str
    crops: int
    found: int
    detection: Interval
    inside: Interval
    pointing: Interval

    def __str__(self) -> str:
        values = " | ".join(str(each) for each in (self.detection, self.inside, self.pointing))
        return f"| {self.what} | {self.found} of {self.crops} | {values} |"


HEAD = (
    "| what was not trained on | fakes detected | detection AUROC, frames | AUROC in face | pointing |\n"
    "|---|---|---|---|---|"
)


def judge(checkpoint: Path, crops: Path) -> Judged:
    """Score and explain every test crop."""
    detector = Detector.load(checkpoint)
    manifest = detector.manifest(crops)
    detector.leaks_on(manifest, allow_leakage=False)
    rows = np.flatnonzero(manifest.column("split") == "test").astype(np.int64)
    faces = FaceCrops(manifest, rows, int(detector.net.config["image_size"]))
    explainer = Contribution(detector.net, batch_size=_BATCH)
    logits, inside, pointing = [], [], []
    for start in range(0, len(faces), _BATCH):
        places = range(start, min(start + _BATCH, len(faces)))
        found = explainer.attribute(torch.stack([faces[place]["image"] for place in places]).float() / 255)
        masks = torch.stack([_mask(faces, place) for place in places])
        landmarks = np.array([manifest.table.column("landmarks")[int(rows[place])].as_py() for place in places])
        covers = found.lattice.cover(masks)
        within = inside_face(torch.from_numpy(landmarks).float().reshape(-1, 5, 2), found.lattice)
        logits.append(found.logit)
        inside.append(node_auroc(found.node_map, covers, within))
        pointing.append(pointing_game(found.node_map, covers))
    probability = torch.cat(logits).double().sigmoid().numpy()
    table = manifest.table.take(rows).to_pylist()
    keys = [video_key(*(row[name] for name in VIDEO_KEY)) for row in table]
    origins = [row["source_video"] or key for row, key in zip(table, keys, strict=True)]
    return Judged(
        key=np.array(keys),
        label=faces.labels,
        group=np.unique(origins, return_inverse=True)[1].astype(np.int64),
        probability=probability,
        detected=probability > (detector.thresholds or {}).get("frame", 0.5),
        inside=torch.cat(inside).double().numpy(),
        pointing=torch.cat(pointing).double().numpy(),
    )


def line(judged: Judged, what: str, videos: Sequence[str]) -> Line:
    """Score some fakes, by their videos, against all genuine test crops."""
    mine = np.isin(judged.key, list(videos)) & (judged.label == 1)
    both = mine | (judged.label == 0)
    group = np.unique(judged.group[both], return_inverse=True)[1].astype(np.int64)
    scores = bootstrap(judged.probability[both], judged.label[both], group, resamples=_RESAMPLES)
    right = mine & judged.detected
    means = [_mean(values[right], judged.group[right]) for values in (judged.inside, judged.pointing)]
    return Line(
        what,
        int(mine.sum()),
        int(right.sum()),
        Units.count(judged.label[both], group).interval("auroc", scores["auroc"]),
        *means,
    )


def _mean(values: NDArray[np.float64], group: NDArray[np.int64]) -> Interval:
    known = ~np.isnan(values)
    if not known.any():
        return Interval(np.nan)
    values, group = values[known], np.unique(group[known], return_inverse=True)[1]
    groups = int(group.max()) + 1
    weight = np.concatenate([np.ones((1, groups)), draw(groups, _RESAMPLES, 0)])[:, group]
    with np.errstate(invalid="ignore"):
        means: NDArray[Any] = (weight * values).sum(axis=1) / weight.sum(axis=1)
    return interval(means, groups)


def _mask(faces: FaceCrops, place: int) -> torch.Tensor:
    mask = faces.mask(place)
    if mask is None:
        return torch.zeros(faces.image_size, faces.image_size)
    return torch.from_numpy(mask).float() / 255
