"""The faces in a user's own images and videos, cut out as for training."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError, ManifestError, MediaError, WeightsError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.data.crop_store.encoding import as_stored
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.appearance import Scene, scene_of
from resgat_pl.data.faces.cropping import crop_box, crop_face, touches
from resgat_pl.data.faces.detection import MTCNN, Face, FaceDetector, WholeFrame, with_looks
from resgat_pl.data.faces.registry import from_record
from resgat_pl.data.faces.tracking import follow_faces, is_lasting, presence
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.media.frames import Frame, FrameReader
from resgat_pl.data.media.timeline import DECODER_ERRORS
from resgat_pl.explain.custody.claims import Statement, container_metadata
from resgat_pl.explain.report.media_search import Medium

_RANGES: Final = {
    "size": (16, 2048),  # px; an untrusted checkpoint must not make crops that no memory holds
    "margin": (0.5, 10.0),
    "min_face": (0.0, 1.0),
    "max_side": (1, 2**16),
    "min_score": (0.0, 1.0),
}
"""Smallest and largest settings that a checkpoint can name."""


class Shot(NamedTuple):
    """One face in one frame.

    Attributes:
        number: Number of the frame, from 0.
        time: Seconds from the start, None for an image.
        box: ``(4,)`` int32, the square cut out, in px of the frame; may reach beyond it.
        landmarks: ``(5, 2)`` float32, x and y in [0, 1] of the crop; NaN where unknown.
        image: ``(S, S, 3)`` uint8 RGB, the crop.
    """

    number: int
    time: float | None
    box: NDArray[np.int32]
    landmarks: NDArray[np.float32]
    image: NDArray[np.uint8]


class Unjudged(NamedTuple):
    """A face that was seen and is not judged.

    Attributes:
        frames: Number of sampled frames in which it was found.
        first: Seconds from the start of the first of them; None where unknown.
        last: Of the last.
        side: The longer side of its box in px, the largest.
        why: Why it was left out: there are ``larger`` ones, it is a ``glimpse`` of a single frame, as false alarms are,
            or ``tiny``, smaller than what the detector looks for.
    """

    frames: int
    first: float | None
    last: float | None
    side: float
    why: Literal["larger", "glimpse", "tiny"]


@dataclass(frozen=True)
class FoundFaces:
    """The faces of one file.

    Attributes:
        size: Width and height of the upright frames in px.
        total: Frames in the file.
        sampled: Frames that were searched.
        tracks: One person over time each, the largest first; empty where there is none.
        notes: Sentences on what is unusual.
        unjudged: All other faces that were seen, the largest first.
        step: Seconds between two searched frames, the most; None where unknown.
        metadata: Of the container; only those that ``FaceFinder`` found have it.
    """

    size: tuple[int, int]
    total: int
    sampled: int
    tracks: list[list[Shot]]
    notes: list[str]
    unjudged: list[Unjudged] = field(default_factory=list)
    step: float | None = None
    metadata: list[Statement] = field(default_factory=list)


def cutting_of(provenance: dict[str, Any] | None) -> tuple[Extraction, list[str]]:
    """The settings with which a checkpoint's training crops were cut out, so that new faces are cut alike.

    Args:
        provenance: The checkpoint's; None where it has none.

    Returns:
        The settings that matter for a crop (size, margin, image format, face detector; the others are defaults), and
        in words what of them had to be assumed.

    Raises:
        WeightsError: The checkpoint names settings with which no crops can have been cut.
    """
    spec = _spec(provenance)
    default = Extraction()
    if not spec:
        return default, [
            f"The checkpoint does not say how its training crops were cut out: {default.size} px, margin "
            f"{default.margin} and the face detector MTCNN are assumed."
        ]
    # A checkpoint may be untrusted: its numbers must be such as an extraction can have.
    for key, (least, most) in _RANGES.items():
        if key not in {"size", "margin"} and spec.get("detector") != "MTCNN":
            continue  # what another detector calls so is not used here
        value = spec.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise WeightsError(
                f"The checkpoint says that its crops were cut out with extraction.{key} = {str(value)[:40]!r}; it must "
                f"be {least:g} to {most:g}. Take the checkpoint as resgat fit wrote it."
            )
    # Of this package only these can be made from what a checkpoint says; of others what is installed or imported.
    assumed = []
    detector: FaceDetector | None = None
    name = str(spec.get("detector"))[:100]
    if "face_detector" in spec:
        try:
            detector = from_record(spec["face_detector"])
        except ConfigError as error:
            assumed.append(
                f"The training crops were found by {name}, which cannot be had here: {error} MTCNN is used, whose "
                "boxes differ somewhat. Give --detector to use the same."
            )
    elif name == "MTCNN":
        detector = MTCNN(**{key: spec[key] for key in ("min_face", "max_side", "min_score") if key in spec})
    elif name == "WholeFrame":
        detector = WholeFrame()
    else:
        assumed.append(
            f"The training crops were found by {name}, whose weights a checkpoint does not hold; MTCNN is used, whose "
            "boxes differ somewhat. Give --detector to use the same."
        )
    image = str(spec.get("image", "png"))
    quality = image.partition("-")[2]
    settings = Extraction(
        size=int(spec.get("size", default.size)),
        margin=float(spec.get("margin", default.margin)),
        image_format="jpg" if image.startswith("jpg") else "png",
        quality=int(quality) if re.fullmatch("[1-9][0-9]?|100", quality) else default.quality,
        detector=detector,
    )
    return settings, assumed


def find_faces(medium: Medium, extraction: Extraction, most: int) -> FoundFaces:
    """Decode a file, find the faces in its sampled frames, follow them, and cut them out as ``extract`` does.

    A face that is found in two frames is judged, however short that is of the file; one of a single frame is left out
    as a likely false alarm if there are others (and 8 frames or more).

    Only the crops are stored, not the frames, so memory grows by 150 kB a face and frame (224 px).

    Args:
        medium: The file.
        extraction: Which frames to take, and how to cut.
        most: Faces (tracks) to judge, the largest.

    Raises:
        MediaError: The file cannot be read.
    """
    detector = extraction.face_detector
    media = FrameReader([medium.path], "video" if medium.kind == "video" else "frames")
    # Two frames are searched for smaller faces too.
    try:
        chosen = extraction.sample(media)
        keener = dict.fromkeys((len(chosen) // 3, 2 * len(chosen) // 3), detector.keener())
        searched = [
            _search(frame, medium, extraction, keener.get(place)) for place, frame in enumerate(media.read(chosen))
        ]
    except DECODER_ERRORS as error:
        raise MediaError(f"{medium.path}: cannot be decoded ({str(error).strip() or type(error).__name__})") from None
    notes = media.notes
    sizes: dict[tuple[int, int], int] = {}
    for frame in searched:
        sizes.setdefault(frame.size, frame.number)
    if len(sizes) > 1:
        changes = ", ".join(f"{width}×{height} from frame {number}" for (width, height), number in sizes.items())
        notes.append(f"The frame size changes ({changes}); boxes are in px of their own frame.")
    # Follow the faces through the frames, and divide them into those to judge and the others.
    clock = [float("nan") if frame.time is None else frame.time for frame in searched]
    everybody = follow_faces([frame.faces for frame in searched], clock, [frame.scene for frame in searched])
    lasting = [track for track in everybody if is_lasting(track)]
    if everybody and not lasting:
        notes.append("No face was found in two frames; those of single frames are judged, and may be false alarms.")
    tracks = (lasting or everybody)[:most]
    unjudged = [
        _unjudged(track, searched, "glimpse" if lasting and not is_lasting(track) else "larger")
        for track in everybody
        if not any(track is judged for judged in tracks)
    ]
    return FoundFaces(
        size=searched[-1].size if searched else (0, 0),
        total=len(media.indices),
        sampled=len(searched),
        tracks=[
            [frame.shots[id(face)] for frame, face in zip(searched, track, strict=True) if face is not None]
            for track in tracks
        ],
        notes=notes,
        unjudged=unjudged + sorted([[], *(frame.tiny for frame in searched)], key=len)[-1],
        step=float(np.diff(clock).max()) if len(clock) > 1 and np.isfinite(clock).all() else None,
    )


class _Searched(NamedTuple):
    """A frame in which faces were searched for: which it is, and the faces, cut out by ``id`` and tiny ones."""

    number: int
    time: float | None
    size: tuple[int, int]
    scene: Scene
    faces: list[Face]
    shots: dict[int, Shot]
    tiny: list[Unjudged]


def _search(frame: Frame, medium: Medium, extraction: Extraction, keener: FaceDetector | None) -> _Searched:
    """Find the faces of a frame and cut them out; ``keener`` looks for smaller ones."""
    detector, size = extraction.face_detector, (frame.image.shape[1], frame.image.shape[0])
    number, time = frame.number, float(frame.time)
    if medium.kind == "image":
        number, time = 0, math.nan  # a name such as 0007.png numbers nothing here
    when = None if math.isnan(time) else time
    faces = detector.detect(frame.image)
    faces = [face for face in faces if touches(crop_box(face, detector, extraction.margin).box, size)]
    if not isinstance(detector, WholeFrame):  # crops made elsewhere are of one person
        faces = with_looks(frame.image, faces)
    shots = {id(face): _cut(frame._replace(number=number), when, face, extraction) for face in faces}
    tiny = [] if keener is None else _tiny(frame.image, when, faces, keener)
    return _Searched(number, when, size, scene_of(frame.image), faces, shots, tiny)


class FaceFinder:
    """``find_faces`` in a separate process, since a damaged file may kill it; it serves all files.

    Args:
        extraction: Which frames to take, and how to cut.
        most: Faces (tracks) to judge, the largest.
        timeout: Seconds that a file may take.
    """

    def __init__(self, extraction: Extraction, most: int, timeout: float) -> None:
        self.extraction = extraction
        self.timeout = timeout
        self._process: IsolatedProcess[Medium, FoundFaces] = IsolatedProcess(
            partial(_find, extraction=extraction, most=most)
        )

    def find(self, medium: Medium) -> FoundFaces:
        """See ``find_faces``.

        Raises:
            MediaError: The file cannot be read, took too long, or killed the process.
        """
        try:
            (found,) = self._process.run(medium, self.timeout)
        except (ProcessDiedError, ProcessTimeoutError) as error:
            raise MediaError(f"{medium.path}: {error}") from None
        return found

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _find(medium: Medium, extraction: Extraction, most: int) -> Iterator[FoundFaces]:
    yield replace(find_faces(medium, extraction, most), metadata=container_metadata(medium.path, medium.kind))


def safe_names(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A folder name for each file: letters, digits, dot, dash and underscore of its own name, and no two alike.

    Alike also means alike but for upper and lower case, which some file systems do not distinguish. ``taken`` are names
    that are in use already.
    """
    used = {name.casefold() for name in taken}
    chosen = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", Path(name).name.encode("utf-8", "replace").decode()).strip("._-")[:80]
        candidate, number = stem or "file", 1
        while candidate.casefold() in used:
            number += 1
            candidate = f"{stem or 'file'}-{number}"
        used.add(candidate.casefold())
        chosen.append(candidate)
    return chosen


