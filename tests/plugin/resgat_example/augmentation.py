"""Holes in training crops, so that no single place decides."""

import albumentations as A

from resgat_pl.data.transforms import Augmentation


class Holes(Augmentation):
    """One to three black rectangles in a crop."""

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = probability

    def transforms(self) -> list[A.BasicTransform]:
        """See ``Augmentation``."""
        return [A.CoarseDropout(num_holes_range=(1, 3), p=self.probability)]
