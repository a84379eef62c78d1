"""A Lightning callback that hides or enlarges what the network looks at, so that it finds other traces as well."""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE
from resgat_pl.explain.base import evaluation_mode
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.lightning_internals import data_module
from resgat_pl.training.module import ResGATModule

_LEAST: Final = 0.1
"""Side of the smallest part that is enlarged, as a share of the crop's."""


class AttentionDropZoom(Callback):
    """Erases or enlarges the nodes that contribute most to the logits of a training batch, before it is trained on.

    After Silva et al., "Deepfake forensics analysis: An explainable hierarchical ensemble of weakly supervised models"
    (FSI: Synergy 4, 2022), who drop and enlarge the region of highest attention; here it is that of the largest
    contributions |c_j|, which are exact. Masks and landmarks move along. Where nothing of a fake's mask is left, it is
    not known any longer what was manipulated, and losses of masks leave the crop out; its label stays, as there.

    One forward pass more for each batch that is changed, in evaluation mode: batch statistics stay as they are. All
    random numbers are torch's, so that a resumed training draws the same ones.

    Args:
        probability: Of changing a crop.
        erase: Of erasing rather than enlarging it.
        share: Share of the nodes that are erased, or enlarged.
        zoom: Side of the part that is enlarged to the whole crop, as a share of the crop's.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> AttentionDropZoom(probability=0.25).erase
        0.5
    """

    def __init__(self, probability: float = 0.5, erase: float = 0.5, share: float = 0.1, zoom: float = 0.5) -> None:
        super().__init__()
        limits = (("probability", probability, 0), ("erase", erase, 0), ("share", share, 1e-6), ("zoom", zoom, _LEAST))
        for name, value, least in limits:
            if not least <= value <= 1:
                raise ConfigError(f"AttentionDropZoom.{name} is {value}; it must be from {least:g} to 1.")
        self.probability = probability
        self.erase = erase
        self.share = share
        self.zoom = zoom

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that there are contributions and pictures, and no loss that compares pictures pixel by pixel.

        Raises:
            ConfigError: Names what is missing.
        """
        _net_of(pl_module, "AttentionDropZoom")
        if getattr(data_module(trainer), "features_cache", None) is not None:
            raise ConfigError(
                "trainer.callbacks has AttentionDropZoom, which changes pictures, and data.features_cache holds "
                "features in their place. Leave one of them out."
            )
        pairs = [type(loss).__name__ for loss in getattr(pl_module, "losses", ()) if loss.needs_pairs]
        if pairs:
            raise ConfigError(
                f"trainer.callbacks has AttentionDropZoom, and model.losses has {pairs[0]}, which exchanges pixels of "
                "a fake and its partner: after an enlargement they are of different places. Leave one of them out."
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Change the batch in place."""
        images: Tensor = batch["image"]
        chance = torch.rand(len(images))
        kind = torch.rand(len(images))
        changed = (chance < self.probability).nonzero().flatten().to(images.device)
        if not len(changed):
            return
        net = _net_of(pl_module, "AttentionDropZoom")
        with torch.no_grad(), evaluation_mode(net):
            found = contributions(net, images[changed]).node
        levels = net.levels(*images.shape[-2:])
        lattice, nodes = levels.lattices[0], levels.summed(found).flatten(1).abs()
        top = nodes >= nodes.topk(max(1, round(self.share * nodes.shape[1])), dim=1).values[:, -1:]
        erased = (kind < self.erase).to(images.device)[changed]
        _erase(batch, changed[erased], top[erased], lattice)
        _enlarge(batch, changed[~erased], top[~erased] * nodes[~erased], lattice, self.zoom)


def _erase(batch: Any, places: Tensor, top: Tensor, lattice: Lattice) -> None:
    """Give the cells of the chosen nodes the mean colour of their crop."""
    if not len(places):
        return
    images = batch["image"][places]
    cells = lattice.cells(*images.shape[-2:]).to(images.device)
    gone = top[:, cells]
    mean = images.mean(dim=(2, 3), keepdim=True)
    batch["image"][places] = torch.where(gone[:, None], mean, images)
    if "mask" in batch:
        batch["mask"][places] = batch["mask"][places].masked_fill(gone, 0)
        _forget(batch, places)


def _enlarge(batch: Any, places: Tensor, weight: Tensor, lattice: Lattice, side: float) -> None:
    """Cut out a square around the chosen nodes, weighted by their contributions, and enlarge it to the whole crop."""
    if not len(places):
        return
    rows, columns = (torch.tensor(axis).to(weight) for axis in lattice.centres)
    table = weight.reshape(-1, *lattice.shape)
    total = table.sum(dim=(1, 2)).clamp(min=1e-12)
    x, y = (table.sum(dim=1) @ columns) / total, (table.sum(dim=2) @ rows) / total
    low = torch.stack([x, y], dim=1).sub(side / 2).clamp(min=0, max=1 - side)
    # from [-1, 1] of the result to [-1, 1] of the crop
    form = torch.zeros(len(places), 2, 3).to(weight)
    form[:, 0, 0] = form[:, 1, 1] = side
    form[:, :, 2] = 2 * low + side - 1
    images = batch["image"][places]
    grid = F.affine_grid(form.to(images), list(images.shape), align_corners=False)
    batch["image"][places] = F.grid_sample(images, grid, padding_mode="border", align_corners=False).clamp(0, 1)
    if "mask" in batch:
        masks = batch["mask"][places].unsqueeze(1)
        batch["mask"][places] = F.grid_sample(masks, grid.to(masks), align_corners=False).squeeze(1).clamp(0, 1)
        _forget(batch, places)
    if "landmarks" in batch:
        moved = (batch["landmarks"][places] - low.unsqueeze(1).to(batch["landmarks"])) / side
        batch["landmarks"][places] = moved


def _forget(batch: Any, places: Tensor) -> None:
    """Mark fakes of whose mask nothing is left as unknown."""
    empty = batch["mask"][places].flatten(1).amax(dim=1) == 0
    lost = empty & (batch["label"][places] == FAKE)
    batch["mask_known"][places] = batch["mask_known"][places] & ~lost


def _net_of(module: LightningModule, name: str) -> ResGAT:
    """The network of a module.

    Raises:
        ConfigError: It has no contributions.
    """
    net = module.net if isinstance(module, ResGATModule) else None
    if not isinstance(net, ResGAT) or not net.has_contributions:
        raise ConfigError(
            f"trainer.callbacks has {name}, which needs the contributions of a ResGAT with an additive head: leave it "
            "out, or train one."
        )
    return net
