"""Faces in frames: detecting them, and following each person through a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.faces.cropping import CropBox as CropBox, crop_face as crop_face
    from resgat_pl.data.faces.detection import (
        MTCNN as MTCNN,
        Face as Face,
        FaceDetector as FaceDetector,
        WholeFrame as WholeFrame,
        YuNet as YuNet,
    )
    from resgat_pl.data.faces.tracking import track_faces as track_faces

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CropBox": "cropping",
        "Face": "detection",
        "FaceDetector": "detection",
        "MTCNN": "detection",
        "WholeFrame": "detection",
        "YuNet": "detection",
        "crop_face": "cropping",
        "track_faces": "tracking",
    },
)
