"""A Lightning callback that scores the masks of a mask head, and chooses the threshold that draws them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from resgat_pl.core.types import FAKE, FaceBatch
from resgat_pl.evaluation.mask_scores import HALF, MaskScores
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.lightning_internals import all_ranks
from resgat_pl.training.module import ResGATModule


class MaskHeadScores(Callback):
    """Scores the masks of ``net.mask_head`` after each validation and test, where manipulation masks are known.

    Logs the numbers of ``evaluation.mask_scores.MaskScores.summary`` as ``val/mask_iou`` and so on; those of a test
    stand in ``results.json`` as ``masks``. The threshold is chosen in each validation, is stored in checkpoints, and is
    that of tests and reports. Does nothing for networks without a mask head.

    The masks are those of the pass that is validated: nothing is computed twice, unless the network is compiled.

    Example:
        >>> MaskHeadScores().state_key
        'MaskHeadScores'
    """

    def __init__(self) -> None:
        super().__init__()
        self._hook: Any = None
        self._logits: Tensor | None = None
        self._parts: list[MaskScores] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the mask head."""
        net = _masked(pl_module)
        self._stop()
        if net is not None and net.node_gate is not None:
            self._hook = net.node_gate.register_forward_hook(self._remember)

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: FaceBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
        regions: bool = False,
    ) -> None:
        """Score a batch."""
        net = _masked(pl_module)
        if net is None or "mask" not in batch:
            return
        used = batch["mask_known"] & ~batch.get("untouched", torch.zeros_like(batch["mask_known"]))
        # A fake of whose mask no pixel is left at this size is no genuine face, on which nothing should be named.
        used &= (batch["label"] != FAKE) | (batch["mask"].flatten(1).amax(dim=1) > HALF)
        if not bool(used.any()):
            return
        logits = self._logits
        if logits is None:  # compiled code calls no hooks
            nodes = batch["nodes"] if "nodes" in batch else net.encode(batch["image"])
            logits = net.graph(nodes).mask_logit
        masks = batch["mask"]
        levels = net.levels(*masks.shape[-2:])
        lattice, maps = levels.lattices[0], levels.averaged(torch.as_tensor(logits).float().sigmoid())
        self._parts.append(MaskScores.of(batch["row"][used], maps[used], masks[used], lattice, regions))
        self._logits = None

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: FaceBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score a batch, with the scores that take longer."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx, regions=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the threshold, and log the scores at it."""
        found = self._gathered(trainer, pl_module)
        if isinstance(pl_module, ResGATModule) and found is not None and not trainer.sanity_checking:
            pl_module.mask_threshold = found.best_threshold()
            _log(pl_module, "val", found.summary(pl_module.mask_threshold))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores at the checkpoint's threshold."""
        found = self._gathered(trainer, pl_module)
        if isinstance(pl_module, ResGATModule) and found is not None:
            scores = found.summary(pl_module.mask_threshold)
            faces = {"fakes": int(found.forged.sum()), "genuine": int((~found.forged).sum())}
            pl_module.mask_results = {"threshold": pl_module.mask_threshold, **faces, **scores}
            _log(pl_module, "test", scores)

    def _remember(self, module: Any, inputs: Any, logits: Tensor) -> None:
        self._logits = logits.detach()

    def _stop(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook, self._logits, self._parts = None, None, []

    def _gathered(self, trainer: Trainer, pl_module: LightningModule) -> MaskScores | None:
        """The scores of all processes; collective. None where there are none, or no mask head."""
        if _masked(pl_module) is None:
            return None
        parts = [part for rank in all_ranks(trainer, self._parts) for part in rank]
        self._stop()
        return MaskScores.join(parts)


def _masked(module: LightningModule) -> ResGAT | None:
    """The network, if it has a mask head."""
    net = module.net if isinstance(module, ResGATModule) else None
    return net if isinstance(net, ResGAT) and net.node_gate is not None else None


def _log(module: LightningModule, stage: str, scores: dict[str, float]) -> None:
    for name, value in scores.items():
        module.log(f"{stage}/{name}", torch.tensor(value, device=module.device))
