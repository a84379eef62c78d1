"""Detector of the upper frequencies of a face."""

import torch
from torch import Tensor, nn

from resgat_pl.core.types import DetectorOutput
from resgat_pl.nn import DetectorNet


class Spectrum(DetectorNet):
    """Logit of the mean amplitude in rings of the Fourier transform."""

    def __init__(self, rings: int = 16, image_size: int = 224) -> None:
        super().__init__()
        away = torch.fft.fftfreq(image_size).square()
        radius = (away[:, None] + away[None]).sqrt() / 0.5**0.5  # 0 to 1
        ring = (radius * rings).long().clamp(max=rings - 1)
        shares = nn.functional.one_hot(ring, rings).flatten(0, 1).float()
        self.register_buffer("shares", shares / shares.sum(dim=0).clamp(min=1), persistent=False)
        self.layers = nn.Sequential(nn.Linear(rings, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, images: Tensor) -> DetectorOutput:
        """Classify ``images (B, 3, H, W)`` float in [0, 1], RGB."""
        amplitude = torch.fft.fft2(images.mean(dim=1)).abs().log1p()
        return DetectorOutput.of(self.layers(amplitude.flatten(1) @ self.shares).squeeze(1))
