"""Checks of the detector that is to be trained."""

from __future__ import annotations

import math

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.detector_net import DetectorNet


def check_net(net: object, mask_loss_weight: float) -> None:
    """Make sure that a network is a detector, that checkpoints can store it, and that masks can guide it.

    Args:
        net: To be trained.
        mask_loss_weight: Of ``nn.mask_guidance``.

    Raises:
        ConfigError: One of these is not so, or the weight is out of range.
    """
    if not isinstance(net, DetectorNet):
        raise ConfigError(
            f"net is a {type(net).__name__}, not a DetectorNet: derive its class from resgat_pl.nn.DetectorNet, or "
            "give resgat_pl.nn.LogitNet the path of a module that gives a logit."
        )
    _ = net.spec  # raises for arguments that no checkpoint holds
    if not 0 <= mask_loss_weight < math.inf:
        raise ConfigError(f"model.mask_loss_weight is {mask_loss_weight}; it must be 0 or more.")
    if mask_loss_weight > 0 and not net.has_contributions:
        raise ConfigError(
            f"model.mask_loss_weight is {mask_loss_weight}, but net is a {type(net).__name__} whose logit is no sum of "
            "contributions that masks could guide: set it to 0, or train a ResGAT with the head linear, mlp or "
            "normalised."
        )
