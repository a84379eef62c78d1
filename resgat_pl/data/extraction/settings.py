"""The settings of an extraction: which frames and faces are cut out of videos, and how crops are written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.crop_store.encoding import ImageFormat
from resgat_pl.data.faces.detection import MTCNN, FaceDetector
from resgat_pl.data.faces.registry import recorded
from resgat_pl.data.media.frames import FrameCount, FrameReader

EXTRACTION_VERSION: Final = 2
"""Raised whenever the same settings would give other pixels or rows."""
VIDEO_TIMEOUT: Final = 600.0
"""Seconds that a video may take unless given otherwise: 32 frames take a few, 10,000 a quarter of an hour."""


@dataclass(frozen=True)
class Extraction:
    """The settings of an extraction: frames, faces and crops.

    Args:
        frames: Frames to take of each video, spread evenly, or "all".
        every: Take every k-th frame instead (``frames`` is then an upper bound).
        size: Side of the saved crops in px.
        margin: Side of the square crop as a multiple of the face box's longer side.
        image_format: "png" is lossless; "jpg" (4:4:4) is about five times smaller and decodes faster, but adds
            traces of compression to what the detector sees.
        quality: JPEG quality, 1-100.
        max_faces: Faces (tracks) to cut out of each video; null takes what the layout says: 2 for DFDC, whose videos
            can hold two, else 1. The largest of a genuine video; of a fake those first that were altered, as far as
            its original or its mask shows it.
        detector: Face detector; null means MTCNN with the weights that are installed along.
        difference_masks: Whether fakes without a mask get one, computed from the difference to their aligned original;
            null takes what the layout says: yes for ``pairs``, else no.

    Example:
        >>> settings = Extraction(frames=8, image_format="jpg")
        >>> settings.spec["image"], settings.spec["detector"]
        ('jpg-95', 'MTCNN')
    """

    frames: FrameCount = 32
    every: int | None = None
    size: int = 224
    margin: float = 1.3
    image_format: ImageFormat = "png"
    quality: int = 95
    max_faces: int | None = None
    detector: FaceDetector | None = None
    difference_masks: bool | None = None

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

    def sample(self, media: FrameReader) -> NDArray[np.int64]:
        """Numbers of the frames to take of a video."""
        return media.sample(self.frames, self.every)

    def of_layout(self, difference_masks: bool) -> Extraction:
        """The settings with what a layout says where they say nothing; a layout that says no changes nothing."""
        if self.difference_masks is None and difference_masks:
            return replace(self, difference_masks=True)
        return self

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that changes the crops, as plain values."""
        values = {name: getattr(self, name) for name in ("frames", "every", "size", "margin", "max_faces")}
        values["image"] = self.image_format if self.image_format == "png" else f"jpg-{self.quality}"
        if self.difference_masks is not None:  # absent from what earlier versions wrote
            values["difference_masks"] = self.difference_masks
        return {"version": EXTRACTION_VERSION, **values, **self.face_detector.spec}

    @property
    def noted(self) -> dict[str, Any]:
        """``spec``, and the class of a face detector from another package, for the manifest."""
        return {**self.spec, **recorded(self.face_detector)}
