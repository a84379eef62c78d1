"""Checks of the detector that is to be trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import cast

from lightning.pytorch import Trainer

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT
from resgat_pl.training.lightning_internals import data_module
from resgat_pl.training.losses.base import AuxiliaryLoss
from resgat_pl.training.losses.masks import MaskGuidance
from resgat_pl.training.losses.node_mask import NodeMask


def check_losses(net: object, mask_loss_weight: float, losses: Sequence[AuxiliaryLoss]) -> list[AuxiliaryLoss]:
    """Make sure that a network is a detector, that checkpoints can store it, and that these losses can train it.

    Args:
        net: To be trained.
        mask_loss_weight: Of ``nn.mask_guidance``; more than 0 adds ``MaskGuidance`` to the losses.
        losses: Others.

    Returns:
        All of them.

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
    for loss in losses:
        if not isinstance(loss, AuxiliaryLoss):
            raise ConfigError(
                f"model.losses has a {type(loss).__name__}; derive its class from resgat_pl.training.losses."
                "AuxiliaryLoss."
            )
        if not net.has_contributions:
            raise ConfigError(
                f"model.losses has {type(loss).__name__}, but net is a {type(net).__name__} whose logit is no sum of "
                "contributions: leave it out, or train a ResGAT whose head has an additive form."
            )
        loss.check_net(cast("ResGAT", net))  # of others there are no contributions
    _check_mask_head(net, losses)
    if mask_loss_weight > 0 and not net.has_contributions:
        raise ConfigError(
            f"model.mask_loss_weight is {mask_loss_weight}, but net is a {type(net).__name__} whose logit is no sum of "
            "contributions that masks could guide: set it to 0, or train a ResGAT with the head linear, mlp or "
            "normalised."
        )
    guidance: list[AuxiliaryLoss] = [MaskGuidance(mask_loss_weight)] if mask_loss_weight > 0 else []
    together = [*guidance, *losses]
    if twice := sorted(name for name, times in Counter(loss.name for loss in together).items() if times > 1):
        raise ConfigError(f"model.losses has two that are logged as {twice[0]}; keep one of them.")
    return together


def _check_mask_head(net: DetectorNet, losses: Sequence[AuxiliaryLoss]) -> None:
    """Refuse a mask that nothing trains; in the logit, as ``gate``, the detection loss does."""
    trained = any(isinstance(loss, NodeMask) for loss in losses)
    if getattr(net, "node_gate", None) is not None and not getattr(net, "is_gated", False) and not trained:
        raise ConfigError(
            "net.mask_head is aux, and nothing trains it: add resgat_pl.training.losses.NodeMask to model.losses, as "
            "configs/mask_aux.yaml does, or set net.mask_head to none."
        )


def prepare_losses(trainer: Trainer, net: DetectorNet, losses: Sequence[AuxiliaryLoss]) -> None:
    """Make sure that batches hold what the losses need, that they train all outputs, and let each loss get ready.

    Raises:
        ConfigError: See ``check_order``, ``check_outputs`` and ``AuxiliaryLoss.prepare``.
    """
    check_order(losses, getattr(trainer, "datamodule", None))
    check_outputs(net, losses)
    data = data_module(trainer)
    if data is not None:
        for loss in losses:
            loss.prepare(cast("ResGAT", net), data)


def check_outputs(net: DetectorNet, losses: Sequence[AuxiliaryLoss]) -> None:
    """Make sure that every further output of a network is trained: an untrained one would be reported all the same.

    Raises:
        ConfigError: A loss is missing.
    """
    outputs = getattr(net, "outputs", None)
    if outputs is None:
        return
    given = {type(loss).__name__ for loss in losses}
    for wanted, rows, loss in (("kinds", outputs.kinds, "Kinds"), ("regions", outputs.regions, "Regions")):
        if rows and loss not in given:
            raise ConfigError(
                f"net.outputs has {wanted}, and nothing trains them: add resgat_pl.training.losses.{loss} to "
                "model.losses, as configs/kinds.yaml has it, or leave them out."
            )


def check_samples(net: object, data: object) -> None:
    """Make sure that a detector of clips gets clips, and any other single crops.

    Raises:
        ConfigError: Names the option of the data.
    """
    frames = getattr(data, "clip_frames", None)
    if data is None or isinstance(net, VideoResGAT) == (frames is not None):
        return
    if frames is None:
        raise ConfigError(
            "net is a VideoResGAT, which takes clips, and data.clip_frames is not set: give the frames of a clip, such "
            "as --data.clip_frames 16."
        )
    raise ConfigError(
        f"data.clip_frames is {frames}, and net is a {type(net).__name__}, which takes single crops: leave it out, or "
        "train a VideoResGAT (--net VideoResGAT)."
    )


def check_order(losses: Sequence[AuxiliaryLoss], data: object) -> None:
    """Make sure that batches hold what the losses need.

    Raises:
        ConfigError: A loss needs pairs, and the data module draws no pairs or features without pictures.
    """
    needing = [type(loss).__name__ for loss in losses if loss.needs_pairs]
    if needing and getattr(data, "order", "paired") != "paired":
        raise ConfigError(
            f"model.losses has {needing[0]}, which compares each fake with its genuine partner, and data.order is "
            f"{getattr(data, 'order', None)}: set --data.order paired."
        )
    if needing and getattr(data, "features_cache", None) is not None:
        raise ConfigError(
            f"model.losses has {needing[0]}, which exchanges pixels, and data.features_cache holds features in the "
            "place of pictures. Leave one of them out."
        )
