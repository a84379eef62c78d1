"""A detector made of any module that gives a logit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import find_part
from resgat_pl.core.text import first_line
from resgat_pl.core.types import DetectorOutput
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import Normalization
from resgat_pl.nn.encoders.base import GridEncoder


class LogitNet(DetectorNet):
    """Detector around a plain ``torch.nn.Module`` that somebody else wrote.

    Its maps are of even cells. What a checkpoint stores is the path of the class and its arguments: reading it imports
    the class only if it is imported already, as by ``--import``, or an installed package names it as an entry point.

    Args:
        module: Path of the class (``my_package.MyNet``), a ``torch.nn.Module`` from images ``(B, 3, H, W)`` to logits
            ``(B,)`` or ``(B, 1)``, positive meaning fake.
        arguments: Of its constructor.
        normalize: Whether images are first normalised with ImageNet's mean and standard deviation; else they are in
            [0, 1].
        image_size: Side in pixels of the images.

    Attributes:
        module: The module.

    Raises:
        ConfigError: There is no such class, it is no ``torch.nn.Module``, or it cannot be made.

    Example:
        >>> net = LogitNet("torchvision.models.SqueezeNet", {"version": "1_1", "num_classes": 1}, image_size=64)
        >>> net(torch.rand(2, 3, 64, 64)).logit.shape
        torch.Size([2])
    """

    def __init__(
        self,
        module: str,
        arguments: dict[str, Any] | None = None,
        normalize: Normalization = "imagenet",
        image_size: int = 224,
    ) -> None:
        super().__init__()
        kind = find_part("detector", module, nn.Module, {}, named_by_user=True)
        try:
            self.module: nn.Module = kind(**(arguments or {}))
        except Exception as error:  # whatever somebody else's code raises
            raise ConfigError(f"The detector {module} cannot be made ({first_line(error)}).") from error
        self._name = module
        self._normalised = normalize == "imagenet"
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(GridEncoder.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(GridEncoder.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> DetectorOutput:
        """Classify ``images (B, 3, H, W)`` float in [0, 1], RGB.

        Raises:
            ConfigError: The module gives something else than a logit an image.
        """
        if self._normalised:
            images = (images - self.mean) / self.std
        logit = self.module(images)
        if not isinstance(logit, Tensor) or not (logit.ndim == 1 or (logit.ndim == 2 and logit.shape[1] == 1)):
            found = tuple(logit.shape) if isinstance(logit, Tensor) else type(logit).__name__
            raise ConfigError(
                f"{self._name} gives {found} for {len(images)} images; it must give one logit each, (B,) or (B, 1). "
                "Of two classes take the difference, fake minus real, in a class derived from resgat_pl.nn.DetectorNet."
            )
        return DetectorOutput.of(logit.reshape(-1))
