"""Cropping of one video: choose frames, find faces, cut them out.

A pure function of (video, settings, and for a fake the boxes of its original): same input, same bytes. It writes
nothing, so that it can be done in a process that may die of it (see ``extract_video``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import cv2
import numpy as np

from resgat_pl.core.errors import MediaError, ResGATError
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.crop_store.encoding import encode_crop
from resgat_pl.data.extraction.alignment import (
    MOST_BYTES,
    MOST_FRAMES,
    Original,
    Plan,
    Recent,
    SideBySide,
    Track,
    compare,
    planned,
    read_ahead,
    rows_of,
)
from resgat_pl.data.extraction.altered_faces import AlteredFaces, Picture, add_note
from resgat_pl.data.extraction.original_match import Agreement
from resgat_pl.data.extraction.registration import shift_between
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.appearance import Scene, scene_of
from resgat_pl.data.faces.cropping import CropBox, crop_box, crop_face, touches
from resgat_pl.data.faces.detection import Face, FaceDetector, WholeFrame, sharpness, with_looks
from resgat_pl.data.faces.tracking import track_faces
from resgat_pl.data.layouts.same_files import SAME_FILE
from resgat_pl.data.media.frames import Frame, FrameReader

_ALL: Final = 2**15 - 1
"""More faces than a video is taken to have; the manifest's numbers go so far."""
_OTHERS: Final = 8
"""Faces of an original that are remembered beyond those that are cut out."""


class Outcome(NamedTuple):
    """The result of cutting a video.

    Attributes:
        rows: The manifest's rows, one per crop.
        report: frame_size in px, and where something is wrong a note, or skipped with the reason; orphan if it could
            not be aligned because its original gave no face; relation, what a fake is to the genuine one of its name
            (see ``pairing.Relation``); others, the faces of an original that were not cut out.
    """

    rows: list[dict[str, Any]]
    report: dict[str, Any]


def crop_video(
    record: VideoRecord,
    extraction: Extraction,
    original: Original | None = None,
    recent: Recent | None = None,
    max_faces: int = 1,
) -> Iterator[Picture | Outcome]:
    """Cut the faces out of one video.

    Args:
        record: The video.
        extraction: Settings.
        original: The original, whose frame numbers and boxes a fake takes, so that real and fake crops are aligned
            pixel for pixel.
        recent: Where an original's frames are stored for its fakes; it changes nothing but the time that they take.
        max_faces: Faces to cut out where the settings do not say, see ``Layout.max_faces``.

    Yields:
        The crops and masks, and last the outcome. Where that says ``skipped`` the pictures do not count: a video that
        cannot be read to the end that was asked for gives none.
    """
    recent = recent if recent is not None else Recent()
    report: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    try:
        # The boxes to cut: the original's where they fit, else by detection.
        media = FrameReader(record.files, record.kind)
        plan = _aligned(record, media, extraction, original, recent, report)
        aligned = original if plan is not None else None
        plan = plan or _detected(record, media, extraction, recent)
        report["frame_size"] = plan.size
        altered = AlteredFaces(record, plan, aligned, recent, extraction.margin)
        chosen = _chosen(record, media, plan, extraction.max_faces or max_faces, altered, report)

        # The crops.
        got = set()
        for frame in plan.read(media):
            altered.add(frame)
            for number, track in chosen.items():
                if frame.number in track:
                    got.add(frame.number)
                    name = f"{crops_folder(record)}/{number}_{frame.number:06d}.{extraction.image_format}"
                    row, picture = _save(record, number, frame, track[frame.number], extraction, name)
                    rows.append(row)
                    yield picture
                    if extraction.difference_masks:
                        altered.compute_mask(frame, row, extraction.size)
        if not rows:
            raise MediaError(f"{record.files[0]}: none of the frames of its original can be decoded")
        if len(got) < plan.asked:
            add_note(report, f"faces in {len(got)} of {plan.asked} frames")

        # Their masks and labels, which need all frames.
        yield from altered.masks(rows, extraction.size, report)
        altered.write_labels(rows, report)
        _undo_pairing(record, rows, report)
        for note in media.notes:
            add_note(report, note)
    except ResGATError as error:
        report["skipped"] = str(error)
        rows = []
    yield Outcome(rows, report)


def crops_folder(record: VideoRecord) -> str:
    """Folder of a video's crops, relative to that of the data set's."""
    return f"crops/{_safe_path(record).as_posix()}"


def _aligned(
    record: VideoRecord,
    media: FrameReader,
    extraction: Extraction,
    original: Original | None,
    recent: Recent,
    report: dict[str, Any],
) -> Plan | None:
    """The boxes of the original, for the frames of this video; None if they do not fit it."""
    if original is None:
        return None
    if not original.rows:
        if record.pairing == "aligned":
            report["orphan"] = True
            raise MediaError(f"{record.files[0]}: its original gave no face")
        add_note(report, "not aligned with its original, which gave no face")
        report["orphan"] = True
        return None
    is_count = extraction.frames != "all" and extraction.every is None
    plan, frames = read_ahead(planned(original, media, fill=is_count), media)
    reason = "has none of its frames"
    if frames:
        found = compare(plan, frames, recent.beside(original.record, original.sampled), extraction.margin)
        reason = _misfit(record, frames[0], original, found, report)
        if record.pairing == "aligned":
            shift = _shifted(plan, frames[0], recent.beside(original.record, original.sampled), extraction.margin)
            reason = "; ".join(filter(None, [reason, shift]))
    if reason and record.pairing == "aligned":
        raise MediaError(f"{record.files[0]}: not aligned with its original: {reason}")
    if reason and report.get("relation", "pair") == "pair":  # what only a name suggests is counted, and is no fault
        add_note(report, f"not aligned with its original: {reason}")
    return None if reason else plan


