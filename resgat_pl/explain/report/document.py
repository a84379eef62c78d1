"""The JSON document of ``resgat explain``: one file's verdict, and why.

``report.json`` is ``Document`` as written by ``to_json``: one object with the fields below in this order, every
dataclass an object, ``None`` as ``null`` (JSON has no NaN), and without the fields marked *not in the JSON*. It carries
``schema``; a reader must refuse a newer number, as ``read_report`` does. Positive always means *towards fake*. Scores
are in [0, 1], logits are natural logarithms of odds, times are seconds, boxes are pixels of the upright frame,
landmarks are fractions of the crop.

Everything adds up: for a method whose ``unit`` is ``logit``, ``Σ nodes + bias`` and ``Σ regions + bias`` are the
frame's ``logit``, up to ``gap · (1 + |logit|)``. In a face's ``maps`` all of this is averaged over its frames, so they
add up to the face's mean ``logit``.

One decision, one number: a face's ``score`` is the mean of ``σ(logit)`` over its frames, the file's the maximum over
its faces, as in the project's metrics per video. ``probability`` of faces and file is ``σ(log-odds(score) / T)`` with
``T`` = ``calibration.temperature``, which rises with the score, so that ``score > decision.threshold`` and
``probability > decision.limit`` are the same. A single frame of a video is on the scale of its file, so that the file's
probability lies among those of its frames and all are compared with one limit: ``σ(logit / T)``. Without a temperature
1 stands for it.

Format 1 had one temperature, of single frames. There a face's ``probability`` is the mean of its frames' and the file's
the maximum over its faces, so no threshold has its scale: the verdict follows ``score`` and ``threshold`` alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.explain.custody.claims import Claims
from resgat_pl.explain.custody.record import Custody
from resgat_pl.explain.report.comparison_records import OriginalComparison
from resgat_pl.explain.report.face_records import FaceCertificate, Member, RegionEvidence
from resgat_pl.explain.report.strength_records import Strength
from resgat_pl.explain.report.verdict_records import Calibration, Centres, Checkpoint, Decision

SCHEMA: Final = 3
"""Version of the document. Raised whenever a field is renamed, removed, or changes its meaning."""
_SINCE_FORMAT_1: Final[dict[str, dict[str, Any]]] = {
    "decision": {"limit": None, "chosen": None, "leaning": None, "reasons": []},
    "calibration": {"frames": None},
    "checkpoint": {"trained_on": "Trained on: unknown.", "recordings": None, "validated_on": "Validated on: unknown."},
}
"""Fields that parts of earlier documents lack, as unknown."""
_SINCE: Final = ("centres", "faces_found", "strength", "custody", "original", "claims")
"""Fields that earlier documents lack, as unknown."""
Verdict = Literal["fake", "real", "inconclusive", "no face"]


@dataclass(frozen=True)
class Method:
    """An explanation method that was run, with what all its maps have in common.

    Attributes:
        name: Class of ``resgat_pl.explain``; the key in every ``maps``.
        unit: ``logit``, ``probability``, ``attention``, ``gradient``, ``mask`` or ``rank``: what the numbers are.
        signed: Whether a negative value means *towards real*.
        exact: Whether nodes and bias add up to the logit by construction.
        about: One sentence on what it shows.
        scale: Colours run from −scale to +scale, or from 0 to scale for an unsigned method: the 99.5th percentile of
            all absolute values in this document, rounded up to two digits. The same for all faces and frames.
        forward: Forward passes of the network for each face.
        backward: Backward passes for each face.
        graph: Passes of the graph part alone for each face.
        milliseconds: Wall-clock time for each face. Methods that are read off the pass that scores have its time.
        shared: Whether it is read off the very pass that scores the face, and so costs nothing.
        threshold: Of a detector's own mask, the value at which a pixel is called manipulated, chosen on validation
            data; the outline in pictures. None of other methods.
    """

    name: str
    unit: str
    signed: bool
    exact: bool
    about: str
    scale: float
    forward: float
    backward: float
    graph: float
    milliseconds: float
    shared: bool
    threshold: float | None = None


@dataclass(frozen=True)
class NodeMap:
    """One method's answer for one face in one frame, or its mean over the frames.

    Attributes:
        nodes: h rows of w values, from the top left.
        regions: Sums over the regions of ``Document.regions``, in that order; a node on a border is shared by area.
            Means over them where the unit is an unsigned ``probability``, such as a mask.
        bias: The logit without any node, by this method; None unless the unit is ``logit``.
        gap: |Σ nodes + bias − logit| / (1 + |logit|); None unless the unit is ``logit``. About 1e-6 if exact.
        edges: One value an edge of ``Document.edge_index``; in the mean only, and None where the method has none.
        agreement: Kendall's W in [0, 1] of the methods that it joins; None where it joins none.
        logit: What nodes and bias add up to where that is not the logit of *fake*: of the output that this explains.
    """

    nodes: list[list[float]]
    regions: list[float]
    bias: float | None
    gap: float | None
    edges: list[float] | None = None
    agreement: float | None = None
    logit: float | None = None


@dataclass(frozen=True)
class StatedClause:
    """A clause of a sentence, see ``explain.clauses``.

    Attributes:
        text: Its words.
        keys: Names of the numbers that it states, in the order of the text, and then of those that it rests on.
    """

    text: str
    keys: list[str]


@dataclass(frozen=True)
class FaceFrame:
    """One face in one frame.

    Attributes:
        index: Number of the frame in its video, from 0; 0 for an image.
        time: Seconds from the start; None for an image.
        box: x0, y0, x1, y1 of the square that was cut out, in pixels of the frame; may reach beyond it.
        landmarks: Five points (x, y) in [0, 1] of the crop, in the order of ``Document.landmarks``; the average
            face's where ``landmarks_found`` is false.
        landmarks_found: Whether the detector gave them.
        logit: Of *fake*.
        probability: On the scale of the file: what it would be if all frames were like this one.
        maps: By method name.
        sentence: The explanation in words.
        numbers: What the sentence is made of, by key; of a detector with further outputs also their probabilities, as
            ``kind/NAME`` and ``manipulated/REGION``.
        clauses: Of the sentence, with the keys of their numbers.
        kind: Of manipulation; empty of a detector without kinds.
        jpeg: *Not in the JSON.* The crop as the network saw it, a JPEG file.
    """

    index: int
    time: float | None
    box: list[int]
    landmarks: list[list[float]]
    landmarks_found: bool
    logit: float
    probability: float
    maps: dict[str, NodeMap]
    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)
    clauses: list[StatedClause] = field(default_factory=list)
    kind: str = ""
    jpeg: bytes = field(default=b"", repr=False, metadata={"json": False})


@dataclass(frozen=True)
class FaceTrack:
    """One face over time.

    Attributes:
        number: From 1, the largest face first.
        probability: ``score``, calibrated at the level of the file.
        interval: 95 % bootstrap interval of ``probability`` over its frames (low, high); None for fewer than ten.
        score: Mean over its frames, without calibration.
        logit: Mean over its frames.
        maps: Mean over its frames, by method name.
        sentence: The explanation in words, of the mean.
        frames: In time order; only those in which the face was found.
        certificate: Of its strongest frame; None of a detector without a graph.
        members: Of an ensemble; empty of other detectors.
        disagreement: Sentence on where the members disagree, or empty.
        evidence: Of the named regions, where an evidence sheet was asked for.
        evidence_png: *Not in the JSON.* The sheet, a PNG file; empty without one.
        numbers: As of ``FaceFrame``, of the mean.
        clauses: Likewise.
        kind: Likewise.
        share: In the file's evidence, in [0, 1]; see ``Decision.join``. None in documents of earlier versions.
        areas: Share of each region in the crop's area, in [0, 1], in the order of ``Document.regions``; they sum to 1.
            Mean over the frames; empty in documents of earlier versions.
    """

    number: int
    probability: float
    interval: tuple[float, float] | None
    score: float
    logit: float
    maps: dict[str, NodeMap]
    sentence: str
    frames: list[FaceFrame]
    certificate: FaceCertificate | None = None
    members: list[Member] = field(default_factory=list)
    disagreement: str = ""
    evidence: list[RegionEvidence] = field(default_factory=list)
    evidence_png: bytes = field(default=b"", repr=False, metadata={"json": False})
    numbers: dict[str, float] = field(default_factory=dict)
    clauses: list[StatedClause] = field(default_factory=list)
    kind: str = ""
    share: float | None = None
    areas: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """The results of ``resgat explain`` for one file.

    Attributes:
        schema: ``SCHEMA``.
        file: Name of the file, without folders.
        kind: ``image`` or ``video``.
        size: Width and height of the upright frame in pixels.
        frames_total: Frames in the file.
        frames_sampled: Frames that were searched for faces.
        verdict: ``fake``, ``real``, ``inconclusive`` or ``no face``.
        probability: Of *fake*, calibrated if ``calibration`` has a temperature; None without a face.
        interval: 95 % bootstrap interval of ``probability`` over the frames (low, high); None without a face, or with
            fewer than ten frames of the one that decides.
        decision: How the verdict follows from the score.
        calibration: How probabilities follow from scores.
        checkpoint: The detector.
        versions: Of this package and of those that it uses.
        seed: Of the bootstrap and of methods that draw at random.
        grid: Rows and columns of nodes.
        centres: Where they are.
        regions: Names of the face regions.
        landmarks: Names of the five landmarks.
        edge_index: Sources and targets of the edges, nodes being numbered row by row from the top left; of a graph of
            two grids ``grid`` is the finer one, and the nodes of the coarser come after its nodes.
        methods: In the order asked for; the first is shown first.
        tracks: The largest face first; empty without a face.
        notes: Sentences on what is unusual about this file.
        caveats: Limits of these maps, to be shown wherever they are.
        seconds: Wall-clock time for decoding, finding faces, scoring and explaining.
        faces_found: Different faces seen, with those that were not judged, which ``notes`` name; None where unknown.
        strength: Likelihood ratio, and error rates for files like this one; None in documents of earlier versions.
        custody: The way from file to report, for ``resgat verify``; None in documents of earlier versions.
        original: The file beside an original of the case; None where none was given.
        claims: Metadata and content credentials of the file, which the verdict does not use; None where unknown.
    """

    schema: int
    file: str
    kind: Literal["image", "video"]
    size: tuple[int, int]
    frames_total: int
    frames_sampled: int
    verdict: Verdict
    probability: float | None
    interval: tuple[float, float] | None
    decision: Decision
    calibration: Calibration
    checkpoint: Checkpoint
    versions: dict[str, Any]
    seed: int
    grid: tuple[int, int]
    centres: Centres
    regions: list[str]
    landmarks: list[str]
    edge_index: list[list[int]]
    methods: list[Method]
    tracks: list[FaceTrack]
    notes: list[str]
    caveats: list[str]
    seconds: float
    faces_found: int | None = None
    strength: Strength | None = None
    custody: Custody | None = None
    original: OriginalComparison | None = None
    claims: Claims | None = None


def plain(value: Any) -> Any:
    """The JSON form of a document or of a part of it: dictionaries, lists, text, numbers and None."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = (entry.name for entry in fields(value) if entry.metadata.get("json", True))
        return {name: plain(getattr(value, name)) for name in kept}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def to_json(document: Document) -> str:
    """``report.json``: one line, UTF-8.

    Raises:
        ValueError: A number is not finite, which JSON cannot hold.
    """
    return json.dumps(plain(document), ensure_ascii=False, allow_nan=False)


def read_report(path: Path) -> dict[str, Any]:
    """Read a ``report.json`` of this or an earlier format into plain values, see ``plain``.

    Returns:
        All fields of ``Document``, with the values and the ``schema`` of the file. Those that it does not have, being
        older, are None, and ``checkpoint.trained_on`` says that it is unknown.

    Raises:
        ConfigError: It cannot be read, or is of a newer version of the document; the message says what to do.
    """
    again = "Explain the file again."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no report of resgat explain ({error}). {again}") from None
    found = content if isinstance(content, dict) else {}
    versions = found.get("versions")
    writer = versions.get(WRITER) if isinstance(versions, dict) else None
    check_version(found.get("schema"), SCHEMA, path, ConfigError, again=again, writer=writer, oldest=1)
    try:
        parts = {name: {**unknown, **found[name]} for name, unknown in _SINCE_FORMAT_1.items()}
        whole = {**dict.fromkeys(_SINCE), **found, **parts}
        return {entry.name: whole[entry.name] for entry in fields(Document)}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no report of resgat explain ({error}). {again}") from None
