"""ResGAT: encoder → grid graph → graph attention → mean → head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from resgat_pl.errors import ConfigError
from resgat_pl.nn.encoder import Encoder, EncoderStage
from resgat_pl.nn.gat import GridAttention, GridGATConv, GridGATv2Conv
from resgat_pl.nn.grid import Grid
from resgat_pl.nn.head import HeadKind, build_head
from resgat_pl.types import AttentionVersion, ResGATOutput

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class ResGAT(nn.Module):
    """The detector of the ResGAT paper; positive logits mean fake.

    Args:
        attention: ``gatv1`` (Veličković et al. 2018) or ``gatv2`` (Brody et al. 2022).
        encoder: A torchvision ResNet, MobileNetV2 or EfficientNet by name.
        weights: Of the encoder: null (random), ``imagenet``, or the path of a torchvision state dict.
        heads: Attention heads; their outputs are concatenated.
        hidden: Features per head.
        normalize: ``imagenet`` standardises the input as torchvision's weights expect; the authors' code has ``none``.
        head: ``linear`` as in the authors' code, or ``mlp`` with one hidden layer.
        encoder_stage: 4 for nodes of 32 px (7×7 of 224 px), 3 for nodes of 16 px.
        dropout: Dropout of the attention in training.
        image_size: Side of the images in px for which the graph is built beforehand; other sizes work too.

    Attributes:
        config: The arguments as plain values; ``ResGAT(**config)`` has the same architecture.

    Raises:
        ConfigError: An argument is out of range or the encoder is unknown.
        WeightsError: The encoder's weights cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        attention: AttentionVersion = "gatv2",
        encoder: str = "resnet50",
        weights: str | Path | None = None,
        heads: int = 9,
        hidden: int = 512,
        normalize: Literal["imagenet", "none"] = "imagenet",
        head: HeadKind = "linear",
        encoder_stage: EncoderStage = 4,
        dropout: float = 0.0,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("attention", attention, ("gatv1", "gatv2")),
            ("normalize", normalize, ("imagenet", "none")),
            ("head", head, ("linear", "mlp")),
            ("encoder_stage", encoder_stage, (3, 4)),
        ):
            if value not in allowed:
                raise ConfigError(f"net.{name} is {value!r}, must be one of {', '.join(map(repr, allowed))}")
        if heads < 1 or hidden < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"net.heads={heads}, hidden={hidden}, dropout={dropout}: need ≥ 1, ≥ 1 and [0, 1)")
        self.config: dict[str, Any] = {
            "attention": attention,
            "encoder": encoder,
            "weights": None if weights is None else str(weights),
            "heads": heads,
            "hidden": hidden,
            "normalize": normalize,
            "head": head,
            "encoder_stage": encoder_stage,
            "dropout": dropout,
            "image_size": image_size,
        }
        self.encoder = Encoder(encoder, weights, encoder_stage)
        convolution = GridGATConv if attention == "gatv1" else GridGATv2Conv
        self.gat = convolution(self.encoder.out_channels, hidden, heads=heads, dropout=dropout)
        self.head = build_head(head, heads * hidden)
        nodes = -(-image_size // self.encoder.stride)
        self.grid = Grid(nodes, nodes)
        mean, std = (_IMAGENET_MEAN, _IMAGENET_STD) if normalize == "imagenet" else ((0.0,) * 3, (1.0,) * 3)
        # Not in the state dict: they follow from `normalize`.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> ResGATOutput:
        """Score faces.

        Args:
            images: ``(B, 3, H, W)`` float in [0, 1], RGB.

        Raises:
            ValueError: ``images`` has another shape or is not float.
        """
        graph = self.graph(self.encode(images))
        return self.output(self.head(graph.pooled), graph)

    def encode(self, images: Tensor) -> Tensor:
        """Node features ``(B, N, F)`` of images as in ``forward``."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images must be (B, 3, H, W) float in [0, 1], got {tuple(images.shape)} {images.dtype}. "
                "Divide uint8 images by 255."
            )
        features: Tensor = self.encoder((images - self.mean) / self.std)
        self.grid.fit(*features.shape[2:])
        return features.flatten(2).transpose(1, 2)

    def graph(self, features: Tensor) -> GridAttention:
        """Attention over node features ``(B, N, F)`` of the grid that ``encode`` last saw."""
        attended: GridAttention = self.gat.on_grid(features, self.grid)
        return attended

    def output(self, logit: Tensor, graph: GridAttention) -> ResGATOutput:
        """Put the record together."""
        return ResGATOutput(logit, torch.sigmoid(logit), self.grid.edge_index, graph.attention)

    @classmethod
    def load(cls, checkpoint: str | Path) -> ResGAT:
        """Rebuild the network of a checkpoint that ``resgat fit`` wrote, in evaluation mode, on the CPU.

        Nothing in the file is executed.

        Raises:
            WeightsError: The file is missing, no ResGAT checkpoint, or from a newer version.
        """
        from resgat_pl.nn.checkpoint import load

        return load(Path(checkpoint))

    @classmethod
    def from_published(cls, path: str | Path, attention: AttentionVersion) -> ResGAT:
        """Load the paper authors' ``model_weights.pth``; see ``resgat_pl.nn.published``.

        Raises:
            WeightsError: The file is missing or does not hold their network.
        """
        from resgat_pl.nn.published import from_published

        return from_published(Path(path), attention)
