"""The self-blends of one genuine video, written beside their genuine partners."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.storage import readable
from resgat_pl.core.types import FAKE, REAL, VideoRecord
from resgat_pl.data.crop_store.encoding import encode_crop
from resgat_pl.data.crop_store.reader import Member, crop_of, picture
from resgat_pl.data.crop_store.writer import CropWriter
from resgat_pl.data.extraction.crop_video import crops_folder
from resgat_pl.data.extraction.fragment import fragment_path, has_files, read_fragment, read_report, read_reports
from resgat_pl.data.faces.detection import sharpness
from resgat_pl.data.manifest.table import Manifest, rows_to_table, write_table
from resgat_pl.data.self_blends.blender import LEAST_SIDE, Pair, SelfBlend
from resgat_pl.data.self_blends.camera import Source
from resgat_pl.data.self_blends.families import change_in

LeftOut = dict[str, str]
"""Reason by crop, ``video key, frame``."""

_DRAWS: Final = 4
_LEAST_OPACITY: Final = 26
_LEAST_AREA: Final = 0.001
_MOST_AREA: Final = 0.98
_LEAST_CHANGE: Final = 1.5
"""Mean change inside the mask, of 255, that the camera must leave: what nobody can find measures nothing."""
_WHY_MASK: Final = "its masks cover nothing or everything"
_WHY_CHANGE: Final = "no self-blend changes it enough to be found"


@dataclass(frozen=True)
class VideoTask:
    """The crops of one genuine video, to be taken over or to be blended once.

    Attributes:
        video: The genuine video.
        rows: ``(n,)`` int64, its rows in the manifest.
        name: Of the new video; empty where the crops are taken over as they are.
        family: Of its self-blends.
        place: Number of the blend among those of the same crops.
    """

    video: VideoRecord
    rows: NDArray[np.int64]
    name: str = ""
    family: str = ""
    place: int = 0

    @property
    def genuine(self) -> VideoRecord:
        """The genuine video as it is written."""
        return replace(self.video, video=self.name) if self.name else self.video

    @property
    def fake(self) -> VideoRecord:
        """The video of the self-blends."""
        return replace(self.genuine, method=self.family, label=FAKE, original=self.genuine.key)

    @property
    def written(self) -> list[VideoRecord]:
        """The videos that are written, the genuine one first."""
        return [self.genuine, self.fake] if self.name else [self.genuine]


@dataclass(frozen=True)
class Writer:
    """Writes tasks: crops, then fragments; safe to be called by several threads.

    Attributes:
        manifest: The genuine crops.
        out: Folder of the new crops.
        shapes: Weights of the shapes of masks.
        source: What the crops come from.
        seed: Of everything that is drawn.
        request: Hash of what is asked for; a fragment with another one is written again.
    """

    manifest: Manifest
    out: Path
    shapes: Mapping[str, float]
    source: Source
    seed: int
    request: str

    def to_do(self, tasks: Sequence[VideoTask]) -> list[VideoTask]:
        """The tasks of which not all files are there."""
        keys = [video.key for task in tasks for video in task.written]
        reports = dict(zip(keys, read_reports(self.out, keys), strict=True))

        def is_there(video: VideoRecord) -> bool:
            report = reports[video.key]
            return report.get("request") == self.request and has_files(self.out / crops_folder(video), report)

        return [task for task in tasks if not all(map(is_there, task.written))]

    def __call__(self, task: VideoTask) -> int:
        """Write a task; return its number of crops."""
        rows = self.manifest.table.take(task.rows).to_pylist()
        if task.name:
            self._blend(task, rows)
        else:
            self._take_over(task.genuine, task.rows, rows)
        return len(rows)

    def left_out(self, tasks: Sequence[VideoTask]) -> LeftOut:
        """Crops that no pair was made of, from the fragments."""
        found: LeftOut = {}
        for task in tasks:
            if task.name:
                path = fragment_path(self.out, task.fake.key)
                found |= read_report(read_fragment(readable(path), path).schema.metadata).get("left_out", {})
        return found

    def _take_over(self, video: VideoRecord, places: NDArray[np.int64], rows: list[dict[str, Any]]) -> None:
        writer = CropWriter(self.out, video.key, crops_folder(video), "files")
        for place, row in zip(places.tolist(), rows, strict=True):
            suffix = PurePosixPath(row["crop_path"]).suffix
            row["crop_path"] = f"{crops_folder(video)}/{_frame_name(row)}{suffix}"
            path = crop_of(self.manifest, place)
            if isinstance(path, Member):
                writer.add(row["crop_path"], path.read_bytes())
            else:
                writer.link(row["crop_path"], path)
        self._finish(writer, video, rows, {})

    def _blend(self, task: VideoTask, rows: list[dict[str, Any]]) -> None:
        blender = SelfBlend({task.family: 1.0}, self.shapes, self.source)
        videos = task.written
        writers = [CropWriter(self.out, video.key, crops_folder(video), "files") for video in videos]
        made: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
        left_out: LeftOut = {}
        for place, row in zip(task.rows.tolist(), rows, strict=True):
            pair = self._pair(blender, task, place, row)
            if isinstance(pair, str):
                left_out[f"{task.video.key}, face {row['track']} of frame {row['frame_index']}"] = pair
                continue
            for number, (video, writer, image) in enumerate(
                zip(videos, writers, (pair.genuine, pair.fake), strict=True)
            ):
                new = _row(row, video, pair, image)
                writer.add(new["crop_path"], encode_crop(image, "png"))
                if number:
                    new["mask_path"] = f"{crops_folder(video)}/{_frame_name(row)}_mask.png"
                    writer.add(new["mask_path"], cv2.imencode(".png", pair.mask)[1].tobytes())
                made[number].append(new)
        for writer, video, written in zip(writers, videos, made, strict=True):
            self._finish(writer, video, written, {"left_out": left_out})

    def _finish(
        self, writer: CropWriter, video: VideoRecord, rows: list[dict[str, Any]], report: dict[str, Any]
    ) -> None:
        writer.finish()
        path = fragment_path(self.out, video.key)
        write_table(rows_to_table(rows), path, {"request": self.request, **report})

    def _pair(self, blender: SelfBlend, task: VideoTask, place: int, row: dict[str, Any]) -> Pair | str:
        """A pair, or the reason why there is none."""
        if row["landmarks"] is None or not np.isfinite(row["landmarks"]).all():
            return "without landmarks"
        image = picture(crop_of(self.manifest, place))
        if min(image.shape[:2]) < LEAST_SIDE:
            return f"smaller than {LEAST_SIDE} px"
        points = np.array(row["landmarks"], np.float32).reshape(5, 2)
        why = ""
        for draw in range(_DRAWS):
            name = [self.seed, task.video.key, row["track"], row["frame_index"], task.place, draw]
            pair = blender(image, points, _seed(name))
            why = problem_of(pair)
            if not why:
                return pair
        return why


def problem_of(pair: Pair) -> str:
    """The reason why a pair measures nothing; empty if it is good to test with.

    Example:
        >>> image = np.zeros((32, 32, 3), np.uint8)
        >>> problem_of(Pair(image, image, image[..., 0], "blend", "part", np.zeros((5, 2), np.float32)))
        'its masks cover nothing or everything'
    """
    most = int(pair.mask.max())
    area = float((pair.mask > most / 2).mean())
    if most < _LEAST_OPACITY or not _LEAST_AREA <= area <= _MOST_AREA:
        return _WHY_MASK
    change = change_in(pair.genuine, pair.fake, pair.mask.astype(np.float32))
    return "" if change >= _LEAST_CHANGE else _WHY_CHANGE


def _row(row: Mapping[str, Any], video: VideoRecord, pair: Pair, image: NDArray[np.uint8]) -> dict[str, Any]:
    return {
        **row,
        "method": video.method,
        "video": video.video,
        "source_video": video.original,
        "label": video.label,
        "landmarks": pair.landmarks.reshape(-1).tolist(),
        "sharpness": sharpness(image),
        "crop_path": f"{crops_folder(video)}/{_frame_name(row)}.png",
        "mask_path": None,
        "altered": video.label != REAL,
    }


def _frame_name(row: Mapping[str, Any]) -> str:
    return f"{row['track']}_{row['frame_index']:06d}"


def _seed(name: Sequence[object]) -> int:
    """A seed of whatever names a draw: the same in any process, and others for other names."""
    return int.from_bytes(hashlib.sha256(json.dumps(name).encode()).digest()[:8])
