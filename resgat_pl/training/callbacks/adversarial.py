"""A Lightning callback for adversarial training: some pictures of each batch are attacked before it is trained on."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import evaluation_mode
from resgat_pl.nn.attacks import pgd
from resgat_pl.training.lightning_internals import data_module
from resgat_pl.training.module import ResGATModule


class AdversarialTraining(Callback):
    """Replaces a share of each training batch by pictures that PGD has attacked (Madry et al., ICLR 2018).

    The attack sees the network in evaluation mode and leaves its gradients and batch statistics alone; each process
    attacks its own batch, without collective calls. ``training.losses.Trades`` is the alternative that keeps the
    detection loss on the pictures as they are. Both are off unless they are configured: see the warning there.

    Args:
        share: Share of the crops that are attacked.
        eps: Largest change of a pixel, in 255ths.
        steps: Of the attack.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> AdversarialTraining(share=0.25, eps=4).steps
        3
    """

    def __init__(self, share: float = 0.5, eps: float = 2.0, steps: int = 3) -> None:
        super().__init__()
        if not 0 <= share <= 1 or not 0 <= eps <= 255 or steps < 1:
            raise ConfigError(
                f"AdversarialTraining has share {share}, eps {eps} and {steps} steps; need a share from 0 to 1, eps "
                "from 0 to 255 and at least 1 step."
            )
        self.share = share
        self.eps = eps
        self.steps = steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that there are pictures to attack.

        Raises:
            ConfigError: Features are in their place, or the module is another one.
        """
        if not isinstance(pl_module, ResGATModule):
            raise ConfigError("trainer.callbacks has AdversarialTraining, which works with a ResGATModule alone.")
        if getattr(data_module(trainer), "features_cache", None) is not None:
            raise ConfigError(
                "trainer.callbacks has AdversarialTraining, which attacks pictures, and data.features_cache holds "
                "features in their place. Leave one of them out."
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Attack some pictures of the batch, in place."""
        images = batch["image"]
        places = (torch.rand(len(images)) < self.share).nonzero().flatten().to(images.device)
        if not len(places) or self.eps == 0 or not isinstance(pl_module, ResGATModule):
            return
        net, label = pl_module.net, batch["label"][places]
        with evaluation_mode(net), torch.autocast(images.device.type, enabled=False):
            images[places] = pgd(lambda x: net(x).logit, images[places], label, self.eps / 255, self.steps)
