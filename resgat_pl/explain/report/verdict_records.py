"""Records of the document on a verdict: the detector, its nodes, its calibration, and the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Checkpoint:
    """The detector.

    Attributes:
        name: File name, without folders.
        fingerprint: SHA-256 of the file.
        net: The network's arguments, ``ResGAT.config``; of another detector ``class_path`` and ``init_args``.
        extraction: How its training crops were cut out, which is how faces are cut out here.
        assumed: What of ``extraction`` is not known from the checkpoint and is a default; empty if all is known.
        trained_on: Data sets, methods and number of videos that it was trained on, in words.
        recordings: Whether it was trained on recorded faces: false for made ones only, so that nothing supports a
            verdict on others; None where it is unknown.
        validated_on: Videos that threshold and calibration were chosen on, in words.
    """

    name: str
    fingerprint: str
    net: dict[str, Any]
    extraction: dict[str, Any]
    assumed: list[str]
    trained_on: str = "Trained on: unknown."
    recordings: bool | None = None
    validated_on: str = "Validated on: unknown."


@dataclass(frozen=True)
class Centres:
    """Centres of the nodes in a crop; a node's cell is all that is nearer to it than to any other.

    Earlier versions took the crop to be cut evenly.

    Attributes:
        rows: Of each row of nodes, as a share of the crop's height.
        columns: Of each column, as a share of its width.
    """

    rows: list[float]
    columns: list[float]


@dataclass(frozen=True)
class Calibration:
    """The calibration of probabilities: σ(log-odds(score) / temperature).

    Attributes:
        temperature: Fitted on the scores of the checkpoint's validation data at the level of the file (videos, or
            single faces for an image); None where it has none, and the probability is the score.
        statement: The same in words.
        frames: The temperature of single frames, or None.
    """

    temperature: float | None
    statement: str
    frames: float | None = None


@dataclass(frozen=True)
class Decision:
    """The decision: fake if ``score > threshold``, or, the same, if the probability is above ``limit``.

    Attributes:
        score: As in the project's metrics per video: like ``Document.probability`` but without calibration. None
            without a face.
        threshold: What it is compared with.
        source: Where the threshold comes from, in words.
        borderline: Whether the threshold is among 95 % of the scores of frames drawn again, so that other frames of
            the same video could have turned the verdict; from two frames on, while the interval is shown from ten on.
            False for a single frame, of which nothing is known.
        limit: The threshold on the scale of ``Document.probability``.
        chosen: Whether validation chose the threshold; otherwise it is a default.
        join: Way from the scores of faces to ``score``: ``maximum`` or ``noisy_or``, see ``nn.video.faces``.
        leaning: ``fake`` or ``real``, the side of the threshold, whatever the verdict; None without a face, and in
            documents of earlier versions, where it is the verdict.
        reasons: Sentences on why the verdict is ``inconclusive``; empty otherwise.
    """

    score: float | None
    threshold: float
    source: str
    borderline: bool
    limit: float
    chosen: bool
    join: str = "maximum"
    leaning: Literal["fake", "real"] | None = None
    reasons: list[str] = field(default_factory=list)
