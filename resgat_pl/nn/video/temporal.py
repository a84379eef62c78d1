"""Temporal parts: from the frames of a clip to one logit, most of them as an exact sum over frames."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.head import Head

Temporal = Literal["mean", "lstm", "attention", "spacetime"]
"""Names of the temporal parts."""
_HEADS: Final = 4
_HIDDEN: Final = 32
"""Heads of a temporal attention, and features of each."""
_LSTM: Final = 128


class Frames(NamedTuple):
    """The frames of B clips after the encoder and the attention within each frame.

    Attributes:
        nodes: ``(B, T, N, F)`` float, features of the encoder.
        pooled: ``(B, T, D)`` float, the mean over the nodes of each frame after graph attention.
    """

    nodes: Tensor
    pooled: Tensor


class TemporalPart(nn.Module):
    """Base class: the mean of the frames' logits, which subclasses extend or replace.

    A subclass with ``linearise`` is additive: logit = Σ_t weight_t · pooled_t + bias + Σ edges.

    Example:
        >>> from resgat_pl.nn.head import LinearHead
        >>> frames = Frames(torch.rand(1, 3, 4, 2), torch.rand(1, 3, 5))
        >>> head = LinearHead(5)
        >>> torch.allclose(TemporalPart()(head, frames), head(frames.pooled[0]).mean())
        True
    """

    is_additive = True

    def forward(self, head: Head, frames: Frames) -> Tensor:
        """Logit ``(B,)`` of clips.

        Args:
            head: The head of single frames.
            frames: The clips.
        """
        logit: Tensor = head(frames.pooled.flatten(0, 1))
        return logit.reshape(frames.pooled.shape[:2]).mean(dim=1)

    def linearise(self, head: Head, frames: Frames) -> tuple[Tensor, Tensor]:
        """Weight ``(B, T, D)`` and bias ``(B,)`` with logit = Σ_t weight_t · pooled_t + bias + Σ ``edges``.

        Raises:
            ConfigError: The part, or the head, has no additive form.
        """
        clips, count, _ = frames.pooled.shape
        weight, bias = head.linearise(frames.pooled.flatten(0, 1))
        weight, bias = weight.expand(clips * count, -1), bias.expand(clips * count)
        return weight.reshape(clips, count, -1) / count, bias.reshape(clips, count).mean(dim=1)

    def edges(self, frames: Frames) -> Tensor | None:
        """Contributions ``(B, T, N, 2)`` of the edges from the previous and the next frame; None without such edges."""
        return None

    def empty(self, head: Head, frames: Frames) -> Tensor:
        """Logit ``(B,)`` of clips without any frame: that of pooled features of 0."""
        logit: Tensor = head(torch.zeros_like(frames.pooled[:, 0]))
        return logit


class FrameAttention(TemporalPart):
    """Mean over frames, plus graph attention over frame nodes (GATv2) with a bias for each relative time.

    Frame s sends W_m p_s to frames at most ``window`` steps away; with β_ts,m the attention, u_m the read-out and
    B_sm = (1/T) Σ_t β_ts,m the logit is (1/T) Σ_t head(p_t) + Σ_s Σ_m B_sm u_m · W_m p_s. Scores see normalised
    features, values the features themselves, so that given β the logit is linear in them. u is 0 at first: training
    starts from the mean of the frame detector's logits.

    Args:
        features: D.
        window: Largest distance in frames.

    Example:
        >>> part = FrameAttention(5, window=1)
        >>> part.attention(torch.rand(1, 3, 5))[0, 0, 2].abs().sum().item()  # two steps away
        0.0
    """

    def __init__(self, features: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(features)
        self.source = nn.Linear(features, _HEADS * _HIDDEN, bias=False)
        self.target = nn.Linear(features, _HEADS * _HIDDEN)
        self.score = nn.Parameter(torch.empty(_HEADS, _HIDDEN))
        self.relative = nn.Parameter(torch.zeros(2 * window + 1, _HEADS))
        self.read = nn.Parameter(torch.zeros(_HEADS, _HIDDEN))
        nn.init.xavier_uniform_(self.score)

    def forward(self, head: Head, frames: Frames) -> Tensor:
        """See the base class."""
        sent = frames.pooled @ self._directions().T
        return super().forward(head, frames) + (self._received(frames) * sent).sum(dim=(1, 2))

    def linearise(self, head: Head, frames: Frames) -> tuple[Tensor, Tensor]:
        """See the base class."""
        weight, bias = super().linearise(head, frames)
        return weight + self._received(frames) @ self._directions(), bias

    def attention(self, pooled: Tensor) -> Tensor:
        """β ``(B, T, T, heads)`` of target, source and head; over the sources it sums to 1."""
        plain = self.norm(pooled)
        source, target = (layer(plain).unflatten(-1, (_HEADS, _HIDDEN)) for layer in (self.source, self.target))
        pairs = F.leaky_relu(target.unsqueeze(2) + source.unsqueeze(1), 0.2)
        place = torch.arange(pooled.shape[1], device=pooled.device)
        away = place[None, :] - place[:, None]  # from target to source
        scores = (pairs * self.score).sum(dim=-1) + self.relative[away.clamp(-self.window, self.window) + self.window]
        return scores.masked_fill((away.abs() > self.window)[..., None], -torch.inf).softmax(dim=2)

    def _received(self, frames: Frames) -> Tensor:
        """B ``(B, T, heads)``: how much each frame is attended to, on average over the targets."""
        return self.attention(frames.pooled).mean(dim=1)

    def _directions(self) -> Tensor:
        """W_mᵀ u_m ``(heads, D)``."""
        return torch.einsum("mc,mcd->md", self.read, self.source.weight.reshape(_HEADS, _HIDDEN, -1))


class DifferenceEdges(TemporalPart):
    """Mean over frames, plus edges from the previous and the next frame at the same place that carry differences.

    Node (t, j) receives d = W (x_{t±1, j} − x_tj) from its two temporal neighbours, under a softmax over both and
    itself, whose difference is 0 and whose score is therefore 0: a face that does not change sends nothing, and
    flicker is evidence by itself. The softmax is apart from that of the spatial neighbours, so that a trained frame
    detector stays as it is. The read-out is 0 at first, as in ``FrameAttention``.

    Args:
        features: F, of the encoder.

    Example:
        >>> part = DifferenceEdges(2)
        >>> steady = torch.rand(1, 1, 4, 2).expand(1, 3, 4, 2)
        >>> part.edges(Frames(steady, torch.rand(1, 3, 5))).abs().sum().item()
        0.0
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.value = nn.Linear(features, _HEADS * _HIDDEN, bias=False)
        self.score = nn.Parameter(torch.empty(_HEADS, _HIDDEN))
        self.read = nn.Parameter(torch.zeros(_HEADS, _HIDDEN))
        nn.init.xavier_uniform_(self.score)

    def forward(self, head: Head, frames: Frames) -> Tensor:
        """See the base class."""
        return super().forward(head, frames) + self.edges(frames).sum(dim=(1, 2, 3))

    def edges(self, frames: Frames) -> Tensor:
        """See the base class: what node (t, j) receives from frame t − 1, and from frame t + 1."""
        nodes = frames.nodes
        count = nodes.shape[1] * nodes.shape[2]
        # Differences are taken before W, so that those of equal frames are exactly 0.
        ahead = self.value(nodes[:, 1:] - nodes[:, :-1]).unflatten(-1, (_HEADS, _HIDDEN))
        received = torch.stack([_padded(-ahead, first=True), _padded(ahead, first=False)], dim=3)
        scores = (F.leaky_relu(received, 0.2) * self.score).sum(dim=-1)
        there = torch.ones(nodes.shape[1], 2, dtype=torch.bool, device=nodes.device)
        there[0, 0] = there[-1, 1] = False
        scores = scores.masked_fill(~there[:, None, :, None], -torch.inf)
        attention = F.pad(scores, (0, 0, 1, 0)).softmax(dim=3)[:, :, :, 1:]
        return (attention * (received * self.read).sum(dim=-1)).sum(dim=-1) / count