def _misfit(record: VideoRecord, frame: Frame, original: Original, found: Agreement, report: dict[str, Any]) -> str:
    """Reason why a fake cannot be cut by the boxes of what is taken for its original; empty if it can."""
    if record.pairing == "name":
        report["relation"] = found.relation
        if found.relation != "pair":
            return str(found)
    if list(frame.image.shape[1::-1]) != original.size:
        return f"it has frames of {original.size} px"
    if record.pairing == "aligned":
        return f"{found.share:.0%} of what is around the face shows the same" if found.misaligned else ""
    # Crops were cut out by others, each by its own box.
    if record.pairing == "given" and record.kind != "crops" and found.refuted:
        return str(found)
    if record.pairing == "asked" and found.refuted:
        add_note(report, f"paired by its name as asked, although {found}")
    return ""


def _shifted(plan: Plan, frame: Frame, beside: SideBySide, margin: float) -> str:
    """The shift of a fake against its original, in words; empty if there is none."""
    original = beside.get(frame.number)
    if original is None or original.shape != frame.image.shape:
        return ""
    boxes = [track[frame.number].box for track in plan.tracks.values() if frame.number in track]
    shift = shift_between(frame.image, original, boxes, margin)
    return "" if shift is None else str(shift)


def _undo_pairing(record: VideoRecord, rows: Sequence[dict[str, Any]], report: dict[str, Any]) -> None:
    """Take back what only the name had suggested: an original, and a person.

    Fakes of one name by several methods may still be made from one clip that is not there: they stay together.
    """
    if record.pairing != "name" or report.get("relation", "doubt") == "pair":
        return
    for row in rows:
        row["source_video"] = None
        if report.get("relation") == "unrelated" and not record.people:
            files = [name for name in record.identities if name.startswith(SAME_FILE)]
            row["identities"] = [f"fake/{record.video}", *files]


def _chosen(
    record: VideoRecord, media: FrameReader, plan: Plan, most: int, altered: AlteredFaces, report: dict[str, Any]
) -> dict[int, Track]:
    """The faces to cut out, no more than ``most``: of a fake those that were altered first, and then the largest."""
    if len(plan.tracks) <= most:
        return plan.tracks
    if record.label == REAL:
        order = list(plan.tracks)
        others = {number: plan.tracks[number] for number in order[most : most + _OTHERS]}
        report["others"] = rows_of(others)  # a fake of it may have altered one of them
    else:
        order = altered.order(media)
    return {number: plan.tracks[number] for number in sorted(order[:most])}


def _detected(record: VideoRecord, media: FrameReader, extraction: Extraction, recent: Recent) -> Plan:
    """Find faces in the sampled frames and follow them through the video."""
    detector = WholeFrame() if record.kind == "crops" else extraction.face_detector
    wanted = extraction.sample(media)
    keep = len(wanted) <= MOST_FRAMES
    frames: list[Frame] = []
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
        faces = [f for f in faces if touches(crop_box(f, detector, extraction.margin).box, size)]
        # Crops made elsewhere are of one person, as their folder says.
        found.append(faces if isinstance(detector, WholeFrame) else with_looks(frame.image, faces))
        keep = keep and len(wanted) * frame.image.nbytes <= MOST_BYTES
        if keep:
            frames.append(frame)
        else:
            frames.clear()
    tracks = {
        place: {n: crop_box(face, detector, extraction.margin) for n, face in zip(numbers, track, strict=True) if face}
        for place, track in enumerate(track_faces(found, _ALL, times=times, scenes=scenes))
    }
    if not tracks:
        seen, where = sum(map(bool, found)), f"{len(numbers)} frames of {size[0]}x{size[1]} px"
        cause = f"faces in {seen} of {where}, none of them in two frames" if seen else f"no face found in {where}"
        raise MediaError(f"{record.files[0]}: {cause}")
    if record.label == REAL:
        recent.keep(record, frames if keep else None)
    return Plan(tracks, size, frames if keep else None, [], len(wanted))


def _detect(detector: FaceDetector, frame: Frame, record: VideoRecord) -> list[Face]:
    try:
        return detector.detect(frame.image)
    except (cv2.error, MemoryError, ValueError) as error:
        height, width = frame.image.shape[:2]
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(
            f"{record.files[0]}: the face detector failed on frame {frame.number} of {width}x{height} px ({reason})"
        ) from None


def _save(
    record: VideoRecord, track: int, frame: Frame, cut: CropBox, extraction: Extraction, name: str
) -> tuple[dict[str, Any], Picture]:
    """One crop and its row."""
    if not touches(cut.box, frame.image.shape[1::-1]):
        height, width = frame.image.shape[:2]
        raise MediaError(f"{record.files[0]}: the frame size changes within the video, to {width}x{height} px")
    image = crop_face(frame.image, cut.box, extraction.size)
    data = encode_crop(image, extraction.image_format, extraction.quality)
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
        "landmarks": cut.relative,
        "sharpness": sharpness(image),
        "crop_path": name,
    }
    return row, Picture(name, data)


def _safe_path(record: VideoRecord) -> Path:
    """Folder of a video's crops; each name is one path component, whatever is in it."""
    parts = (record.dataset, record.method, record.compression or "-", record.video)
    quoted = (quote(part, safe=" ()[]{}+,;=@!'") for part in parts)
    return Path(*(part if part.strip(".") else part.replace(".", "%2E") for part in quoted))
