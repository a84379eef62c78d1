"""``resgat timeline``: when a face was altered, as a detector's shares of frames say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.errors import SplitError
from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import csv_table, json_text, markdown_table
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import FAKE, VIDEO_KEY, Split
from resgat_pl.data.loading.clips import FaceClips
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import EvalSampler
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval
from resgat_pl.evaluation.metrics.scores import SOURCE, clip_codes
from resgat_pl.evaluation.metrics.spans import ScoredFace, choose_threshold, frame_auroc, mean_interval, overlap
from resgat_pl.evaluation.provenance import environment
from resgat_pl.evaluation.train_test_overlap import describe, people_unknown
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.video.ledger import clip_ledger
from resgat_pl.nn.video.net import VideoResGAT
from resgat_pl.nn.video.shapley import frame_shapley
from resgat_pl.nn.video.temporal import Frames

_ORDERS: Final = 4
"""Random orders that deletion is compared with."""
_ABOUT: Final = {
    "frame_auroc": "AUROC of frames within clips altered in part (mean over faces)",
    "span_iou": "IoU of the named span (threshold from validation)",
    "silent": "genuine faces in which no span is named",
    "deletion": "logit below that of random orders while frames are deleted, most suspicious first",
}


class _Judged(NamedTuple):
    """A clip of T frames: the score ``(T,)`` float64 of each, its logit, and the logit of the frames at some places."""

    score: NDArray[np.float64]
    logit: float
    of_some: Callable[[NDArray[np.int64]], float]


class _Clip(NamedTuple):
    """A clip: rows of its frames, each once; their scores; its logit; what deletion gained, or NaN."""

    rows: NDArray[np.int64]
    score: NDArray[np.float64]
    logit: float
    deletion: float


@dataclass(frozen=True)
class _Scored:
    """The clips of a split, the faces that they make up, and by row the code of the genuine clip behind it."""

    clips: list[_Clip]
    faces: list[ScoredFace]
    origin: dict[int, int]


def timeline(
    ckpt_path: Path,
    crops: str | Path | None = None,
    split: SplitProtocol | None = None,
    clip_frames: int = 16,
    out: Path = Path("runs/timeline"),
    batch_size: int = 4,
    workers: int = 0,
    seed: int = 0,
    allow_leakage: bool = False,
) -> str:
    """Measure when a detector says that a face was altered: frames, spans, and deletion of frames.

    A frame's score is what it adds to the logit of its clip, times the number of frames, with the bias: exact shares of
    temporal mean, attention and spacetime, Shapley values of lstm. Of a frame that is repeated to fill the clip it is
    the mean over its places. A detector of single frames is measured as the mean of its logits, which are the scores.
    The truth is the manifest's column ``altered``, which masks and originals give for each crop; frames of which it is
    not known do not count. Clips altered in part come from resgat synth --span 0.4.

    Args:
        ckpt_path: Checkpoint of ``resgat fit``, of a VideoResGAT or a detector of single frames.
        crops: Folder that ``resgat extract`` made; null takes the crops the checkpoint was trained on.
        split: How they are divided; null takes the protocol that the checkpoint was trained under, or the manifest's.
        clip_frames: Frames of a clip for a detector of single frames; a VideoResGAT has its own number.
        out: Folder for ``timeline.md``, ``timeline.json`` and ``frames.csv``, the score of each test frame.
        batch_size: Clips at once.
        workers: Loading processes.
        seed: Of random orders and intervals.
        allow_leakage: Test also on videos that the checkpoint was trained on.

    Returns:
        The table as Markdown.
    """
    require_folder(out, "--out")
    detector = Detector.load(ckpt_path)
    temporal, clip_frames = _clips_of(detector.net, clip_frames)
    manifest = detector.manifest(crops or detector.data["crops"], split)
    leaky = detector.leaks_on(manifest, allow_leakage)
    # Scores of both splits, the threshold from one and the numbers from the other.
    found: dict[Split, _Scored] = {
        part: _score(detector.net, manifest, part, clip_frames, batch_size, workers, seed) for part in ("val", "test")
    }
    threshold = choose_threshold(found["val"].faces)
    values = _measure(found["test"], threshold, seed)
    # The table, with what it rests on.
    partly = sum(face.fake and face.in_part for face in found["test"].faces)
    rows = [[_ABOUT[name], int(count), *_shown(each)] for name, (each, count) in values.items()]
    notes = describe(leaky, people_unknown(detector.provenance, manifest))
    if threshold is None:
        notes.append("No span is named: validation has no face altered in part to choose a threshold on.")
    if 0 < max(each.groups for each, _ in values.values()) < FEWEST:
        notes.append(f"Fewer than {FEWEST} genuine clips are behind these numbers: no intervals.")
    if not partly:
        notes.append("No face of the test split is known to be altered in part (resgat synth --span makes such).")
    text = "\n".join([markdown_table(["measure", "faces", "mean", "95 %"], rows), "", *(f"- {note}" for note in notes)])
    document = {
        **stamp(1),
        "checkpoint": str(detector.path),
        "checkpoint_sha256": detector.checkpoint.fingerprint,
        "crops": str(manifest.folder),
        "splits": manifest.split_fingerprint(),
        "temporal": temporal,
        "clip_frames": clip_frames,
        "threshold": threshold,
        "values": {
            name: {"mean": each.value, "interval": [each.low, each.high], "faces": n, "clips": each.groups}
            for name, (each, n) in values.items()
        },
        "notes": notes,
        "provenance": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "timeline.md", (text + "\n").encode())
    write_atomic(out / "timeline.json", json_text(document).encode())
    write_atomic(out / "frames.csv", _frames_csv(manifest, found["test"]).encode())
    return text


def _clips_of(net: DetectorNet, clip_frames: int) -> tuple[str, int]:
    """Name of the temporal part, ``mean`` of a detector of single frames, and the frames of a clip."""
    return (net.config["temporal"], net.clip_frames) if isinstance(net, VideoResGAT) else ("mean", clip_frames)


@torch.inference_mode()
def _score(
    net: DetectorNet, manifest: Manifest, split: Split, clip_frames: int, batch_size: int, workers: int, seed: int
) -> _Scored:
    rows = manifest.rows_of(split)
    if not len(rows):
        raise SplitError(f"{manifest.folder} has no {split} split: choose another protocol with --split.")
    faces = FaceClips(manifest, rows, net.image_size, clip_frames)
    loader = ResumableLoader(faces, EvalSampler(faces, 1, 0), batch_size, workers)
    device = next(net.parameters()).device
    clips: list[_Clip] = []
    for batch in tqdm(loader, desc=f"timeline, {split}", unit="batch", leave=False):
        images = batch["image"].to(device, non_blocking=True).float().div_(255)
        for place, judged in enumerate(_judged(net, images, seed)):
            fake = split == "test" and bool(batch["label"][place] == FAKE)
            clips.append(_clip(judged, batch["frames"][place].numpy(), fake, seed))
    rows = np.concatenate([clip.rows for clip in clips])
    table = manifest.take(rows, [*VIDEO_KEY, SOURCE]).to_pydict()
    codes = clip_codes(list(zip(*(table[name] for name in VIDEO_KEY), strict=True)), table[SOURCE])
    origin = dict(zip(rows.tolist(), codes.tolist(), strict=True))
    return _Scored(clips, list(_faces(manifest, clips, origin)), origin)


def _judged(net: DetectorNet, images: Tensor, seed: int) -> Iterator[_Judged]:
    """Judge clips ``(B, T, 3, S, S)`` float in [0, 1], RGB."""
    clips, count = images.shape[:2]
    if not isinstance(net, VideoResGAT):
        for logits in net(images.flatten(0, 1)).logit.reshape(clips, count).double().cpu().numpy():
            yield _Judged(logits, float(logits.mean()), partial(_mean_at, logits))
        return
    nodes = net.encode(images)
    frames = net.frames_of(net.graph(nodes.flatten(0, 1)), clips)
    ledger = clip_ledger(net, nodes) if net.is_additive else None
    for place in range(clips):
        if ledger is None:
            found = frame_shapley(net, nodes[place], seed=seed)
            share, bias, logit = found.share, found.bias, found.logit
        else:
            share, bias, logit = ledger.frame[place], ledger.bias[place], ledger.logit[place]
        alone = Frames(frames.nodes[place : place + 1], frames.pooled[place : place + 1])
        score = (share.double() * count + bias.double()).cpu().numpy()
        yield _Judged(score, float(logit), partial(_logit_at, net, alone))


def _mean_at(logits: NDArray[np.float64], places: NDArray[np.int64]) -> float:
    return float(logits[places].mean())


def _logit_at(net: VideoResGAT, frames: Frames, places: NDArray[np.int64]) -> float:
    rest = torch.from_numpy(places)
    return float(net.temporal(net.head, Frames(frames.nodes[:, rest], frames.pooled[:, rest])))


def _clip(judged: _Judged, frames: NDArray[np.int64], deletes: bool, seed: int) -> _Clip:
    """Take the mean over the places of repeated frames; measure deletion where it is asked for."""
    rows, first, place = np.unique(frames, return_index=True, return_inverse=True)
    score = np.asarray(np.bincount(place, judged.score) / np.bincount(place), np.float64)
    gained = float("nan")
    if deletes and len(rows) > 1:
        random = np.random.default_rng([seed, int(rows[0])])
        others = [_deleted(judged, first[random.permutation(len(rows))]) for _ in range(_ORDERS)]
        gained = float(np.mean(others) - _deleted(judged, first[np.argsort(-score, kind="stable")]))
    return _Clip(rows, score, judged.logit, gained)


def _deleted(judged: _Judged, order: NDArray[np.int64]) -> float:
    """Mean logit over the steps of deleting all frames but one, given their places in an order."""
    return float(np.mean([judged.of_some(np.sort(order[step:])) for step in range(1, len(order))]))


def _faces(manifest: Manifest, clips: list[_Clip], origin: dict[int, int]) -> Iterator[ScoredFace]:
    """Join the clips of each face."""
    rows = np.concatenate([clip.rows for clip in clips])
    score = np.concatenate([clip.score for clip in clips])
    table = manifest.take(rows, ["altered", "label"]).to_pydict()
    track, label = manifest.track_codes[rows], np.array(table["label"])
    altered = np.array([answer is True for answer in table["altered"]])
    known = np.array([answer is not None for answer in table["altered"]])
    for code in np.unique(track):
        mine = np.flatnonzero(track == code)
        mine = mine[np.argsort(rows[mine])]
        fake = bool(label[mine[0]] == FAKE)
        sure = known[mine] if fake else np.ones(len(mine), bool)
        yield ScoredFace(score[mine], altered[mine] & fake, sure, fake, origin[int(rows[mine[0]])])


def _measure(found: _Scored, threshold: float | None, seed: int) -> dict[str, tuple[Interval, int]]:
    """Mean with interval, and number of faces or clips, of each measure."""
    partly = [face for face in found.faces if face.fake and face.in_part]
    real = [face for face in found.faces if not face.fake]
    columns = {"frame_auroc": ([frame_auroc(face) for face in partly], [face.clip for face in partly])}
    if threshold is not None:
        columns["span_iou"] = ([overlap(face, threshold) for face in partly], [face.clip for face in partly])
        columns["silent"] = ([overlap(face, threshold) for face in real], [face.clip for face in real])
    deleted = [(clip.deletion, found.origin[int(clip.rows[0])]) for clip in found.clips if np.isfinite(clip.deletion)]
    columns["deletion"] = ([value for value, _ in deleted], [origin for _, origin in deleted])
    return {
        name: (mean_interval(*column, proportion=name == "silent", seed=seed), len(column[0]))
        for name, column in columns.items()
    }


def _shown(values: Interval) -> list[str]:
    mean = "" if np.isnan(values.value) else f"{values.value:.3f}"
    return [mean, f"{values.low:.3f} to {values.high:.3f}" if values.known else ""]


def _frames_csv(manifest: Manifest, found: _Scored) -> str:
    rows = np.concatenate([clip.rows for clip in found.clips])
    score = np.concatenate([clip.score for clip in found.clips])
    order = np.argsort(rows)
    names = [*VIDEO_KEY, "track", "frame_index", "time", "altered", "label"]
    columns: dict[str, list[Any]] = manifest.take(rows[order], names).to_pydict()
    values = zip(*columns.values(), score[order].tolist(), strict=True)
    return csv_table([*names, "score"], values)
