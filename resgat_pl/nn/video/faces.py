"""From the faces of a video to the video: the maximum, or noisy-or, with the exact share of each face."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError

Join = Literal["maximum", "noisy_or"]


class JoinedFaces(NamedTuple):
    """A video of K faces: ``(share * logits).sum() + together`` is ``logit``.

    Attributes:
        logit: ``()`` float, of the video.
        share: ``(K,)`` float in [0, 1], of each face; they add up to 1.
        together: ``()`` float, at least 0: what several suspicious faces add that none of them has alone; 0 for the
            maximum, and for one face.

    Example:
        >>> found = join_faces(torch.tensor([-1.0, 2.0]))
        >>> found.share, float((found.share * torch.tensor([-1.0, 2.0])).sum() + found.together)
        (tensor([0., 1.]), 2.0)
    """

    logit: Tensor
    share: Tensor
    together: Tensor


def join_faces(logits: Tensor, how: Join = "maximum") -> JoinedFaces:
    """Join faces ``(K,)``; the shares carry the ledger on: an entry of face k counts ``share[k]`` times in the video's.

    ``maximum``: the most suspicious face is the video. ``noisy_or``: the video is genuine if all faces are, and they
    err independently, P = 1 − Π (1 − σ(z_k)). With h_k = −ln(1 − σ(z_k)) = ln(1 + e^z_k) the evidence adds up,
    −ln(1 − P) = Σ h_k, so that h_k / Σ h is the exact share of a face.

    Raises:
        ConfigError: There is no face, or no such way.

    Example:
        >>> found = join_faces(torch.tensor([0.0, 0.0]), "noisy_or")
        >>> found.logit.sigmoid(), found.share  # 1 − 0.5²
        (tensor(0.7500), tensor([0.5000, 0.5000]))
    """
    if not len(logits):
        raise ConfigError("There is no face to join.")
    if how == "maximum":
        share = F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
        return JoinedFaces(logits.max(), share, logits.new_zeros(()))
    if how != "noisy_or":
        raise ConfigError(f"faces are joined by {how!r}; it must be maximum or noisy_or.")
    evidence = F.softplus(logits)
    total = evidence.sum()
    logit = total + torch.log(-torch.expm1(-total))  # ln(e^h − 1), also where e^h has no number
    share = evidence / total
    return JoinedFaces(logit, share, logit - (share * logits).sum())
