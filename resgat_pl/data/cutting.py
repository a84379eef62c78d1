"""The work on one video: choose frames, find faces, cut them out, write crops and a manifest fragment.

A pure function of (video, settings, and for a fake the boxes of its original): same input, same bytes. Crops are
written first and the fragment last, so that a fragment vouches for the crops it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resgat_pl.data.crop_writer import CropWriter, Store, video_hash
from resgat_pl.data.faces import MTCNN, Face, FaceDetector, WholeFrame, crop, sharpness, square_box, track_faces
from resgat_pl.data.frames import Frame, FrameCount, Media, sample_indices
from resgat_pl.data.locations import readable
from resgat_pl.data.manifest import rows_to_table, write_table
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
"""Up to so many frames are kept between detection and cutting (400 MB at 1080p); more are decoded a second time."""


class _Plan(NamedTuple):
    """Tracks, the frame size (w, h) in px, and the decoded frames where they were kept."""

    tracks: list[Track]
    size: list[int]
    frames: list[Frame] | None


def extract_video(
    record: VideoRecord,
    extraction: Extraction,
    out: Path,
    request: str,
    reference: Path | None = None,
    store: Store = "files",
) -> int:
    """Cut the faces out of one video; write its crops, then its fragment.

    Args:
        record: The video.
        extraction: Settings.
        out: Folder of the data set's crops.
        request: Hash that marks the fragment as up to date.
        reference: Fragment of the original, whose frame numbers and boxes a fake takes, so that real and fake crops
            are aligned pixel for pixel.
        store: Where the crops go; it does not change them.

    Returns:
        Number of crops written. A video that cannot be read gives 0; its fragment says why.
    """
    folder = crops_folder(record)
    crops = CropWriter(out, record.key, folder, store)
    report: dict[str, Any] = {"request": request}
    rows: list[dict[str, Any]] = []
    try:
        media = Media(record.files, record.kind)
        plan = _aligned(media, reference, report) or _detected(record, media, extraction)
        report["frame_size"] = plan.size
        wanted = sorted({number for track in plan.tracks for number in track})
        got = set()
        for frame in plan.frames if plan.frames is not None else media.read(wanted):
            for number, track in enumerate(plan.tracks):
                if frame.number in track:
                    got.add(frame.number)
                    name = f"{folder}/{number}_{frame.number:06d}.{extraction.image_format}"
                    rows.append(_save(record, number, frame, track[frame.number], extraction, name, crops))
        if not rows:
            raise MediaError(f"{record.files[0]}: none of the frames of its original can be decoded")
        asked = (
            len(wanted) if reference else len(sample_indices(len(media.indices), extraction.frames, extraction.every))
        )
        if len(got) < asked:
            report.setdefault("note", f"faces in {len(got)} of {asked} frames")
        if record.mask is not None:
            _save_masks(record.mask, rows, plan.size, extraction.size, crops, report)
    except ResGATError as error:
        report["skipped"] = str(error)
        rows = []
        crops.discard()
    crops.finish()
    write_table(rows_to_table(rows), fragment_path(out, record.key), report)
    return len(rows)


def crops_folder(record: VideoRecord) -> str:
    """The folder of a video's crops, where they are files, relative to that of the data set's."""
    return f"crops/{_safe_path(record).as_posix()}"


def fragment_path(out: Path, key: str) -> Path:
    """The fragment of the video ``key``."""
    return out / "fragments" / f"{video_hash(key)}.parquet"


def read_report(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What ``extract_video`` noted in a fragment: request, frame_size, and note or skipped with the reason.

    Raises:
        ValueError: The fragment holds no report.
    """
    report = json.loads((metadata or {}).get(b"resgat", b"null"))
    if not isinstance(report, dict):
        raise ValueError("no report in the fragment")
    return report


def _aligned(media: Media, reference: Path | None, report: dict[str, Any]) -> _Plan | None:
    """The boxes of the original, for the frames that this video has too; None if they do not fit it."""
    if reference is None:
        return None
    table = pq.read_table(readable(reference))
    size = read_report(table.schema.metadata).get("frame_size")
    first = next(iter(media.read(media.indices[:1])), None)
    if not len(table) or first is None or list(first.image.shape[1::-1]) != size:
        reason = f"has frames of {size} px" if len(table) else "gave no face"
        report["note"] = f"not aligned with its original, which {reason}"
        return None
    available = set(media.indices.tolist())
    tracks: dict[int, Track] = {}
    for row in table.to_pylist():
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
    found: list[list[Face]] = []
    size = [0, 0]
    for frame in media.read(wanted):
        numbers.append(frame.number)
        found.append(detector.detect(frame.image))
        size = list(frame.image.shape[1::-1])
        if keep:
            kept.append(frame)
    most = extraction.max_faces or (2 if record.dataset == "dfdc" else 1)
    tracks = [
        {n: _cut_of(face, detector, extraction.margin) for n, face in zip(numbers, track, strict=True) if face}
        for track in track_faces(found, most)
    ]
    if not tracks:
        raise MediaError(f"{record.files[0]}: no face found in {len(numbers)} frames of {size[0]}x{size[1]} px")
    return _Plan(tracks, size, kept if keep else None)


def _cut_of(face: Face, detector: FaceDetector, margin: float) -> Cut:
    # A crop made elsewhere is taken whole, even if it is not square.
    whole = isinstance(detector, WholeFrame)
    return Cut(face.box.astype(np.int32) if whole else square_box(face.box, margin), face.landmarks)


def _save(
    record: VideoRecord, track: int, frame: Frame, cut: Cut, extraction: Extraction, name: str, crops: CropWriter
) -> dict[str, Any]:
    """Write one crop; return its row."""
    image = crop(frame.image, cut.box, extraction.size)
    options = (
        [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]  # half the time
        if extraction.image_format == "png"
        else [cv2.IMWRITE_JPEG_QUALITY, extraction.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
    )
    crops.add(
        name, cv2.imencode(f".{extraction.image_format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    )
    points = ((cut.landmarks - cut.box[:2]) / (cut.box[2:] - cut.box[:2])).astype(np.float32)
    return {
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


def _save_masks(
    path: Path,
    rows: Iterable[dict[str, Any]],
    size: Sequence[int],
    side: int,
    crops: CropWriter,
    report: dict[str, Any],
) -> None:
    """Cut the mask video like the frames; a crop's mask holds the covered share of each pixel, 0-255."""
    rows = list(rows)
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
        crops.add(row["mask_path"], cv2.imencode(".png", image)[1].tobytes())


def _brightest(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Largest channel of each pixel; along the last axis ``max`` takes ten times as long."""
    return np.maximum(np.maximum(image[:, :, 0], image[:, :, 1]), image[:, :, 2])


def _safe_path(record: VideoRecord) -> Path:
    """Folder of a video's crops; each name is one path component, whatever is in it."""
    parts = (record.dataset, record.method, record.compression or "-", record.video)
    quoted = (quote(part, safe=" ()[]{}+,;=@!'") for part in parts)
    return Path(*(part if part.strip(".") else part.replace(".", "%2E") for part in quoted))
