"""The training module rebuilt from a checkpoint alone: Lightning's ``load_from_checkpoint`` without arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.nets import load_net


class FromCheckpoint(LightningModule):
    """A LightningModule whose checkpoints hold the arguments of its network.

    Attributes:
        net: The network.

    Example:
        >>> from resgat_pl.nn import ResGAT
        >>> from resgat_pl.training import ResGATModule
        >>> net = ResGAT("gatv2", "resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64)
        >>> _ = net.save_pretrained("shared")
        >>> ResGATModule.load_from_checkpoint("shared", pos_weight=2.0).net.config["hidden"]
        8
    """

    net: DetectorNet

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Rebuild a module from a checkpoint alone, in training mode as Lightning does.

        Args:
            checkpoint_path: Whatever ``Checkpoint.read`` takes; it is read without running code from it.
            map_location: Device; None is the CPU. A dictionary or function of devices is asked about ``cpu``.
            hparams_file: Must be None: the network's arguments are in the checkpoint.
            strict: Whether all weights must match; None goes by ``strict_loading``.
            weights_only: Not false: pickled objects are never loaded.
            **kwargs: Arguments of the constructor; without ``net`` it is the checkpoint's. The others are not stored.

        Raises:
            ConfigError: ``hparams_file`` or ``weights_only`` asks for something else.
            WeightsError: As ``Checkpoint.read``, or a given ``net`` does not fit.
        """
        if hparams_file is not None or weights_only is False:
            raise ConfigError(
                "hparams_file and weights_only=False are not taken: the arguments of the network are in the "
                "checkpoint, and pickled objects are refused. Leave both out."
            )
        found = Checkpoint.read(checkpoint_path)
        net = kwargs.pop("net", None) or load_net(found)
        module = cls(net=net, **kwargs)
        module.net.train()
        module.strict_loading = module.strict_loading if strict is None else strict
        module.on_load_checkpoint(found.raw)
        module.load_state_dict(found.state, strict=module.strict_loading)
        found.release()
        return module.to(mapped_device(map_location))


def mapped_device(map_location: Any) -> torch.device:
    """The device for values on the CPU, by what ``torch.load`` takes as ``map_location``.

    Example:
        >>> mapped_device(None), mapped_device({"cpu": "meta"})
        (device(type='cpu'), device(type='meta'))
    """
    if callable(map_location):
        moved = map_location(torch.zeros(1).untyped_storage(), "cpu")
        return torch.device("cpu") if moved is None else torch.device(moved.device)
    if isinstance(map_location, Mapping):
        map_location = map_location.get("cpu")
    return torch.device("cpu" if map_location is None else map_location)
