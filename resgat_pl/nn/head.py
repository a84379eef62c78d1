"""Classification heads: from the pooled nodes to one logit, positive meaning fake."""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.parts import class_path, find_part
from resgat_pl.core.text import first_line

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


HEADS: Final[dict[str, type[Head]]] = {"linear": LinearHead, "mlp": MLPHead, "normalised": NormalisedHead}
"""This package's heads by name."""


def build_head(name: str, in_features: int, dropout: float = 0.0) -> Head:
    """Build a head by its name.

    Args:
        name: ``linear``, ``mlp``, ``normalised``, the name of an entry point of the group ``resgat_pl.heads``, or the
            path of a class.
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
    if kind is NormalisedHead:
        return NormalisedHead(in_features)
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