def _padded(ahead: Tensor, first: bool) -> Tensor:
    """``(B, T − 1, …)`` → ``(B, T, …)`` with zeros in the place of the first or the last frame."""
    blank = ahead.new_zeros(len(ahead), 1, *ahead.shape[2:])
    return torch.cat([blank, ahead] if first else [ahead, blank], dim=1)


class FrameLSTM(TemporalPart):
    """Recurrent network over the frames, as in Sunkari & Srinagesh (Informatica 48(8), 2024): for comparison.

    The logit is no sum over frames; ``nn.video.frame_shapley`` attributes it to them.

    Args:
        features: D.

    Example:
        >>> from resgat_pl.nn.head import LinearHead
        >>> FrameLSTM(5)(LinearHead(5), Frames(torch.rand(2, 3, 4, 2), torch.rand(2, 3, 5))).shape
        torch.Size([2])
    """

    is_additive = False

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.lstm = nn.LSTM(features, _LSTM, batch_first=True)
        self.out = nn.Linear(_LSTM, 1)

    def forward(self, head: Head, frames: Frames) -> Tensor:
        """Logit ``(B,)`` of the state after the last frame; the frames' head has no part in it."""
        states, _ = self.lstm(self.norm(frames.pooled))
        logit: Tensor = self.out(states[:, -1])
        return logit.squeeze(-1)

    def linearise(self, head: Head, frames: Frames) -> tuple[Tensor, Tensor]:
        """Refuse: there is no such form.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "The temporal part lstm (FrameLSTM) has no additive form, so its logit is no sum over frames and nodes. "
            "Take temporal attention, spacetime or mean, or attribute the logit to whole frames by Shapley values "
            "(resgat_pl.nn.video.frame_shapley; --methods FrameShapley in resgat explain)."
        )

    def empty(self, head: Head, frames: Frames) -> Tensor:
        """Logit ``(B,)`` of the state before the first frame."""
        logit: Tensor = self.out(frames.pooled.new_zeros(len(frames.pooled), _LSTM))
        return logit.squeeze(-1)


def build_temporal(name: Temporal, features: int, pooled: int, window: int) -> TemporalPart:
    """Build a temporal part.

    Args:
        name: See ``Temporal``.
        features: F, of a node of the encoder.
        pooled: D, of a frame after graph attention.
        window: Of ``attention``.

    Raises:
        ConfigError: There is no such part.

    Example:
        >>> type(build_temporal("lstm", 3, 8, 2)).__name__
        'FrameLSTM'
    """
    if name == "attention":
        return FrameAttention(pooled, window)
    if name == "spacetime":
        return DifferenceEdges(features)
    if name == "lstm":
        return FrameLSTM(pooled)
    if name != "mean":
        raise ConfigError(f"temporal is {name!r}; it must be {', '.join(get_args(Temporal))}.")
    return TemporalPart()
