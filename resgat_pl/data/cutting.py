"""The work on one video: choose frames, find faces, cut them out.

A pure function of (video, settings, and for a fake the boxes of its original): same input, same bytes. It writes
nothing, so that it can be done in a process that may die of it (see ``fragments``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.appearance import Scene, scene_of
from resgat_pl.data.faces import (
    MTCNN,
    Face,
    FaceDetector,
    WholeFrame,
    crop,
    sharpness,
    square_box,
    touches,
    with_looks,
)
from resgat_pl.data.frames import Frame, FrameCount, Media, sample_indices
from resgat_pl.data.tracking import track_faces
from resgat_pl.errors import ConfigError, MediaError, ResGATError
from resgat_pl.types import VideoRecord

EXTRACTION_VERSION = 1
"""Raised whenever the same settings would give other pixels or rows."""


@dataclass(frozen=True)
class Extraction:
    """How faces are cut out of videos.

    Args:
        frames: Frames to take of each video, spread evenly, or "all".
        every: Take every k-th frame instead (``frames`` is then an upper bound).
        size: Side of the saved crops in px.
        margin: Side of the square crop as a multiple of the face box's longer side.
        image_format: "png" is lossless; "jpg" (4:4:4) is about five times smaller and decodes faster, but adds
            compression of its own to what the detector sees.
        quality: JPEG quality, 1-100.
        max_faces: Faces (tracks) to keep of each video; null means 2 for DFDC, whose videos can hold two, else 1.
        detector: Face detector; null means MTCNN with the weights that are installed along.
    """

    frames: FrameCount = 32
    every: int | None = None
    size: int = 224
    margin: float = 1.3
    image_format: Literal["png", "jpg"] = "png"
    quality: int = 95
    max_faces: int | None = None
    detector: FaceDetector | None = None

    def __post_init__(self) -> None:
        for name, least in (("size", 16), ("margin", 0.5), ("quality", 1), ("every", 1), ("max_faces", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"extraction.{name} is {value}, must be at least {least}")
        if self.frames != "all" and self.frames < 1:
            raise ConfigError(f'extraction.frames is {self.frames}, must be at least 1, or "all"')

    @cached_property
    def face_detector(self) -> FaceDetector:
        """The detector in use."""
        return self.detector or MTCNN()

    def sample(self, media: Media) -> NDArray[np.int64]:
        """Numbers of the frames to take of a video."""
        return media.indices[sample_indices(len(media.indices), self.frames, self.every)]

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that changes the crops, as plain values."""
        values = {name: getattr(self, name) for name in ("frames", "every", "size", "margin", "max_faces")}
        values["image"] = self.image_format if self.image_format == "png" else f"jpg-{self.quality}"
        return {"version": EXTRACTION_VERSION, **values, **self.face_detector.spec}


class Cut(NamedTuple):
    """Where to cut one frame.

    Attributes:
        box: ``(4,)`` int32 x0, y0, x1, y1 in px of the frame; may reach beyond it.
        landmarks: ``(5, 2)`` float32 in px of the frame; NaN where unknown.
    """

    box: NDArray[np.int32]
    landmarks: NDArray[np.float32]


Track = dict[int, Cut]
"""One face over time: frame number → where to cut."""

_FRAMES_IN_MEMORY = 64
_BYTES_IN_MEMORY = 2**30
"""Up to so much is kept between detection and cutting (400 MB at 1080p); of more, all is decoded a second time."""


class _Plan(NamedTuple):
    """Tracks, the frame size (w, h) in px, and the decoded frames where they were kept."""

    tracks: list[Track]
    size: list[int]
    frames: list[Frame] | None


class Picture(NamedTuple):
    """An encoded crop or mask; its name is relative to the folder of the data set's crops."""

    name: str
    data: bytes


class Outcome(NamedTuple):
    """What came of a video.

    Attributes:
        rows: The manifest's rows, one a crop.
        report: frame_size in px, and where something is amiss a note, or skipped with the reason; orphan if it could
            not be aligned because its original gave no face.
    """

    rows: list[dict[str, Any]]
    report: dict[str, Any]


class Original(NamedTuple):
    """What a fake takes of its original: rows of the manifest, and the frame size (w, h) in px."""

    rows: list[dict[str, Any]]
    size: list[int] | None


