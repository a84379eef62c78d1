"""TRADES: the logits of attacked pictures trained towards those of the pictures as they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.explain.base import evaluation_mode
from resgat_pl.nn.attacks import pgd
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput


class Trades(AuxiliaryLoss):
    """Kullback-Leibler divergence of the probabilities of attacked pictures from those of the same pictures.

    After Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy" (ICML 2019): the detection
    loss stays that of the pictures as they are, and ``weight`` is the paper's 1 / λ. The attack is PGD on the label, in
    evaluation mode; with eps 0 nothing is attacked, and the loss is 0. ``steps`` + 1 more forward passes and ``steps``
    more backward passes in each training step.

    "Deepfake detectors are DUMB" (2026) found that adversarial training helps on the data set trained on and can cost
    accuracy on others: so test across data sets before you use it.

    Args:
        weight: 1 / λ; the paper has 6.
        eps: Largest change of a pixel, in 255ths.
        steps: Of the attack.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> Trades(weight=6, eps=2).name
        'trades_loss'
    """

    name = "trades_loss"

    def __init__(self, weight: float = 1.0, eps: float = 2.0, steps: int = 3) -> None:
        super().__init__(weight)
        if not 0 <= eps <= 255 or steps < 1:
            raise ConfigError(f"Trades has eps {eps} and {steps} steps; need eps from 0 to 255, and at least 1 step.")
        self.eps = eps
        self.steps = steps

    def prepare(self, net: ResGAT, data: FaceDataModule) -> None:
        """Check that there are pictures.

        Raises:
            ConfigError: Features are in their place.
        """
        if data.features_cache is not None:
            raise ConfigError(
                "model.losses has Trades, which attacks pictures, and data.features_cache holds features in their "
                "place. Leave one of them out."
            )

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        if self.eps == 0:
            return step.found.output.logit.sum() * 0
        net, images = step.net, step.batch["image"]
        with evaluation_mode(net), torch.autocast(images.device.type, enabled=False):
            attacked = pgd(lambda x: net(x).logit, images, step.batch["label"], self.eps / 255, self.steps)
        logit = net.classify(net.graph(step.encode(attacked))).logit
        return binary_divergence(step.found.output.logit, logit)


def binary_divergence(logit: Tensor, other: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence, in nats, from two-class probabilities of logits to those of other logits.

    Example:
        >>> binary_divergence(torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0]))
        tensor(0.)
    """
    p = logit.sigmoid()
    right = p * (F.logsigmoid(logit) - F.logsigmoid(other))
    wrong = (1 - p) * (F.logsigmoid(-logit) - F.logsigmoid(-other))
    return (right + wrong).mean()
