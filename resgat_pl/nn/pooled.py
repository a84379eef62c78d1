"""The usual detector, a black box to compare ResGAT with: the same encoder, pooling, head."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import DetectorOutput
from resgat_pl.nn.encoder_net import EncoderNet, Normalization, check_arguments
from resgat_pl.nn.encoders.base import EncoderStage
from resgat_pl.nn.encoders.tuning import TrainMode
from resgat_pl.nn.head import NodeHead, build_head

Pooling = Literal["mean", "cls"]


class PooledClassifier(EncoderNet):
    """Detector without a graph: encoder, pooling, head.

    With ``mean`` this is the classifier that most work on deepfakes trains (Rössler et al., "FaceForensics++", ICCV
    2019, with Xception), and ResGAT without its attention. Encoder, weights and training are ResGAT's, so that the two
    differ by the graph alone.

    Args:
        encoder: As of ``ResGAT``.
        weights: Likewise.
        encoder_stage: Likewise.
        pooling: ``mean`` over the nodes, or ``cls``, the class token of a vision transformer.
        head: ``linear``, ``mlp`` with one hidden layer, ``normalised``, or a head from outside, see ``nn.head``.
        normalize: As of ``ResGAT``.
        dropout: Probability in training of dropping a hidden unit of ``mlp``.
        image_size: Side in pixels of the images that an encoder from outside is tried with.
        train: As of ``ResGAT``.
        receptive: Likewise.

    Raises:
        ConfigError: An argument is out of range, or the encoder has no class token to pool.
        WeightsError: The encoder's weights cannot be had, or do not fit.

    Example:
        >>> import torch
        >>> net = PooledClassifier(encoder="resnet18", image_size=64).eval()
        >>> net(torch.zeros(2, 3, 64, 64)).probability.shape
        torch.Size([2])
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        weights: str | Path | None = None,
        encoder_stage: EncoderStage = 4,
        pooling: Pooling = "mean",
        head: str = "linear",
        normalize: Normalization = "imagenet",
        dropout: float = 0.0,
        image_size: int = 224,
        train: TrainMode = "full",
        receptive: int | None = None,
    ) -> None:
        given = dict(locals())  # the arguments: nothing else is bound yet
        super().__init__()
        check_arguments(PooledClassifier, given)
        self.add_encoder(encoder, weights, encoder_stage, image_size, train, normalize, receptive)
        if pooling == "cls" and not self.backbone.has_class_token:
            raise ConfigError(
                f"net.pooling is cls, but the encoder {encoder} has no class token: set mean, or a vision transformer "
                "that has one, such as timm/vit_small_patch16_224."
            )
        self.pooling = pooling
        self.head = build_head(head, self.backbone.out_channels, dropout)
        if isinstance(self.head, NodeHead):
            raise ConfigError(
                f"net.head is {head}, which reads the nodes of a graph one by one: train a ResGAT with it."
            )

    def encode(self, images: Tensor) -> Tensor:
        """Nodes ``(B, N, F)`` float; with ``cls`` the class token is the only one, ``(B, 1, F)``. Raises as there."""
        if self.pooling == "mean":
            return super().encode(images)
        self.backbone.grid_shape(*images.shape[-2:])
        return self.backbone.class_token(self.normalised(images)).unsqueeze(1)

    def forward_nodes(self, nodes: Tensor) -> DetectorOutput:
        """Classify images by their nodes ``(B, N, F)`` float, as ``encode`` gives them."""
        return DetectorOutput.of(self.head(nodes.mean(dim=1)))
