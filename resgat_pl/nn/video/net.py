"""VideoResGAT: ResGAT on the frames of a clip, and a temporal part over them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.types import AttentionVersion, ResGATOutput
from resgat_pl.nn.checkpoint_file import Checkpoint, load_strictly
from resgat_pl.nn.encoder_net import Normalization, check_arguments
from resgat_pl.nn.encoders.base import EncoderStage
from resgat_pl.nn.encoders.tuning import TrainMode
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.head import NodeHead
from resgat_pl.nn.resgat import ResGAT, check_compatible
from resgat_pl.nn.video.temporal import Frames, Temporal, build_temporal

_LARGEST: Final = {"clip_frames": 4096, "window": 512}
_PART: Final = "temporal."
"""Weights that a detector of single frames lacks."""


class VideoResGAT(ResGAT):
    """Detector of clips: encoder, grid attention and head of ``ResGAT`` on each frame, then a temporal part.

    With ``mean``, ``attention`` and ``spacetime`` the logit is an exact sum over frames and nodes, see
    ``nn.video.clip_ledger``. All three start from the mean of the frames' logits. A single image is a clip of one
    frame.

    Args:
        temporal: ``mean`` of the frames' logits; ``attention`` over frames; ``spacetime``, edges that carry the change
            of each place to the next frame; or ``lstm``, without contributions. See ``nn.video.temporal``.
        clip_frames: Frames T of the clips that it is trained and tested on, as ``data.clip_frames``, from which the
            command line takes it. Clips of other lengths work as well.
        window: Largest distance in frames at which ``attention`` attends.
        frames: Checkpoint of a ResGAT with the same arguments, from which all weights but the temporal part's are
            taken.
        attention: This and all that follow: as of ``ResGAT``.
        encoder: See there.
        weights: See there.
        heads: See there.
        hidden: See there.
        normalize: See there.
        head: See there.
        encoder_stage: See there.
        dropout: See there.
        image_size: See there.
        train: See there.
        receptive: See there.

    Attributes:
        started_from: The checkpoint ``frames``; None of a network that was not started from one, or read from its own.

    Shapes:
        ``(B, T, 3, H, W)`` or ``(B, 3, H, W)`` float in [0, 1], RGB → ``ResGATOutput`` of B clips; its attention is
        the mean over the frames.

    Raises:
        ConfigError: An argument is out of range.
        WeightsError: ``frames`` cannot be read, or holds another network; or as of ``ResGAT``.

    Example:
        >>> import torch
        >>> net = VideoResGAT("spacetime", encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
        >>> net(torch.rand(2, 3, 3, 64, 64)).logit.shape, net(torch.rand(2, 3, 64, 64)).logit.shape
        (torch.Size([2]), torch.Size([2]))
    """

    def __init__(
        self,
        temporal: Temporal = "attention",
        clip_frames: int | None = 16,
        window: int = 4,
        frames: str | Path | None = None,
        attention: AttentionVersion = "gatv2",
        encoder: str = "resnet50",
        weights: str | Path | None = None,
        heads: int = 9,
        hidden: int = 512,
        normalize: Normalization = "imagenet",
        head: str = "linear",
        encoder_stage: EncoderStage = 4,
        dropout: float = 0.0,
        image_size: int = 224,
        train: TrainMode = "full",
        receptive: int | None = None,
    ) -> None:
        given = dict(locals())  # the arguments: nothing else is bound yet
        if clip_frames is None:
            raise ConfigError(
                "net is a VideoResGAT, which is trained on clips, and data.clip_frames is not set: give the frames of "
                "a clip, such as --data.clip_frames 16."
            )
        check_arguments(VideoResGAT, given, _LARGEST)
        super().__init__(
            attention=attention,
            encoder=encoder,
            weights=weights if frames is None else None,
            heads=heads,
            hidden=hidden,
            normalize=normalize,
            head=head,
            encoder_stage=encoder_stage,
            dropout=dropout,
            image_size=image_size,
            train=train,
            receptive=receptive,
        )
        if isinstance(self.head, NodeHead):
            raise ConfigError(
                f"net.head is {head}, which reads the nodes of one graph, and a VideoResGAT joins frames by their mean "
                "over the nodes: take linear, mlp or normalised."
            )
        self.temporal = build_temporal(temporal, self.backbone.out_channels, heads * hidden, window)
        if temporal == "lstm":
            self.head.requires_grad_(False)  # it has no part in the logit, and DDP waits for every gradient
        if frames is not None:
            self._take_frames(frames)
        self.started_from = None if frames is None else Path(frames)
        self.config["frames"] = None  # a checkpoint has all weights

    @property
    def clip_frames(self) -> int:
        """Frames of the clips that it is made for."""
        return int(self.config["clip_frames"])

    @property
    def is_additive(self) -> bool:
        """True if the logit is a sum over frames and nodes."""
        return self.temporal.is_additive and self.head.is_additive

    def encode(self, images: Tensor) -> Tensor:
        """Nodes ``(B, T, N, F)`` of clips ``(B, T, 3, H, W)``, or ``(B, N, F)`` of images; raises as of ``ResGAT``."""
        nodes = super().encode(images.flatten(0, -4) if images.ndim == 5 else images)
        return nodes.reshape(*images.shape[:2], *nodes.shape[1:]) if images.ndim == 5 else nodes

    def forward_nodes(self, nodes: Tensor) -> ResGATOutput:
        """Classify clips by their nodes ``(B, T, N, F)``, or images as clips of one frame, ``(B, N, F)``."""
        clips = nodes if nodes.ndim == 4 else nodes.unsqueeze(1)
        return self.classify_clips(self.graph(clips.flatten(0, 1)), len(clips))

    def classify(self, graph: GraphState) -> ResGATOutput:
        """Logit and probability of images, each a clip of one frame, of which ``graph`` has just been made."""
        return self.classify_clips(graph, len(graph.nodes))

    def classify_clips(self, graph: GraphState, clips: int) -> ResGATOutput:
        """Logit and probability of as many clips of equal length, the frames of which are those of ``graph``."""
        logit = self.temporal(self.head, self.frames_of(graph, clips))
        attention = self.grid.to_edges(graph.attention)
        mean = attention.reshape(clips, -1, *attention.shape[1:]).mean(dim=1)
        return ResGATOutput(logit, logit.sigmoid(), self.grid.edge_index, mean)

    def frames_of(self, graph: GraphState, clips: int) -> Frames:
        """The frames of as many clips of equal length, as the temporal part takes them."""
        pooled = graph.pooled
        if pooled is None:
            raise ValueError("graph was made for a read-out along the head alone")
        return Frames(
            graph.nodes.reshape(clips, -1, *graph.nodes.shape[1:]), pooled.reshape(clips, -1, pooled.shape[-1])
        )

    @property
    def _readout(self) -> None:
        """None: the temporal part needs the whole pooled vector."""
        return

    def _take_frames(self, path: str | Path) -> None:
        """Load encoder, graph attention and head of a detector of single frames.

        Raises:
            WeightsError: It holds another network.
        """
        found = Checkpoint.read(path)
        if other := found.net_config.get("class_path"):
            raise WeightsError(f"{found.name} holds the detector {other!s:.200}; net.frames takes one of ResGAT.")
        check_compatible({**self.config, "train": found.net_config.get("train", "full")}, found.net_config)
        own = {name: value for name, value in self.state_dict().items() if name.startswith(_PART)}
        load_strictly(self, {**found.net_state, **own}, found.name)
        found.release()
