"""The altered faces of a fake, determined while it is cut: by its original and by its mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import MediaError
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.extraction.alignment import Original, Plan, Recent, SideBySide, few
from resgat_pl.data.extraction.alteration_evidence import Box, Covered, Difference, agreed
from resgat_pl.data.extraction.difference_mask import difference_mask
from resgat_pl.data.faces.cropping import crop_face
from resgat_pl.data.layouts.base import images_in, is_video
from resgat_pl.data.media.frames import Frame, FrameReader


class Picture(NamedTuple):
    """An encoded crop or mask; its name is relative to the folder of the data set's crops."""

    name: str
    data: bytes


_GLANCE: Final = 32
"""Frames by which the faces to cut out are chosen."""
_SHAPE: Final = 0.02
"""The aspect ratio of a mask may differ from its video's by so much: both are rounded to even sides."""


class AlteredFaces:
    """Gathers the evidence on one video, and writes it into its rows.

    Args:
        record: The video.
        plan: All its faces.
        original: What the plan was taken from; None for a video that is not aligned.
        recent: Where the original's frames are had from.
        margin: Side of a crop as a multiple of the face's.
    """

    def __init__(
        self, record: VideoRecord, plan: Plan, original: Original | None, recent: Recent, margin: float
    ) -> None:
        self.record = record
        self.plan = plan
        self.margin = margin
        self._recent = recent
        # Crops made elsewhere were cut by other boxes, so their pixels do not correspond.
        is_apart = original is None or (record.kind == "crops" and record.pairing != "aligned")
        self._original = None if is_apart else original
        self._difference = Difference(margin)
        self._covered = Covered(margin)
        self._beside = self._open()
        self._computed: list[tuple[dict[str, Any], bytes | None]] = []

    def add(self, frame: Frame) -> None:
        """Look at a frame that is cut; in ascending order."""
        self._compare(self._difference, frame)

    def order(self, media: FrameReader) -> list[int]:
        """The faces, those that were altered first, and then the largest: by a few frames."""
        glances = few(self.plan.wanted, _GLANCE)
        difference, covered = Difference(self.margin), Covered(self.margin)
        if self._original is not None:
            for frame in self.plan.frames if self.plan.frames is not None else media.read(glances):
                self._compare(difference, frame)
            self._beside = self._open()  # from the start again
        if self.record.mask is not None:
            with suppress(MediaError):  # reported when its crops are cut
                for number, mask in self._read_masks(self.record.mask, glances):
                    covered.add(number, mask, self._boxes(number, mask))
        found = agreed(covered.found(), difference.found())
        rank = {True: 0, None: 1, False: 2}

        def key(face: int) -> tuple[int, float, int]:
            altered = found.faces.get(face)
            return rank[altered], -found.strength.get(face, 0.0) if altered else 0.0, face

        return sorted(self.plan.tracks, key=key)

    def compute_mask(self, frame: Frame, row: dict[str, Any], side: int) -> None:
        """Compute the mask of a crop from the difference to the original, for a fake that has no mask video.

        Args:
            frame: The frame that was added last.
            row: Of the crop.
            side: Of a crop in px.
        """
        original = None if self.record.mask is not None else self._beside.get(frame.number)
        if original is None or original.shape != frame.image.shape:
            return
        box = np.array(row["box"], np.int32)
        mask = difference_mask(frame.image, original, box)
        self._computed.append((row, None if mask is None else _encoded(crop_face(mask, box, side))))

    def masks(self, rows: Sequence[dict[str, Any]], side: int, report: dict[str, Any]) -> Iterator[Picture]:
        """Cut the mask video like the frames; a crop's mask holds the covered share of each pixel, 0-255.

        Args:
            rows: Of the manifest; they are given the names of their masks.
            side: Of a crop in px.
            report: Is given a note where something is wrong.
        """
        path = self.record.mask
        yield from self._computed_masks(report)
        if path is None:
            return
        by_frame: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_frame.setdefault(row["frame_index"], []).append(row)
        try:
            for number, mask in self._read_masks(path, sorted(by_frame)):
                self._covered.add(number, mask, self._boxes(number, mask))
                for row in by_frame.pop(number):
                    image = crop_face(mask, self._scaled(np.array(row["box"]), mask), side)
                    yield _named(row, _encoded(image))
        except MediaError as error:
            add_note(report, f"mask not used: {error}")
            return
        if by_frame:
            add_note(report, f"mask video {path.name} is shorter than the video")

    def _computed_masks(self, report: dict[str, Any]) -> Iterator[Picture]:
        """The computed masks, unless most crops of the video have none: what is left then is chance."""
        found = [(row, data) for row, data in self._computed if data is not None]
        lacking = len(self._computed) - len(found)
        if lacking:
            none = 2 * lacking > len(self._computed)
            lack = "no mask computed" if none else f"no mask computed in {lacking} of {len(self._computed)} crops"
            add_note(report, f"{lack}: the difference to the original does not stand out against compression")
            if none:
                return
        yield from (_named(row, data) for row, data in found)

    def write_labels(self, rows: Sequence[dict[str, Any]], report: dict[str, Any]) -> None:
        """Write into each row whether its face was altered; None where that is not known.

        A fake has an altered face: where none is found, or none that was cut out, nothing is known of any.
        """
        if self.record.label == REAL:
            for row in rows:
                row["altered"] = False
            return
        mask, difference = self._covered.found(), self._difference.found()
        found = agreed(mask, difference)
        if any(mask.faces.values()) and not any(found.faces.values()):
            add_note(report, "its mask lies on a face that is as in the original, so it is not known which was altered")
        elif mask.crops and not any(mask.faces.values()):
            add_note(report, "its mask covers no face")
        if difference.strength and not max(difference.strength.values()):
            add_note(report, "is the same as its original in every pixel of its faces, and counts as fake nevertheless")
        altered = [found.crops.get((row["track"], row["frame_index"]), found.faces.get(row["track"])) for row in rows]
        for row, answer in zip(rows, altered, strict=True):
            row["altered"] = answer if any(altered) else None

    def _open(self) -> SideBySide:
        original = self._original
        return SideBySide(()) if original is None else self._recent.beside(original.record, original.sampled)

    def _compare(self, difference: Difference, frame: Frame) -> None:
        boxes = {face: track[frame.number].box for face, track in self.plan.tracks.items() if frame.number in track}
        original = self._beside.get(frame.number) if boxes else None
        if original is not None:
            difference.add(frame.number, frame.image, original, boxes)

    def _boxes(self, number: int, mask: NDArray[np.uint8]) -> dict[int, Box]:
        tracks = self.plan.tracks.items()
        return {face: self._scaled(track[number].box, mask) for face, track in tracks if number in track}

    def _scaled(self, box: NDArray[Any], mask: NDArray[np.uint8]) -> Box:
        """A box in pixels of a mask, which may be smaller than the video."""
        scale = np.array([mask.shape[1] / self.plan.size[0], mask.shape[0] / self.plan.size[1]] * 2)
        return np.asarray(np.round(box * scale), np.int32)

    def _read_masks(self, path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Number and mask ``(h, w)``, 0 or 255, of each frame.

        Raises:
            MediaError: It cannot be read, or has another shape than the video.
        """
        width, height = self.plan.size
        is_image = not is_video(path.name)
        files = images_in(path) if path.is_dir() else (path,)
        for frame in FrameReader(files, "frames" if is_image else "video").read(numbers):
            rows, columns = frame.image.shape[:2]
            if abs(columns * height / (rows * width) - 1) > _SHAPE:
                raise MediaError(f"{path}: is of another video: {columns}x{rows} px, the video {width}x{height} px")
            level = _brightest(frame.image)
            # In a video > 1 is manipulated, as FF++ users hold; images may be soft, or hold 0 and 1.
            least = int(level.max()) / 2 if is_image else 1
            yield frame.number, np.where(level > least, 255, 0).astype(np.uint8)


def add_note(report: dict[str, Any], note: str) -> None:
    """Add a note to a video's report, which may have one."""
    report["note"] = f"{report['note']}; {note}" if "note" in report else note


def _named(row: dict[str, Any], mask: bytes) -> Picture:
    """The mask of a crop; the row is given its name."""
    name = PurePosixPath(row["crop_path"])
    row["mask_path"] = name.with_name(f"{name.stem}_mask.png").as_posix()
    return Picture(row["mask_path"], mask)


def _encoded(mask: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", mask)[1].tobytes()


def _brightest(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Largest channel of each pixel; along the last axis ``max`` takes ten times as long."""
    return np.maximum(np.maximum(image[:, :, 0], image[:, :, 1]), image[:, :, 2])