def cut_video(
    record: VideoRecord, extraction: Extraction, original: Original | None = None
) -> Iterator[Picture | Outcome]:
    """Cut the faces out of one video.

    Args:
        record: The video.
        extraction: Settings.
        original: The original, whose frame numbers and boxes a fake takes, so that real and fake crops are aligned
            pixel for pixel.

    Yields:
        The crops and masks, and last the outcome. Where that says ``skipped`` the pictures do not count: a video that
        cannot be read to the end that was asked for gives none.
    """
    folder = crops_folder(record)
    report: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    try:
        media = Media(record.files, record.kind)
        plan = _aligned(media, original, report) or _detected(record, media, extraction)
        report["frame_size"] = plan.size
        wanted = sorted({number for track in plan.tracks for number in track})
        got = set()
        for frame in plan.frames if plan.frames is not None else media.read(wanted):
            for number, track in enumerate(plan.tracks):
                if frame.number in track:
                    got.add(frame.number)
                    name = f"{folder}/{number}_{frame.number:06d}.{extraction.image_format}"
                    row, picture = _save(record, number, frame, track[frame.number], extraction, name)
                    rows.append(row)
                    yield picture
        if not rows:
            raise MediaError(f"{record.files[0]}: none of the frames of its original can be decoded")
        asked = (
            len(wanted) if original else len(sample_indices(len(media.indices), extraction.frames, extraction.every))
        )
        if len(got) < asked:
            report.setdefault("note", f"faces in {len(got)} of {asked} frames")
        if record.mask is not None:
            yield from _masks(record.mask, rows, plan.size, extraction.size, report)
    except ResGATError as error:
        report["skipped"] = str(error)
        rows = []
    yield Outcome(rows, report)


def crops_folder(record: VideoRecord) -> str:
    """Folder of a video's crops, relative to that of the data set's."""
    return f"crops/{_safe_path(record).as_posix()}"


def _aligned(media: Media, original: Original | None, report: dict[str, Any]) -> _Plan | None:
    """The boxes of the original, for the frames that this video has too; None if they do not fit it."""
    if original is None:
        return None
    first = next(iter(media.read(media.indices[:1])), None)
    if not original.rows or first is None or list(first.image.shape[1::-1]) != original.size:
        reason = f"has frames of {original.size} px" if original.rows else "gave no face"
        report["note"] = f"not aligned with its original, which {reason}"
        if not original.rows:
            report["orphan"] = True
        return None
    size = original.size
    available = set(media.indices.tolist())
    tracks: dict[int, Track] = {}
    for row in original.rows:
        if row["frame_index"] not in available:
            continue
        box = np.array(row["box"], np.int32)
        points: NDArray[np.float32] = np.full((5, 2), np.nan, np.float32)
        if row["landmarks"] is not None:
            relative = np.array(row["landmarks"], np.float32).reshape(5, 2)
            points = (relative * (box[2:] - box[:2]) + box[:2]).astype(np.float32)
        tracks.setdefault(row["track"], {})[row["frame_index"]] = Cut(box, points)
    return _Plan([tracks[number] for number in sorted(tracks)], size, None)


def _detected(record: VideoRecord, media: Media, extraction: Extraction) -> _Plan:
    """Find faces in the sampled frames and follow them through the video."""
    detector = WholeFrame() if record.kind == "crops" else extraction.face_detector
    wanted = extraction.sample(media)
    keep = len(wanted) <= _FRAMES_IN_MEMORY
    kept: list[Frame] = []
    numbers: list[int] = []
    times: list[float] = []
    scenes: list[Scene] = []
    found: list[list[Face]] = []
    size = [0, 0]
    for frame in media.read(wanted):
        numbers.append(frame.number)
        times.append(frame.time)
        scenes.append(scene_of(frame.image))
        size = list(frame.image.shape[1::-1])
        faces = _detect(detector, frame, record)
        faces = [f for f in faces if touches(_cut_of(f, detector, extraction.margin).box, size)]
        # Crops made elsewhere are of one person, as their folder says.
        found.append(faces if isinstance(detector, WholeFrame) else with_looks(frame.image, faces))
        keep = keep and len(wanted) * frame.image.nbytes <= _BYTES_IN_MEMORY
        if keep:
            kept.append(frame)
        else:
            kept.clear()
    most = extraction.max_faces or (2 if record.dataset == "dfdc" else 1)
    tracks = [
        {n: _cut_of(face, detector, extraction.margin) for n, face in zip(numbers, track, strict=True) if face}
        for track in track_faces(found, most, times=times, scenes=scenes)
    ]
    if not tracks:
        seen, place = sum(map(bool, found)), f"{len(numbers)} frames of {size[0]}x{size[1]} px"
        cause = f"faces in {seen} of {place}, none of them in two frames" if seen else f"no face found in {place}"
        raise MediaError(f"{record.files[0]}: {cause}")
    return _Plan(tracks, size, kept if keep else None)


