"""Words of a report on a detector of clips: how it judged, and which frames say most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from torch import Tensor

from resgat_pl.evaluation.metrics.spans import best_run
from resgat_pl.explain.report.media import Shot
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.video.net import VideoResGAT

_NAMED: Final = 3
"""Frames that are named at most."""


def clip_notes(net: DetectorNet, lengths: Sequence[int]) -> list[str]:
    """Sentences for a report on how a detector of clips judged faces of so many frames; none of any other detector."""
    if not isinstance(net, VideoResGAT) or not lengths:
        return []
    clips = f"Judged in clips of {net.clip_frames} frames ({net.config['temporal']}): "
    said = [
        f"{clips}the number at a frame is what the clip's logit would be if all frames added as much as this one, and "
        "the mean of these numbers is that logit."
    ]
    if short := sum(length < net.clip_frames for length in lengths):
        few = f"{short} of {len(lengths)} faces" if len(lengths) > 1 else "The face"
        said.append(
            f"{few} {'have' if short > 1 else 'has'} fewer than {net.clip_frames} frames: they were repeated to fill a "
            "clip, which shows less change over time than the detector was trained on."
        )
    if uneven := sum(length > net.clip_frames and length % net.clip_frames > 0 for length in lengths):
        said.append(
            f"The frames of {uneven} of {len(lengths)} faces do not fill clips of {net.clip_frames} evenly: some are "
            "in a clip twice, and the number at such a frame holds what it adds both times."
        )
    return said


def strongest_frames(net: DetectorNet, shots: Sequence[Shot], logits: Tensor) -> str:
    """Sentence on the frames of a face that add most to its clip's logit; empty of any other detector.

    Args:
        net: The detector.
        shots: Frames of the face.
        logits: ``(n,)`` float, the number at each frame.

    Example:
        >>> from resgat_pl.nn.pooled import PooledClassifier
        >>> strongest_frames(PooledClassifier("resnet18", image_size=64), [], Tensor([]))
        ''
    """
    if not isinstance(net, VideoResGAT) or len(shots) < 2:
        return ""
    order = logits.argsort(descending=True, stable=True)[:_NAMED].tolist()
    named = [f"frame {shots[place].number}{_at(shots[place].time)} ({float(logits[place]):+.2f})" for place in order]
    return f" Of its frames most is added by {', '.join(named)}."


def span_of(net: DetectorNet, shots: Sequence[Shot], logits: Sequence[float], limit: float) -> dict[str, float]:
    """The numbers of ``Finding.span`` of a face; empty of other detectors, and where no frames stand out.

    The span is the run of frames with the largest sum above the limit, see ``metrics.spans.best_run``.

    Args:
        net: The detector.
        shots: Frames of the face.
        logits: The number at each frame.
        limit: Logit above which the face is called fake.
    """
    if not isinstance(net, VideoResGAT) or not math.isfinite(limit):
        return {}
    score = np.array(logits, np.float64)
    named = best_run(score, limit)
    if not named.any() or named.all():
        return {}
    places = np.flatnonzero(named)
    first, last = shots[int(places[0])], shots[int(places[-1])]
    found = {"first": float(first.number), "last": float(last.number)}
    if first.time is not None and last.time is not None:
        found |= {"start": first.time, "end": last.time}
    return found | {"mean": float(score[named].mean()), "rest": float(score[~named].mean())}


def _at(time: float | None) -> str:
    return "" if time is None else f" at {time:.2f} s"
