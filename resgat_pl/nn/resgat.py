"""ResGAT: convolutional encoder, grid graph, graph attention, mean, head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.parts import class_path
from resgat_pl.core.types import AttentionVersion, ResGATOutput
from resgat_pl.nn.authors_weights import read_published
from resgat_pl.nn.checkpoint_file import Checkpoint, load_strictly
from resgat_pl.nn.encoder_net import EncoderNet, Normalization, check_arguments
from resgat_pl.nn.encoders.base import Stages
from resgat_pl.nn.encoders.tuning import TrainMode
from resgat_pl.nn.gat import GraphState, GridGATConv, GridGATv2Conv, GridGCNConv
from resgat_pl.nn.gates import EdgeGate, NodeGate
from resgat_pl.nn.grid import Grid
from resgat_pl.nn.head import LinearHead, NodeHead, build_head
from resgat_pl.nn.ledger import open_ledger, read_nodes
from resgat_pl.nn.levels import LevelGrid
from resgat_pl.nn.outputs import Outputs
from resgat_pl.nn.pretrained import read_pretrained
from resgat_pl.nn.rebuild import rebuild

MaskHead = Literal["none", "aux", "gate"]

_CONVOLUTIONS: Final[dict[str, Any]] = {"gatv1": GridGATConv, "gatv2": GridGATv2Conv, "gcn": GridGCNConv}
ARCHITECTURE = (
    *("attention", "encoder", "encoder_stage", "heads", "hidden", "head", "normalize", "train", "receptive"),
    *("mask_head", "two_pass", "bottleneck", "outputs"),
)
"""The arguments on which the meaning of the weights depends."""
_SINCE: Final = {"train": "full", "mask_head": "none", "two_pass": False, "bottleneck": False}
"""Values of arguments that are newer than some checkpoints; None for others."""
_LARGEST: Final = {"heads": 2**16, "hidden": 2**16}
"""Larger networks fit no memory; heads × hidden, 4608 in the paper, has the bound of each."""


class ResGAT(EncoderNet):
    """Detector of manipulated faces: a graph attention network on the feature map of an encoder.

    Follows the ResGAT paper and, where the two differ, its authors' code, except that the logit is of the *fake*
    class. In the paper's order: ``encode`` makes each cell of the feature map a node, ``graph`` lets each node attend
    to itself and its four neighbours and takes the mean over the nodes, and ``classify`` turns that into a logit.
    ``resgat_pl.nn.contribution`` decomposes the logit from the same steps.

    Args:
        attention: ``gatv1`` or ``gatv2``, or ``gcn`` with uniform weights, to compare with; see ``resgat_pl.nn.gat``.
        encoder: Name of a torchvision ResNet, ResNeXt, Wide ResNet, MobileNetV2 or EfficientNet; ``timm/`` and a name
            of timm; or an encoder from outside, see ``resgat_pl.nn.encoders.registry``.
        weights: The encoder's weights: null for random ones, ``imagenet`` (torchvision), ``timm``, or the path of a
            state dict of the whole model.
        heads: Attention heads, concatenated.
        hidden: Features of one head.
        normalize: Whether images are first normalised as for the encoder's pretrained weights; the authors' code does
            not: ``none``.
        head: ``linear`` as in the paper, ``mlp`` with one hidden layer, ``normalised`` (scaled cosine), ``capsule``
            (routing by agreement, see ``nn.routing``), or a head from outside, see ``nn.head``.
        encoder_stage: 4 takes the last feature map (stride 32), 3 the one of stride 16, which has four times the nodes.
            Of a vision transformer, the patch tokens after all or after three quarters of its blocks. ``[3, 4]`` takes
            the nodes of both, in one graph, joined as parents and children; see ``resgat_pl.nn.levels``.
        dropout: Probability in training of dropping an attention coefficient and, with ``mlp``, a hidden unit.
        image_size: Side in pixels of the images for which the grid is built first; others work as well.
        train: The part of the encoder that is trained beside graph and head: ``full``, ``norms``, ``lora`` or
            ``frozen``, see ``resgat_pl.nn.encoders.tuning``.
        receptive: Side in px of the largest square that a node of a convolutional encoder may see; null for the
            encoder's own, which is often larger than the image. See ``resgat_pl.nn.encoders.receptive``.
        mask_head: One more layer that says of each node whether it is manipulated, m_j, trained by masks
            (``training.losses.NodeMask``). With ``aux`` m_j is shown and no part of the logit; with ``gate`` it is a
            factor of the node's value, and so of its contribution. ``none`` as in the paper.
        two_pass: Run graph and head twice, the second time with each node's contribution to the first answer, and m_j,
            as two more features; both are taken as numbers, without gradient. Needs a mask head.
        bottleneck: Let each edge through by a gate, random in training, see ``nn.gates``; for
            ``training.losses.EdgeBottleneck``.
        outputs: Further outputs, each with its own map: ``kind:NAME`` of manipulation, ``region:NAME`` of the face;
            null for the logit of *fake* alone. See ``resgat_pl.nn.outputs``.

    Attributes:
        config: All arguments as plain values.
        backbone: The encoder.
        grid: The grid of the latest images; a ``LevelGrid`` of two stages.

    Raises:
        ConfigError: An argument is out of range.
        WeightsError: The encoder's weights cannot be had, or do not fit.

    Example:
        >>> import torch
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
        >>> output = net(torch.zeros(1, 3, 64, 64))
        >>> output.probability.shape, net.grid.shape
        (torch.Size([1]), (4, 4))
    """

    def __init__(
        self,
        attention: AttentionVersion = "gatv2",
        encoder: str = "resnet50",
        weights: str | Path | None = None,
        heads: int = 9,
        hidden: int = 512,
        normalize: Normalization = "imagenet",
        head: str = "linear",
        encoder_stage: Stages = 4,
        dropout: float = 0.0,
        image_size: int = 224,
        train: TrainMode = "full",
        receptive: int | None = None,
        mask_head: MaskHead = "none",
        two_pass: bool = False,
        bottleneck: bool = False,
        outputs: list[str] | None = None,
    ) -> None:
        given = dict(locals())  # the arguments: nothing else is bound yet
        super().__init__()
        check_arguments(ResGAT, given, _LARGEST)
        if heads * hidden > _LARGEST["hidden"]:
            raise ConfigError(f"heads × hidden is more than {_LARGEST['hidden']:,}.")
        for name in ("two_pass", "bottleneck"):
            if type(given[name]) is not bool:
                raise ConfigError(f"{name} is {given[name]!r:.40}; it must be true or false.")
        if two_pass and mask_head == "none":
            raise ConfigError("two_pass feeds the mask of the nodes back, and mask_head is none: set it to gate.")
        self.add_encoder(encoder, weights, encoder_stage, image_size, train, normalize, receptive)
        features = self.backbone.out_channels
        self.two_pass = two_pass
        self.gat = _CONVOLUTIONS[attention](features + 2 * two_pass, hidden, heads=heads, dropout=dropout)
        self.head = build_head(head, heads * hidden, dropout)
        # Last, so that networks without them draw the same random weights as before there were any.
        self.node_gate = None if mask_head == "none" else NodeGate(features)
        self.is_gated = mask_head == "gate"
        self.edge_gate = EdgeGate(features) if bottleneck else None
        self.outputs = None if outputs is None else Outputs(outputs, heads * hidden)
        shapes = self.backbone.grid_shapes(image_size, image_size)
        self.grid = Grid(*shapes[0]) if len(shapes) == 1 else LevelGrid(*shapes)

    def forward(self, images: Tensor) -> ResGATOutput:
        """Classify ``images (B, 3, H, W)`` float in [0, 1], RGB; raises as ``encode``."""
        return self.forward_nodes(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Nodes ``(B, N, F)`` float of ``images (B, 3, H, W)`` float in [0, 1], RGB; also fits ``grid`` to them.

        Raises:
            ConfigError: The images are too small for a grid of 2×2 nodes.
        """
        self.grid.fit_levels(self.backbone.grid_shapes(*images.shape[-2:]))
        return super().encode(images)

    def forward_nodes(self, nodes: Tensor) -> ResGATOutput:
        """Classify images by their nodes ``(B, N, F)`` float, which ``encode`` gives; raises as ``graph``."""
        return self.classify(self.graph(nodes))

    def graph(self, features: Tensor) -> GraphState:
        """Attention over the nodes ``features (B, N, F)`` of the grid that ``encode`` was last called for.

        Raises:
            ConfigError: N is not the number of nodes of ``grid``.
        """
        if features.shape[1] != self.grid.num_nodes:
            rows, columns = self.grid.shape
            raise ConfigError(
                f"{features.shape[1]} nodes were given, but the grid is {rows}×{columns}: encode images of their "
                "size first, or call grid.fit."
            )
        mask_logit = None if self.node_gate is None else self.node_gate(features)
        mask = None if mask_logit is None else mask_logit.sigmoid()
        gate = mask if self.is_gated else None
        kept = kept_logit = None
        if self.edge_gate is not None:
            kept_logit = self.edge_gate(features, self.grid)
            kept = self.edge_gate.kept(kept_logit)
        if self.two_pass and mask is not None:
            features = torch.cat([features, self._first_pass(features, mask.detach(), gate, kept)], dim=2)
        state = self._attend(features, gate, kept)
        return state._replace(mask_logit=mask_logit, kept_logit=kept_logit)

    def _attend(self, features: Tensor, gate: Tensor | None, kept: Tensor | None) -> GraphState:
        state: GraphState = self.gat.attend(features, self.grid, self._readout, gate, kept)
        return state

    @property
    def _readout(self) -> Tensor | None:
        """Directions ``(P, heads · hidden)`` along which alone the pooled features are needed; None for all."""
        if not isinstance(self.head, LinearHead):
            return None
        return self.head.weight if self.outputs is None else torch.cat([self.head.weight, self.outputs.weight])

    def _first_pass(self, features: Tensor, mask: Tensor, gate: Tensor | None, kept: Tensor | None) -> Tensor:
        """The two features ``(B, N, 2)`` of the second pass; in the first the contributions are not known yet: 0.

        They are taken N times, so that they mean the same on any grid, and in (−1, 1), so that they cannot grow from
        step to step by being fed back.
        """
        given = torch.cat([features, torch.stack([torch.zeros_like(mask), mask], dim=2)], dim=2)
        state = self._attend(given, gate, kept)._replace(sent=None)  # without dropout
        first = open_ledger(self.gat, self.head, self.grid, state)
        return torch.stack([F.softsign(first.node.detach() * self.grid.num_nodes), mask], dim=2)

    def classify(self, graph: GraphState) -> ResGATOutput:
        """Logit and probability of graphs that ``graph`` has just made."""
        if isinstance(self.head, NodeHead):
            return self.answer(read_nodes(self.gat, self.head, self.grid, graph).logit, graph)
        if isinstance(self.head, LinearHead):
            logit = self.head(graph.pooled, None if graph.read is None else graph.read[:, :1])
        else:
            logit = self.head(graph.pooled)
        return self.answer(logit, graph)

    def answer(self, logit: Tensor, graph: GraphState) -> ResGATOutput:
        """The output for the logits ``(B,)`` of graphs."""
        return ResGATOutput(logit, logit.sigmoid(), self.grid.edge_index, self.grid.to_edges(graph.attention))

    @property
    def has_contributions(self) -> bool:
        """True if the head has an additive form, as those of this package have, and the answer is its alone.

        Of a derived class with another ``forward``, ``forward_nodes`` or ``classify`` the answer is not decomposed.
        """
        return self.head.is_additive and self.answers_by_head

    @property
    def answers_by_head(self) -> bool:
        """True if the logit is what the head gives for one graph, so that smaller graphs have one too."""
        kind = type(self)
        answers = kind.forward, kind.forward_nodes, kind.classify
        return answers == (ResGAT.forward, ResGAT.forward_nodes, ResGAT.classify)

    @property
    def is_plain(self) -> bool:
        """True if PyTorch Geometric's layer, then mean and head, give the same logit: nothing is gated or routed."""
        return not (self.is_gated or self.edge_gate is not None or isinstance(self.head, NodeHead))

    @property
    def spec(self) -> dict[str, Any]:
        """``config``: checkpoints name no class for a ResGAT. Of a class derived from it as of any other detector."""
        return self.config if type(self) is ResGAT else super().spec

    @classmethod
    def load(cls, checkpoint: str | Path | Checkpoint) -> ResGAT:
        """Rebuild the network of a checkpoint that ``resgat fit`` wrote, in evaluation mode and on the CPU.

        ``nn.nets.load_net`` does so for any detector.

        Raises:
            WeightsError: As ``Checkpoint.read``, its weights do not fit its own configuration, or it holds another
                detector.
        """
        found = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint.read(checkpoint)
        other, arguments = found.net_config.get("class_path"), found.net_config
        if other is not None and other == class_path(cls):  # of a derived class, which ``spec`` names
            arguments = found.net_config.get("init_args") or {}
        elif other:
            raise WeightsError(
                f"{found.name} holds the detector {other!s:.200}, not a {cls.__name__}: read it by "
                "resgat_pl.nn.load_net."
            )
        model = rebuild(cls, arguments, found)
        if found is not checkpoint:
            found.release()
        return model

    @classmethod
    def from_pretrained(
        cls, place: str | Path, revision: str | None = None, weights: str | Path | None = None
    ) -> ResGAT:
        """Rebuild the network of a shared detector, in evaluation mode and on the CPU; its logits are the same bits.

        Arguments and errors are those of ``resgat_pl.nn.pretrained.read_pretrained``. Thresholds, temperatures and
        provenance come with ``resgat_pl.Detector.load``.

        Example:
            >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
            >>> _ = net.save_pretrained("shared")
            >>> import torch
            >>> image = torch.rand(1, 3, 64, 64)
            >>> torch.equal(ResGAT.from_pretrained("shared")(image).logit, net(image).logit)
            True
        """
        return cls.load(read_pretrained(place, revision, weights))

    @classmethod
    def from_published(cls, path: str | Path, attention: AttentionVersion | None = None) -> ResGAT:
        """Build the paper's network from the authors' ``model_weights.pth``, in evaluation mode.

        Arguments and errors are those of ``resgat_pl.nn.authors_weights.read_published``.
        """
        version, state = read_published(path, attention)
        model = cls(version, normalize="none")
        load_strictly(model, state, path)
        return model.eval()


def check_compatible(current: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Make sure that a checkpoint's weights mean the same in the network that is to receive them.

    Args:
        current: ``ResGAT.config`` of that network.
        stored: ``ResGAT.config`` of the checkpoint's.

    Raises:
        WeightsError: Names each value of ``ARCHITECTURE`` that differs.
    """
    different = [
        f"{name} is {there} there and {here} here"
        for name in ARCHITECTURE
        for there, here in [[config.get(name, _SINCE.get(name)) for config in (stored, current)]]
        if there != here
    ]
    if different:
        raise WeightsError(
            f"The checkpoint holds another network: {'; '.join(different)}. Give the configuration the checkpoint's "
            "values, or choose another checkpoint."
        )