def _detect(detector: FaceDetector, frame: Frame, record: VideoRecord) -> list[Face]:
    try:
        return detector.detect(frame.image)
    except (cv2.error, MemoryError, ValueError) as error:
        height, width = frame.image.shape[:2]
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(
            f"{record.files[0]}: the face detector failed on frame {frame.number} of {width}x{height} px ({reason})"
        ) from None


def _cut_of(face: Face, detector: FaceDetector, margin: float) -> Cut:
    # A crop made elsewhere is taken whole, even if it is not square.
    whole = isinstance(detector, WholeFrame)
    return Cut(face.box.astype(np.int32) if whole else square_box(face.box, margin), face.landmarks)


def _save(
    record: VideoRecord, track: int, frame: Frame, cut: Cut, extraction: Extraction, name: str
) -> tuple[dict[str, Any], Picture]:
    """One crop and its row."""
    if not touches(cut.box, frame.image.shape[1::-1]):
        height, width = frame.image.shape[:2]
        raise MediaError(f"{record.files[0]}: the frame size changes within the video, to {width}x{height} px")
    image = crop(frame.image, cut.box, extraction.size)
    options = (
        [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]  # half the time
        if extraction.image_format == "png"
        else [cv2.IMWRITE_JPEG_QUALITY, extraction.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
    )
    data = cv2.imencode(f".{extraction.image_format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    points = ((cut.landmarks - cut.box[:2]) / (cut.box[2:] - cut.box[:2])).astype(np.float32)
    row = {
        "dataset": record.dataset,
        "method": record.method,
        "compression": record.compression,
        "video": record.video,
        "source_video": record.original,
        "identities": list(record.identities),
        "part": record.part,
        "official_split": record.official_split,
        "label": record.label,
        "track": track,
        "frame_index": frame.number,
        "time": None if np.isnan(frame.time) else frame.time,
        "box": cut.box.tolist(),
        "landmarks": None if np.isnan(points).any() else points.ravel().tolist(),
        "sharpness": sharpness(image),
        "crop_path": name,
    }
    return row, Picture(name, data)


def _masks(
    path: Path, rows: Sequence[dict[str, Any]], size: Sequence[int], side: int, report: dict[str, Any]
) -> Iterator[Picture]:
    """Cut the mask video like the frames; a crop's mask holds the covered share of each pixel, 0-255."""
    try:
        masks = Media([path], "video").read([row["frame_index"] for row in rows])
        frames = {frame.number: _brightest(frame.image) for frame in masks}
    except MediaError as error:
        report["note"] = f"mask not used: {error}"
        return
    for row in rows:
        mask = frames.get(row["frame_index"])
        if mask is None:
            report["note"] = f"mask video {path.name} is shorter than the video"
            continue
        scale = np.array([mask.shape[1] / size[0], mask.shape[0] / size[1]] * 2)
        covered = np.where(mask > 1, 255, 0).astype(np.uint8)  # > 1 is manipulated, as FF++ users hold
        image = crop(covered, np.round(np.array(row["box"]) * scale).astype(np.int32), side)
        name = PurePosixPath(row["crop_path"])
        row["mask_path"] = name.with_name(f"{name.stem}_mask.png").as_posix()
        yield Picture(row["mask_path"], cv2.imencode(".png", image)[1].tobytes())


def _brightest(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Largest channel of each pixel; along the last axis ``max`` takes ten times as long."""
    return np.maximum(np.maximum(image[:, :, 0], image[:, :, 1]), image[:, :, 2])


def _safe_path(record: VideoRecord) -> Path:
    """Folder of a video's crops; each name is one path component, whatever is in it."""
    parts = (record.dataset, record.method, record.compression or "-", record.video)
    quoted = (quote(part, safe=" ()[]{}+,;=@!'") for part in parts)
    return Path(*(part if part.strip(".") else part.replace(".", "%2E") for part in quoted))
