"""Face crops of a manifest as a PyTorch data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from resgat_pl.data.crop_store.encoding import resize_crop
from resgat_pl.data.crop_store.reader import Member, mask_of, picture, place_of
from resgat_pl.data.loading.crop_loader import Change, CropLoader, CropRequest, FaceSample
from resgat_pl.data.loading.node_features import FeatureLoader, NodeFeatures
from resgat_pl.data.loading.shard_reads import RunCache, Runs
from resgat_pl.data.manifest.table import Manifest


class Draw(NamedTuple):
    """A sampler's request to the data set.

    Attributes:
        position: Position in the data set.
        seed: Seed of the augmentation; None means no augmentation.
    """

    position: int
    seed: int | None = None


class FaceCrops(Dataset[FaceSample]):
    """Crops of some rows of a manifest.

    Args:
        manifest: The manifest.
        rows: ``(n,)`` int64, rows to use, in order.
        image_size: Side in px that crops are resized to.
        augmentation: Applied to draws that carry a seed, before resizing: an ``Augmentation`` or a ``Corruption``.
        masks: Whether samples carry what was manipulated; masks move along with an ``Augmentation``.
        landmarks: Whether samples carry the landmarks, which move along likewise.

    Attributes:
        runs: Which neighbours of a crop in a shard are read with it, for an order that draws these soon; None reads
            each alone.
        features: The cached node features, asked for when the first sample is loaded; what it returns takes the place
            of the pictures unless it is None.

    Example:
        >>> from pathlib import Path
        >>> from resgat_pl.data.manifest.schema import SCHEMA
        >>> len(FaceCrops(Manifest(Path("crops"), SCHEMA.empty_table(), {}), np.zeros(0, np.int64), 64))
        0
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: NDArray[np.int64],
        image_size: int,
        augmentation: Change | None = None,
        masks: bool = False,
        landmarks: bool = False,
    ) -> None:
        self.masks = masks
        self.landmarks = landmarks
        self.manifest = manifest
        self.rows = rows
        self.image_size = image_size
        self.augmentation = augmentation
        self.runs: Runs | None = None
        self.features: Callable[[], NodeFeatures | None] = _no_features

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """``(n,)``, 1 = fake."""
        labels: NDArray[np.int8] = self.manifest.column("label")[self.rows]
        return labels.astype(np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: Draw | int) -> FaceSample:
        return self.loader()[self.request(draw)]

    def request(self, draw: Draw | int) -> CropRequest:
        """All that is needed to load a draw, looked up in the manifest."""
        index, seed = draw if isinstance(draw, tuple) else (draw, None)
        row = int(self.rows[index])
        return CropRequest(
            row=row,
            label=int(self.labels[index]),
            video=int(self.manifest.video_codes[row]),
            track=int(self.manifest.track_codes[row]),
            untouched=bool(self.untouched[index]),
            crop=cast("str | Member", place_of(self.manifest, row)),
            mask=place_of(self.manifest, row, "mask_path") if self.masks else None,
            run=None if self.runs is None else self.runs.of(index),
            seed=seed,
            landmarks=tuple(self._landmarks[index].tolist()) if self.landmarks else None,
        )

    def loader(self, cache: RunCache | None = None) -> CropLoader:
        """Loads requests without the manifest, in whichever process."""
        options = (self.manifest.folder, self.image_size, self.augmentation, self.masks, cache, self.landmarks)
        features = self.features()
        return CropLoader(*options) if features is None else FeatureLoader(*options, features=features)

    @cached_property
    def untouched(self) -> NDArray[np.bool_]:
        """``(n,)``, see ``Manifest.untouched``."""
        untouched: NDArray[np.bool_] = self.manifest.untouched[self.rows]
        return untouched

    @cached_property
    def _landmarks(self) -> NDArray[np.float32]:
        """``(n, 10)``, the landmarks of each crop as the manifest has them; NaN where it has none."""
        column = self.manifest.take(self.rows, ["landmarks"]).column("landmarks").combine_chunks()
        found = np.full((len(column), 10), np.nan, np.float32)
        found[np.asarray(column.is_valid())] = np.asarray(column.drop_null().flatten(), np.float32).reshape(-1, 10)
        return found

    def pairs(self) -> NDArray[np.int64]:
        """Positions ``(P, 2)`` of each fake crop and the same square of the same frame of its original, if it is here.

        Faces that were not altered have no part in it: there is nothing by which the two would differ.
        """
        table = self.manifest.take(self.rows, ["source_video", "track", "frame_index"])
        keys = {video.key: code for code, video in enumerate(self.manifest.videos())}
        names = table.column("source_video").combine_chunks().dictionary_encode()
        sources = np.array([*(keys.get(name, -1) for name in names.dictionary.to_pylist()), -1])
        source = sources[names.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        track, frame = (table.column(name).to_numpy().astype(np.int64) for name in ("track", "frame_index"))
        span, frames = (int(values.max(initial=0)) + 1 for values in (track, frame))

        def place(video: NDArray[np.int64]) -> NDArray[np.int64]:
            """One number for each face of each frame of each video."""
            number: NDArray[np.int64] = (video * span + track) * frames + frame
            return number

        is_original = np.asarray(table.column("source_video").is_null())
        originals = np.flatnonzero(is_original)
        fakes = np.flatnonzero(~is_original & (source >= 0) & ~self.untouched)
        here, wanted = place(self.manifest.video_codes[self.rows])[originals], place(source)[fakes]
        order = np.argsort(here, kind="stable")
        after = np.searchsorted(here, wanted, side="right", sorter=order)
        found = order[np.maximum(after - 1, 0)] if len(order) else np.zeros(len(wanted), np.int64)
        same = (after > 0) & (here[found] == wanted) if len(order) else np.zeros(len(wanted), bool)
        pairs = np.stack([fakes[same], originals[found[same]]], axis=1)
        # A fake that does not fit its original was cut by other boxes.
        boxes = [self.manifest.take(self.rows[places], ["box"]).column("box") for places in pairs.T]
        fake, real = (np.asarray(box.combine_chunks().flatten()).reshape(-1, 4) for box in boxes)
        return np.asarray(pairs[(fake == real).all(axis=1)])

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Manipulation mask of a crop, ``(S, S)`` uint8 (covered share, 0-255), or None where there is none."""
        path = mask_of(self.manifest, int(self.rows[index]))
        return None if path is None else resize_crop(picture(path)[:, :, 0], self.image_size)


def _no_features() -> None:
    return None


def assign_ranks(labels: NDArray[np.int64], ranks: int) -> NDArray[np.int64]:
    """Assign a sequence to ranks, each class evenly: batch norm sees one rank's crops only.

    Args:
        labels: ``(n,)`` int64, 0 or 1.
        ranks: Number of ranks.

    Returns:
        ``(n,)`` int64, the rank of each. Of each class, and of both together, no rank gets two more than another.
    """
    rank = np.zeros(len(labels), np.int64)
    first = 0  # where one class stops the next goes on, or the same ranks would get one more of each
    for label in (1, 0):
        members = np.flatnonzero(labels == label)
        rank[members] = (first + np.arange(len(members))) % ranks
        first = (first + len(members)) % ranks
    return rank
