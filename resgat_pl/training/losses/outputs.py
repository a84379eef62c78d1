"""Losses of the further outputs of a graph: the kind of manipulation, and the manipulated regions of the face."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.explain.regions import or_average, region_cover
from resgat_pl.nn.outputs import Outputs
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput

_UNKNOWN: Final = -1
MANIPULATED: Final = 0.2
"""A region is manipulated if the mask covers more of it than this."""


class Kinds(AuxiliaryLoss):
    """Cross-entropy of genuine and the kinds of manipulation, ``kind:NAME`` of ``net.outputs``.

    A crop's kind is its method in the manifest. Fakes of other methods, and self-blends, take no part.

    Example:
        >>> Kinds(weight=0.5).name
        'kind_loss'
    """

    name = "kind_loss"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)
        self._kind: Tensor | None = None

    def prepare(self, net: ResGAT, data: FaceDataModule) -> None:
        """Note the kind of each row of the manifest.

        Raises:
            ConfigError: ``net.outputs`` has no kinds, or one of which the training split has no crop.
        """
        outputs = _outputs(net, "kind", "Kinds")
        method, label = data.manifest.column("method"), data.manifest.column("label")
        self._kind = torch.from_numpy(kinds_of(method, label, outputs.kinds))
        rows = data.manifest.examples_of("train")
        trained = set(method[rows][label[rows] == FAKE].tolist())
        if data.self_blend is not None:
            raise ConfigError(
                "model.losses has Kinds, and data.self_blend makes fakes of no kind of the manifest: leave one of them "
                "out."
            )
        if absent := [kind for kind in outputs.kinds if kind not in trained]:
            known = ", ".join(f"kind:{name}" for name in sorted(trained))
            raise ConfigError(
                f"net.outputs has kind:{absent[0]}, and the training split has no fake of that method, so it cannot be "
                f"learnt: leave it out. There are: {known}."
            )

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        outputs = _outputs(step.net, "kind", "Kinds")
        if self._kind is None:
            raise ConfigError("The loss Kinds was not prepared: it is used by a Trainer, or call prepare(net, data).")
        logits = outputs.kind_logits(outputs(step.graph))
        kind = self._kind[step.batch["row"].cpu()].to(logits.device)
        known = int((kind != _UNKNOWN).sum())
        return F.cross_entropy(logits, kind, ignore_index=_UNKNOWN, reduction="sum") / max(1, known)


class Regions(AuxiliaryLoss):
    """Binary cross-entropy of each region of the face, ``region:NAME`` of ``net.outputs``.

    A region is manipulated if the mask covers more than a fifth of it. Fakes without a mask, and faces without
    landmarks, take no part, nor does a region that is not in the crop, as after an enlargement.

    Example:
        >>> Regions(weight=0.5).needs_landmarks
        True
    """

    name = "region_loss"
    needs_masks = True
    needs_landmarks = True

    def prepare(self, net: ResGAT, data: FaceDataModule) -> None:
        """Check the network.

        Raises:
            ConfigError: ``net.outputs`` has no regions.
        """
        _outputs(net, "region", "Regions")

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        outputs = _outputs(step.net, "region", "Regions")
        logits = outputs.region_logits(outputs(step.graph))
        landmarks, replaced = or_average(step.batch["landmarks"])
        known = step.batch["mask_known"] & ~replaced
        columns = [FACE_REGIONS.index(name) for name in outputs.regions]
        cover = region_cover(step.batch["mask"], landmarks)[:, columns]
        losses = F.binary_cross_entropy_with_logits(logits, (cover > MANIPULATED).to(logits.dtype), reduction="none")
        there = known[:, None] & ~cover.isnan()
        return (losses * there).sum() / there.sum().clamp(min=1)


def kinds_of(method: np.ndarray, label: np.ndarray, kinds: list[str]) -> np.ndarray:
    """Class of each crop for ``Outputs.kind_logits``: ``(n,)`` int64, 0 for genuine, 1 + k for kind k, else -1.

    Args:
        method: ``(n,)`` str, methods in the manifest.
        label: ``(n,)`` int, 1 = fake.
        kinds: ``Outputs.kinds``.

    Example:
        >>> kinds_of(np.array(["original", "swap", "new"]), np.array([0, 1, 1]), ["mouth", "swap"]).tolist()
        [0, 2, -1]
    """
    found = np.full(len(method), _UNKNOWN, np.int64)
    for place, kind in enumerate(kinds):
        found[method == kind] = 1 + place
    found[np.asarray(label) == REAL] = 0
    return found


def _outputs(net: ResGAT, of: str, loss: str) -> Outputs:
    outputs = net.outputs
    if outputs is None or not (outputs.kinds if of == "kind" else outputs.regions):
        example = "kind:Deepfakes, kind:FaceSwap" if of == "kind" else "region:*"
        raise ConfigError(f"model.losses has {loss}, but net.outputs has no {of}: set --net.outputs '[{example}]'.")
    return outputs