def _spec(provenance: dict[str, Any] | None) -> dict[str, Any]:
    data = (provenance or {}).get("data") or {}
    if data.get("extraction"):
        return dict(data["extraction"])
    # Checkpoints from before the settings were stored still name their crops, which may be here; an untrusted one must
    # not make this machine call a server.
    if "://" in str(data.get("crops", "")):
        return {}
    try:
        manifest = Manifest.read(data["crops"])
    except (KeyError, ManifestError):
        return {}
    return dict(manifest.info.get("extraction", {})) if manifest.fingerprint() == data.get("manifest") else {}


def _unjudged(
    track: Sequence[Face | None], searched: Sequence[_Searched], why: Literal["larger", "glimpse"]
) -> Unjudged:
    seen = [(face, frame.time) for face, frame in zip(track, searched, strict=True) if face is not None]
    return Unjudged(presence(track), seen[0][1], seen[-1][1], max(_side(face) for face, _ in seen), why)


def _tiny(image: NDArray[np.uint8], time: float | None, found: Sequence[Face], keener: FaceDetector) -> list[Unjudged]:
    """Faces of a frame that the detector leaves out for their size, the largest first."""
    faces = []
    for face in keener.detect(image):
        centre = (face.box[:2] + face.box[2:]) / 2
        if not any((other.box[:2] <= centre).all() and (centre <= other.box[2:]).all() for other in found):
            faces.append(Unjudged(1, time, time, _side(face), "tiny"))
    return sorted(faces, key=lambda face: -face.side)


def _side(face: Face) -> float:
    """The longer side of a face's box in px."""
    return float((face.box[2:] - face.box[:2]).max())


def _cut(frame: Frame, time: float | None, face: Face, extraction: Extraction) -> Shot:
    place = crop_box(face, extraction.face_detector, extraction.margin)
    # As stored: the network has learnt from faces with the traces of that compression.
    image = as_stored(crop_face(frame.image, place.box, extraction.size), extraction.image_format, extraction.quality)
    return Shot(frame.number, time, place.box, place.relative_landmarks, image)
