"""Loading of one crop: all that a loading process does, and all that it has to know for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from resgat_pl.core.types import REAL
from resgat_pl.core.untrusted_paths import inside
from resgat_pl.data.crop_store.encoding import resize_crop
from resgat_pl.data.crop_store.reader import Member, picture, stored_picture
from resgat_pl.data.loading.landmarks import moved_landmarks
from resgat_pl.data.loading.shard_reads import Run, RunCache
from resgat_pl.data.transforms import Augmentation

Change = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""(image ``(H, W, 3)`` uint8 RGB, seed) → changed image, the same for the same arguments."""


class CropRequest(NamedTuple):
    """A crop to load, with what the manifest says of it; a loading process has no manifest, which may be gigabytes.

    Attributes:
        row: As label, video, track and untouched: see ``types.FaceBatch``.
        label: 1 = fake.
        video: Code of its video.
        track: Code of its face.
        untouched: Whether it is known not to have been altered.
        crop: Its name below the manifest's folder, or its place in a shard.
        mask: The same of its mask; None where there is none or none is wanted.
        run: What is read of the shard with it; None for the crop alone.
        seed: Seed of the augmentation; None means no augmentation.
        landmarks: x and y of the five points, in [0, 1] of the crop; None where nothing asks for them.
        clip: The frames of a clip, in order; empty for a single crop.
    """

    row: int
    label: int
    video: int
    track: int
    untouched: bool
    crop: str | Member
    mask: str | Member | None = None
    run: Run | None = None
    seed: int | None = None
    landmarks: tuple[float, ...] | None = None
    clip: tuple[CropRequest, ...] = ()


class FaceSample(TypedDict):
    """One crop: ``image`` ``(3, S, S)`` uint8 RGB; label (1 = fake) and codes as in ``types.FaceBatch``.

    With masks also ``mask`` ``(S, S)`` uint8, 0 to 255, and whether it is known. Where the features of a frozen encoder
    are cached, ``nodes`` ``(N, F)`` float32 is in the place of ``image``. Of a clip both have T frames first, and
    ``frames`` ``(T,)`` int64 are their rows. With landmarks also those, ``(5, 2)``.
    """

    image: NotRequired[Tensor]
    nodes: NotRequired[Tensor]
    label: float
    row: int
    video: int
    track: int
    untouched: bool
    mask: NotRequired[Tensor]
    mask_known: NotRequired[bool]
    landmarks: NotRequired[Tensor]
    frames: NotRequired[Tensor]


@dataclass(eq=False)
class CropLoader(Dataset[FaceSample]):
    """Reads, decodes, augments and resizes crops.

    Attributes:
        folder: Where the names of crops are relative to.
        image_size: Side in px that crops are resized to.
        augmentation: Applied to requests that carry a seed, before resizing.
        masks: Whether samples carry what was manipulated.
        cache: Holds what was read of shards; each loading process fills one. None reads each crop alone.
        landmarks: Whether samples carry landmarks, see ``loading.landmarks``.
    """

    folder: Path
    image_size: int
    augmentation: Change | None = None
    masks: bool = False
    cache: RunCache | None = None
    landmarks: bool = False

    def __getitem__(self, request: CropRequest) -> FaceSample:
        mask = None if request.mask is None else self._picture(request.mask, request.run)[:, :, 0]
        return self.sample(request, self._picture(request.crop, request.run), mask)

    def _picture(self, place: str | Member, run: Run | None) -> NDArray[np.uint8]:
        if not isinstance(place, Member):
            return picture(inside(self.folder, place))
        if self.cache is None or run is None:
            return picture(place)
        return stored_picture(self.cache.read(place, run), place)

    def sample(
        self, request: CropRequest, image: NDArray[np.uint8], known_mask: NDArray[np.uint8] | None
    ) -> FaceSample:
        """Make a sample of a decoded crop and, where masks are asked for and known, its mask.

        Args:
            request: What is known of it.
            image: ``(H, W, 3)`` uint8 RGB.
            known_mask: ``(H, W)`` uint8, or None.
        """
        mask = np.zeros(image.shape[:2], np.uint8) if known_mask is None else known_mask
        points = moved_landmarks(request.landmarks, image, self.augmentation, request.seed) if self.landmarks else None
        if self.augmentation is not None and request.seed is not None:
            if self.masks and isinstance(self.augmentation, Augmentation):
                image, mask = self.augmentation.with_mask(image, mask, request.seed)
            else:
                image = self.augmentation(image, request.seed)
        # channel by channel in memory: a batch of turned views is collated twenty times as slowly
        pixels = torch.from_numpy(np.stack(cv2.split(resize_crop(image, self.image_size))))
        sample: FaceSample = {"image": pixels, **self.about(request)}
        if self.masks:
            self.add_mask(sample, request, mask, known_mask)
        if points is not None:
            sample["landmarks"] = torch.from_numpy(points)
        return sample

    def about(self, request: CropRequest) -> FaceSample:
        """A sample of what is known without reading anything."""
        return {
            "label": float(request.label),
            "row": request.row,
            "video": request.video,
            "track": request.track,
            "untouched": request.untouched,
        }

    def add_mask(
        self, sample: FaceSample, request: CropRequest, mask: NDArray[np.uint8], known_mask: NDArray[np.uint8] | None
    ) -> None:
        """Add a mask to a sample: ``(H, W)`` uint8, blank where it is not known; and whether it is."""
        sample["mask"] = torch.from_numpy(resize_crop(mask, self.image_size))
        # An empty mask of a fake would call every node clean of a face whose label is fake.
        sample["mask_known"] = request.label == REAL or (known_mask is not None and bool(known_mask.any()))
