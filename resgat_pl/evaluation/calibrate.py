"""``resgat calibrate``: likelihood ratios of a checkpoint, from videos that it has not seen in any way."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.privacy import without_paths
from resgat_pl.core.text import joined
from resgat_pl.core.types import FAKE, Level
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import components
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.familiarity import Familiarity, fit_familiarity, has_features, pooled_features
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool, hashes_of, likelihood_path
from resgat_pl.evaluation.metrics.intervals import FEWEST
from resgat_pl.evaluation.metrics.likelihood import LikelihoodRatios, fit_ratios, ratio_text
from resgat_pl.evaluation.metrics.scores import Predictions
from resgat_pl.evaluation.predict import predictions, row_logits, samples_of
from resgat_pl.evaluation.train_test_overlap import people_unknown, videos_of

Part = Literal["test", "all"]
_MOST_FEATURES: Final = 4000
"""Frames that the distance is fitted on, evenly spread."""


def calibrate(
    ckpt_path: Path,
    crops: Path,
    part: Part = "test",
    share: float = 1.0,
    split: SplitProtocol | None = None,
    batch_size: int = 32,
    workers: int = 0,
) -> str:
    """Calibrate a checkpoint's scores as likelihood ratios, on a pool of videos apart from all others.

    The ratio p(score | fake) / p(score | genuine) says how far a score should move somebody's odds, whatever they were
    before. It is fitted by logistic regression for videos and for single faces, and bounded by what so many clips can
    support (ELUB). Videos that the checkpoint was trained or validated on are refused, and so are others of their
    people and originals. resgat test then leaves the videos of the pool, their people and originals out of all that it
    says on likelihood ratios, so the pool may be a share of the test videos.

    Also fitted is the distance of a face from those of the pool, by which resgat explain calls a file unlike them.
    Everything is written beside the checkpoint as NAME.likelihood.json; the checkpoint itself does not change.

    Args:
        ckpt_path: Checkpoint of ``resgat fit``.
        crops: Folder that ``resgat extract`` made.
        part: ``test`` takes videos of its test split; ``all`` all videos, of a folder that is a pool as a whole.
        share: Share of the groups of videos that are connected by people and originals, by the hash of their names; the
            others are left for ``resgat test``.
        split: How the crops are divided; null takes the splits that the checkpoint was trained under, or the
            manifest's.
        batch_size: Crops at once.
        workers: Loading processes.

    Returns:
        Costs and bounds of the ratios as Markdown.

    Raises:
        LeakageError: The checkpoint has seen videos, people or originals of the pool.
        SplitError: The pool is empty, or has one class only.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"--share is {share:g}; it must be above 0, and at most 1.")
    detector = Detector.load(ckpt_path)
    pool = _pool(detector.manifest(crops, split), part, share)
    leaks = detector.leaks_on(pool, allow_leakage=False)
    rows = pool.rows_of("test")
    # Scores and features of the pool.
    faces = samples_of(detector.net, pool, rows)
    logits = row_logits(detector, faces, batch_size, workers, "calibrate")
    scored = predictions(pool, faces.rows, logits)
    ratios: dict[Level, LikelihoodRatios | None] = {level: _ratios(found) for level, found in scored.items()}
    if all(found is None for found in ratios.values()):
        raise SplitError(
            f"{ckpt_path} gives no likelihood ratios on {crops}: its scores of fakes there are no higher than those of "
            "genuine videos. Train longer, or take a pool like the training data."
        )
    videos = videos_of(pool, "test")
    own, links = hashes_of(videos)
    found = LikelihoodPool(
        detector.checkpoint.fingerprint,
        ratios,
        _statement(pool, scored["video"], share, leaks),
        _familiarity(detector, pool, rows, batch_size),
        {
            "crops": without_paths(str(crops)).rpartition("/")[2],
            "manifest": pool.fingerprint(),
            "videos": len(videos),
            "people_unknown": people_unknown(detector.provenance, pool),
            "leaky": leaks,
        },
        own,
        links,
    )
    path = likelihood_path(detector.path)
    try:
        found.write(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}). Copy the checkpoint to another folder."
        ) from None
    return _report(found, path)


