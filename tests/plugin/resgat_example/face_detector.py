"""The middle of every frame as a face, for videos that were cut around one."""

from typing import Any

import numpy as np

from resgat_pl.data.faces import Face, FaceDetector


class Centre(FaceDetector):
    """The square in the middle, ``share`` of the shorter side long."""

    def __init__(self, share: float = 0.6) -> None:
        self.share = share

    @property
    def spec(self) -> dict[str, Any]:
        """See ``FaceDetector``."""
        return {"detector": "Centre", "share": self.share}

    def detect(self, image: np.ndarray) -> list[Face]:
        """See ``FaceDetector``: ``image`` is (H, W, 3) uint8 RGB."""
        height, width = image.shape[:2]
        half = self.share * min(height, width) / 2
        box = np.array([width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half], np.float32)
        return [Face(box, score=1.0, landmarks=np.full((5, 2), np.nan, np.float32))]
