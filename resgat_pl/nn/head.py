"""Classification heads: from the pooled nodes to one logit, positive meaning fake."""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.parts import class_path, find_part
from resgat_pl.core.text import first_line
from resgat_pl.nn.routing import NodeReading, route

_TOLERANCE: Final = 1e-4
_SHORTEST: Final = 1e-4
"""Length by which shorter vectors are divided, which have no direction; far less overflows 16 bits as a divisor."""


class Head(nn.Module):
    """Base class of heads.

    A subclass takes ``in_features``, the number of pooled features, and computes ``forward``. With ``linearise`` the
    contributions of nodes stay exact; without, they are refused.

    Shapes:
        ``(B, in_features)`` float → logit ``(B,)`` float.

    Example:
        >>> class Scaled(Head):
        ...     def __init__(self, in_features: int):
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.ones(in_features))
        ...     def forward(self, pooled):
        ...         return pooled @ self.weight
        ...     def linearise(self, pooled):
        ...         return self.weight[None], pooled.new_zeros(1)
        >>> Scaled(4)(torch.ones(2, 4)), Scaled(4).is_additive
        (tensor([4., 4.], grad_fn=<MvBackward0>), True)
    """

    def linearise(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Additive form of the logit at ``pooled (B, in_features)``, in evaluation mode.

        Returns:
            Weight ``(B, in_features)`` and bias ``(B,)``, or ``(1, in_features)`` and ``(1,)`` for all images alike,
            with logit = weight · pooled + bias to float precision.

        Raises:
            ConfigError: This head has none.
        """
        raise ConfigError(
            f"The head {type(self).__name__} has no additive form, so its logit is no sum over nodes: give it a method "
            "linearise, take the head linear, mlp or normalised, or explain with a method that needs no contributions, "
            "such as InputXGradient."
        )

    @property
    def is_additive(self) -> bool:
        """True if ``linearise`` is there."""
        return type(self).linearise is not Head.linearise


class NodeHead(Head):
    """Base class of heads that read the nodes one by one, instead of their mean.

    A subclass takes ``in_features`` as other heads do. It names ``directions``, along which the values of the nodes are
    read, and computes ``forward`` from what they are there. Its answer is a ``NodeReading``, so it is additive by
    itself and needs no ``linearise``. Of a ResGAT alone.

    Shapes:
        ``votes (B, N, heads, P)`` float, each node's values along ``directions``; ``heard (B, N, heads)`` float, their
        weights, A_jk / N; and ``constant (heads, P)`` float, the constants of the layer along ``directions``.

    Example:
        >>> class Bounded(NodeHead):  # no node can say more than 1
        ...     def __init__(self, in_features: int):
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.randn(1, in_features))
        ...     @property
        ...     def directions(self):
        ...         return self.weight
        ...     def forward(self, votes, heard, constant):
        ...         value, bias = votes.squeeze(-1).tanh(), constant.tanh().sum().expand(len(votes))
        ...         return NodeReading((heard * value).sum((1, 2)) + bias, value, bias)
        >>> Bounded(8)(torch.rand(3, 4, 2, 1), torch.rand(3, 4, 2), torch.zeros(2, 1)).logit.shape
        torch.Size([3])
    """

    @property
    def directions(self) -> Tensor:
        """``(P, in_features)`` float."""
        raise NotImplementedError(f"{type(self).__name__} has no directions")

    @property
    def is_additive(self) -> bool:
        """True: a ``NodeReading`` is a sum."""
        return True


class CapsuleHead(NodeHead):
    """Capsules: the values of each head and node are routed to two output capsules, see ``nn.routing``.

    z = |s_fake| − |s_real| + b, before the squash; after Nguyen et al., "Capsule-Forensics" (ICASSP 2019), with the
    heads of the graph as primary capsules.

    Args:
        in_features: heads × hidden.
        size: Features of an output capsule.
        rounds: Of routing.

    Attributes:
        weight: ``(2 · size, in_features)``, the votes of all heads for *fake*, then for *real*.
        bias: b, ``()``.

    Example:
        >>> head = CapsuleHead(8, size=3)
        >>> votes = torch.rand(1, 4, 2, 6)  # 4 nodes, 2 heads
        >>> found = head(votes, torch.full((1, 4, 2), 0.25), torch.zeros(2, 6))
        >>> torch.allclose((0.25 * found.value).sum((1, 2)) + found.bias, found.logit, atol=1e-5)
        True
    """

    def __init__(self, in_features: int, size: int = 16, rounds: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * size, in_features))
        self.bias = nn.Parameter(torch.zeros(()))
        self.rounds = rounds
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as of a linear layer

    @property
    def directions(self) -> Tensor:
        """See ``NodeHead``."""
        return self.weight

    def forward(self, votes: Tensor, heard: Tensor, constant: Tensor) -> NodeReading:
        """See ``NodeHead``."""
        votes, constant = (each.reshape(*each.shape[:-1], 2, -1) for each in (votes, constant))
        found = route(votes, heard, constant, self.rounds)
        logit, bias = found.logit + self.bias, found.bias + self.bias
        routing = None if found.routing is None else found.routing.to(votes.dtype)
        return NodeReading(logit.to(votes.dtype), found.value.to(votes.dtype), bias.to(votes.dtype), routing)


class LinearHead(nn.Linear, Head):
    """The paper's head: one linear layer.

    Args:
        in_features: heads × hidden.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)

    def forward(self, pooled: Tensor | None, read: Tensor | None = None) -> Tensor:
        """``(B, in_features)`` → logit ``(B,)``.

        Args:
            pooled: May be None if ``read`` is given.
            read: ``(B, 1)``, ``pooled`` along this layer's weight, where it is known already.
        """
        return (super().forward(cast("Tensor", pooled)) if read is None else read + self.bias).squeeze(-1)

    def linearise(self, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight ``(1, in_features)`` and bias ``(1,)`` with logit = weight · pooled + bias, for all images alike."""
        return self.weight, self.bias


class MLPHead(Head):
    """Linear, ReLU, dropout, linear.

    Args:
        in_features: heads × hidden.
        width: Hidden units.
        dropout: Probability of dropping a hidden unit in training.
    """

    def __init__(self, in_features: int, width: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, in_features)`` → logit ``(B,)``."""
        logit: Tensor = self.out(self.dropout(self.hidden(pooled).relu()))
        return logit.squeeze(-1)

    def linearise(self, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight ``(B, in_features)`` and bias ``(B,)`` with logit = weight · pooled + bias, without dropout.

        The head is piecewise linear: the weight is its Jacobian at ``pooled``, and the bias is computed from the
        parameters of the hidden units that are on there.
        """
        if pooled is None:
            raise ValueError("the local linear form of an MLP depends on where it is taken")
        on = self.hidden(pooled) > 0
        weight = on * self.out.weight
        return weight @ self.hidden.weight, weight @ self.hidden.bias + self.out.bias


class NormalisedHead(Head):
    """Scaled cosine between the pooled features and one direction: z = s · (w / |w|) · (p / |p|) + b.

    The length of the pooled features does not matter, only their direction, as in face recognition (Wang et al.,
    "NormFace", ACM MM 2017) and in the read-out of GenD (Yermakov et al., "Deepfake Detection that Generalizes Across
    Benchmarks", 2025). Lengths are computed in at least 32 bits, so that the squares of half
    precision neither overflow nor vanish.

    Args:
        in_features: heads × hidden.
        scale: s before training; a cosine alone gives logits in [-1, 1].

    Attributes:
        weight: w, ``(in_features,)``.
        scale: s, ``()``.
        bias: b, ``()``.

    Example:
        >>> head = NormalisedHead(4)
        >>> pooled = torch.rand(2, 4)
        >>> torch.allclose(head(pooled), head(100 * pooled))
        True
    """

    def __init__(self, in_features: int, scale: float = 10.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features))
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.weight)  # every direction is as likely

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, in_features)`` → logit ``(B,)``; b where all features are 0."""
        weight, bias = self._form(pooled)
        return ((weight * pooled.to(weight.dtype)).sum(dim=1) + bias).to(pooled.dtype)

    def linearise(self, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight ``(B, in_features)`` s · w / (|w| |p|) and bias ``(1,)`` b, with logit = weight · pooled + bias.

        Exact at ``pooled`` and given its length |p|, which is taken as a number: the weight is no Jacobian, for a
        change of ``pooled`` changes the length as well.
        """
        if pooled is None:
            raise ValueError("the linear form of a normalised head depends on where it is taken")
        weight, bias = self._form(pooled)
        return weight.to(pooled.dtype), bias[None].to(pooled.dtype)

    def _form(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Weight ``(B, in_features)`` and bias ``()`` in at least 32 bits; autocast leaves all of this alone."""
        wide = torch.promote_types(pooled.dtype, torch.float32)
        weight, length = self.weight.to(wide), torch.linalg.vector_norm(pooled.to(wide), dim=1, keepdim=True)
        direction = weight / torch.linalg.vector_norm(weight).clamp(min=_SHORTEST)
        return self.scale.to(wide) * direction / length.clamp(min=_SHORTEST), self.bias.to(wide)


HEADS: Final[dict[str, type[Head]]] = {
    "linear": LinearHead,
    "mlp": MLPHead,
    "normalised": NormalisedHead,
    "capsule": CapsuleHead,
}
"""This package's heads by name."""


def build_head(name: str, in_features: int, dropout: float = 0.0) -> Head:
    """Build a head by its name.

    Args:
        name: ``linear``, ``mlp``, ``normalised``, ``capsule``, the name of an entry point of the group
            ``resgat_pl.heads``, or the path of a class.
        in_features: Number of pooled features.
        dropout: For ``mlp``; one from outside brings its own.

    Raises:
        ConfigError: There is no such head, it fails, or its numbers are no logits or do not add up.

    Example:
        >>> build_head("mlp", 8, dropout=0.5).dropout.p
        0.5
    """
    if not isinstance(name, str):
        raise ConfigError(f"head is {name!r:.60}; it must be a name.")
    kind = find_part("head", name, Head, HEADS, named_by_user=True)
    if kind is MLPHead:
        return MLPHead(in_features, dropout=dropout)
    if kind is LinearHead:
        return LinearHead(in_features)
    if kind is NormalisedHead or kind is CapsuleHead:
        return kind(in_features)
    try:
        head = kind(in_features)
        _check(head, name, in_features)
    except ResGATError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        raise ConfigError(f"The head {name} cannot be made ({first_line(error)}).") from error
    return head


@torch.no_grad()
def _check(head: Head, name: str, in_features: int) -> None:
    """Try a head from outside, in evaluation mode."""
    first = next(head.parameters(), torch.empty(0))
    on_meta = first.is_meta or torch.empty(0).is_meta
    if isinstance(head, NodeHead):
        _check_reading(head, name, on_meta)
        return
    pooled = torch.empty(3, in_features, device="meta" if on_meta else "cpu")
    if not on_meta:
        pooled.normal_(generator=torch.Generator().manual_seed(0))
    logit = head.eval()(pooled)
    if logit.shape != (3,):
        raise ConfigError(f"The head {name} gives {tuple(logit.shape)} for 3 images; it must give logits (3,).")
    if head.is_additive and not on_meta:
        weight, bias = head.linearise(pooled)
        gap = float(((weight * pooled).sum(dim=1) + bias - logit).abs().max())
        if not gap <= _TOLERANCE * max(1.0, float(logit.abs().max())):
            raise ConfigError(
                f"The additive form of the head {class_path(type(head))} is not its logit: they differ by {gap:.2g}. "
                "weight · pooled + bias must be what forward gives in evaluation mode."
            )
    head.train()


def _check_reading(head: NodeHead, name: str, on_meta: bool) -> None:
    """Try a head from outside that reads nodes, on 4 nodes of a graph with one head."""
    if on_meta:
        return
    draws = torch.Generator().manual_seed(0)
    width = len(head.directions)
    votes, heard, constant = (
        torch.randn(shape, generator=draws) for shape in ((3, 4, 1, width), (3, 4, 1), (1, width))
    )
    found = head.eval()(votes, heard, constant)
    shapes = [tuple(part.shape) for part in (found.logit, found.value, found.bias)]
    if shapes != [(3,), (3, 4, 1), (3,)]:
        raise ConfigError(
            f"The head {name} gives logit, value and bias {shapes} for 3 images of 4 nodes; they must be (3,), "
            "(3, 4, 1) and (3,)."
        )
    gap = float(((heard * found.value).sum(dim=(1, 2)) + found.bias - found.logit).abs().max())
    if not gap <= _TOLERANCE * max(1.0, float(found.logit.abs().max())):
        raise ConfigError(f"The sum over the nodes of the head {name} is not its logit: they differ by {gap:.2g}.")
    head.train()
