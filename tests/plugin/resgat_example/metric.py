"""The lower of two rates: fakes that are found, and genuine faces that are left alone."""

import torch
from torch import Tensor
from torchmetrics import Metric


class WorstRate(Metric):
    """Share of the class that comes off worse, at a threshold."""

    full_state_update = False

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("right", torch.zeros(2), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(2), dist_reduce_fx="sum")

    def update(self, probability: Tensor, label: Tensor) -> None:
        """Add ``(N,)`` floats in [0, 1] and ``(N,)`` whole numbers, 1 = fake."""
        right = (probability > self.threshold) == label.bool()
        for of_class in (0, 1):
            self.right[of_class] += right[label == of_class].sum()
            self.total[of_class] += (label == of_class).sum()

    def compute(self) -> Tensor:
        """A number in [0, 1]; NaN where a class is missing."""
        return (self.right / self.total).min()
