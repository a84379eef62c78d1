"""Clips: some frames of one face as one sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE
from resgat_pl.data.crop_store.reader import Member, place_of
from resgat_pl.data.loading.crop_loader import Change, CropLoader, CropRequest, FaceSample
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.shard_reads import RunCache
from resgat_pl.data.manifest.table import Manifest

MOST: Final = 4096
"""Frames of a clip at most."""


def clip_places(count: int, frames: int) -> NDArray[np.int64]:
    """Places ``(clips, frames)`` of a face's ``count`` frames in its clips.

    The frames are divided into as few parts of neighbours as hold at most ``frames``, as equal as can be. A part that
    is shorter is stretched: its frames are repeated, evenly and in order. So each frame counts once, and a face of
    fewer frames, or of one, is a clip as well.

    Example:
        >>> clip_places(5, 4).tolist(), clip_places(1, 2).tolist()
        ([[0, 0, 1, 2], [3, 3, 4, 4]], [[0, 0]])
    """
    parts = np.array_split(np.arange(count, dtype=np.int64), max(1, -(-count // frames)))
    return np.stack([part[np.arange(frames) * len(part) // frames] for part in parts])


class FaceClips(FaceCrops):
    """Clips of some rows of a manifest, each of one face; an item is a clip of ``clip_frames`` crops.

    A clip is known by one of its rows, which stands for it in samplers, metrics and tables of predictions: the first
    that is not known to be untouched, or else the first.

    Args:
        manifest: The manifest.
        rows: ``(n,)`` int64 ascending, rows to divide into clips.
        image_size: Side in px that crops are resized to.
        clip_frames: Frames T of a clip, see ``clip_places``.
        augmentation: As of ``FaceCrops``; all frames of a clip are changed alike.
        examples: Leave out clips none of whose frames was altered in a fake, as in training.

    Attributes:
        rows: ``(clips,)`` int64, the row by which each is known.
        clips: ``(clips, T)`` int64, its rows, by place in the order at first.

    Raises:
        ConfigError: ``clip_frames`` is not positive.

    Example:
        >>> from pathlib import Path
        >>> from resgat_pl.data.manifest.table import rows_to_table
        >>> rows = [{"video": "a", "track": 0, "frame_index": number, "label": 1} for number in range(3)]
        >>> clips = FaceClips(Manifest(Path("crops"), rows_to_table(rows), {}), np.arange(3), 64, clip_frames=2)
        >>> clips.rows.tolist(), clips.clips.tolist()
        ([0, 2], [[0, 1], [2, 2]])
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: NDArray[np.int64],
        image_size: int,
        clip_frames: int,
        augmentation: Change | None = None,
        examples: bool = False,
    ) -> None:
        if clip_frames < 1:
            raise ConfigError(f"clip_frames is {clip_frames}; it must be at least 1.")
        faces = np.split(rows, np.flatnonzero(np.diff(manifest.track_codes[rows])) + 1) if len(rows) else []
        places = [face[clip_places(len(face), clip_frames)] for face in faces]
        clips = np.concatenate(places) if places else np.zeros((0, clip_frames), np.int64)
        touched = ~manifest.untouched[clips]
        if examples:
            clips, touched = clips[touched.any(axis=1)], touched[touched.any(axis=1)]
        known = clips[np.arange(len(clips)), touched.argmax(axis=1)] if len(clips) else np.zeros(0, np.int64)
        super().__init__(manifest, known, image_size, augmentation)
        self.clip_frames = clip_frames
        self.clips = clips
        self._place = {row: place for place, row in enumerate(known.tolist())}  # rows may be put in another order
        self.repeated = sum(len(face) < clip_frames for face in faces)
        self.faces = len(faces)

    def request(self, draw: Draw | int) -> CropRequest:
        """The request of a clip: that of its row, with those of all frames."""
        first = super().request(draw)
        rows = self.clips[self._place[first.row]].tolist()
        return first._replace(clip=tuple(self._frame(first, row) for row in rows))

    def loader(self, cache: RunCache | None = None) -> ClipLoader:  # type: ignore[override]  # a loader of samples, too
        """Loads requests of clips."""
        return ClipLoader(super().loader(cache))

    @property
    def about(self) -> str:
        """Number of clips and faces, in words, and how many of these had too few frames."""
        few = f", of which {self.repeated:,} have fewer frames, repeated to fill a clip" if self.repeated else ""
        return f"{len(self):,} clips of {self.clip_frames} frames, of {self.faces:,} faces{few}"

    def pairs(self) -> NDArray[np.int64]:
        """Positions ``(P, 2)`` of each fake clip and the clip of the same frames of its original, if it is here."""
        places = [self._place[row] for row in self.rows.tolist()]
        first = FaceCrops(self.manifest, self.clips[places, 0], self.image_size)
        vars(first)["untouched"] = self.untouched
        return first.pairs()

    def altered(self) -> NDArray[np.bool_]:
        """``(clips, T)``, the frames that are known to be altered, or not known not to be; in the order of ``rows``."""
        places = [self._place[row] for row in self.rows.tolist()]
        clips = self.clips[places]
        found: NDArray[np.bool_] = (self.manifest.column("label")[clips] == FAKE) & ~self.manifest.untouched[clips]
        return found

    def _frame(self, first: CropRequest, row: int) -> CropRequest:
        return first._replace(row=row, crop=cast("str | Member", place_of(self.manifest, row)))


@dataclass(eq=False)
class ClipLoader(Dataset[Any]):
    """Loads clips: ``image`` ``(T, 3, S, S)``, or ``nodes`` ``(T, N, F)``, and ``frames`` ``(T,)`` int64, the rows.

    Attributes:
        crops: Loads single crops, or their features.
    """

    crops: CropLoader

    def __getitem__(self, request: CropRequest) -> FaceSample:
        loaded: dict[int, FaceSample] = {}
        for frame in request.clip:
            if frame.row not in loaded:  # repeated frames are read once
                loaded[frame.row] = self.crops[frame]
        samples = [loaded[frame.row] for frame in request.clip]
        clip: FaceSample = {**self.crops.about(request), "frames": torch.tensor([frame.row for frame in request.clip])}
        if "nodes" in samples[0]:
            clip["nodes"] = torch.stack([sample["nodes"] for sample in samples])
        else:
            clip["image"] = torch.stack([sample["image"] for sample in samples])
        return clip


def check_clips(clip_frames: int | None, **others: object) -> None:
    """Refuse options of the data that clips do not go with.

    Args:
        clip_frames: As of ``FaceClips``; None for single crops.
        **others: By name, options that must not be set with clips.

    Raises:
        ConfigError: Names the option.
    """
    if clip_frames is None:
        return
    if not 1 <= clip_frames <= MOST:
        raise ConfigError(f"data.clip_frames is {clip_frames}; it must be 1 to {MOST:,}, or null for single crops.")
    for name, value in others.items():
        if value:
            raise ConfigError(f"data.clip_frames and data.{name} are both set: clips have none. Leave one of them out.")