def _pool(manifest: Manifest, part: Part, share: float) -> Manifest:
    """The manifest with the pool as its test split, and nothing in other splits."""
    chosen = np.ones(len(manifest), bool)
    if part == "test":
        chosen[:] = False
        chosen[manifest.rows_of("test")] = True
        if not chosen.any():
            raise SplitError(
                f"{manifest.folder} has no test split: take all its videos with --part all, or a protocol with --split."
            )
    videos = manifest.videos()
    inside = {videos[code].key for code in np.unique(manifest.video_codes[chosen]).tolist()}
    taken = {
        video.key
        for group in components(video for video in videos if video.key in inside)
        if _place(group[0].key) < share
        for video in group
    }
    of_video = np.array([video.key in taken for video in videos], bool)
    splits = np.where(chosen & of_video[manifest.video_codes], "test", "")
    pool = manifest.with_splits(splits)
    counts = pool.counts()["test"]
    if not (counts.real and counts.fake):
        raise SplitError(
            f"The pool from {manifest.folder} has {counts.real} genuine and {counts.fake} fake crops, and needs both "
            "classes: raise --share, or take --part all."
        )
    return pool


def _place(key: str) -> float:
    """Place of a group in [0, 1), by the hash of its first video: the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"pool {key}".encode()).digest()[:8]) / 2**64


def _ratios(found: Predictions) -> LikelihoodRatios | None:
    return fit_ratios(found.probability, found.label, found.clip)


def _familiarity(detector: Detector, pool: Manifest, rows: NDArray[np.int64], batch_size: int) -> Familiarity | None:
    if not has_features(detector.net):
        return None
    rows = rows[~pool.untouched[rows]]  # as ``predictions`` of frames
    rows = rows[:: max(1, -(-len(rows) // _MOST_FEATURES))]
    faces = FaceCrops(pool, rows, detector.net.image_size)
    features = []
    for start in range(0, len(rows), batch_size):
        batch = range(start, min(start + batch_size, len(rows)))
        images = torch.stack([torch.as_tensor(faces[place]["image"]) for place in batch]).float().div_(255)
        features.append(pooled_features(detector.net, images, batch_size))
    clip = predictions(pool, rows, torch.zeros(len(rows)))["frame"].clip
    return fit_familiarity(np.concatenate(features), clip)


def _statement(pool: Manifest, scored: Predictions, share: float, leaks: list[str]) -> str:
    videos = videos_of(pool, "test")
    methods = Counter(video.method for video in videos if video.label == FAKE)
    sets = sorted({video.dataset + (f" ({video.compression})" if video.compression else "") for video in videos})
    fakes = ", ".join(f"{name} {count:,}" for name, count in methods.most_common(8))
    clips = len(np.unique(scored.clip))
    text = (
        f"{len(videos) - methods.total():,} genuine and {methods.total():,} fake videos ({fakes}) of {joined(sets)}, "
        f"from {clips:,} independent clips"
    )
    return text + (f"; possible leaks: {', '.join(leaks)}" if leaks else "")


def _report(found: LikelihoodPool, path: Path) -> str:
    rows, notes = [], [f"Pool: {found.statement}."]
    for level, ratios in found.ratios.items():
        if ratios is None:
            notes.append(f"No ratios per {level}: scores of fakes are no higher than those of genuine ones.")
            continue
        bounds = f"{ratio_text(ratios.low)} to {ratio_text(ratios.high)}"
        rows.append([level, str(ratios.real), str(ratios.fake), f"{ratios.cllr:.3f}", f"{ratios.cllr_min:.3f}", bounds])
        if min(ratios.real, ratios.fake) < FEWEST:
            notes.append(f"Per {level} the pool has fewer than {FEWEST} clips of a class: no ratio reaches 10.")
    if found.familiarity is None:
        notes.append("No distance of faces was fitted: it needs 20 clips, and a detector of crops with an encoder.")
    else:
        alarms, clips = found.familiarity.false_alarms, found.familiarity.clips
        notes.append(f"Faces unlike the pool: beyond the limit are {alarms:.1%} of its own {clips} clips.")
    head = ["level", "genuine clips", "clips with fakes", "Cllr, bits", "Cllr min", "likelihood ratios supported"]
    lines = [markdown_table(head, rows), "", *(f"- {note}" for note in notes), f"Written: {path}"]
    return "\n".join(lines)
