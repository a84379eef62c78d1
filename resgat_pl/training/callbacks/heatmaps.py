"""A Lightning callback that explains a fixed set of faces in every epoch: as pictures, in words and in numbers."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, Split
from resgat_pl.explain.drawing.overlay import scales_of
from resgat_pl.explain.drawing.sheet import save_sheet
from resgat_pl.explain.face_set import ExplainedFaces, choose_faces, explain_faces, measure
from resgat_pl.training.callbacks.weight_averaging import validated_weights
from resgat_pl.training.lightning_internals import data_module, log_folder
from resgat_pl.training.module import ResGATModule


class Heatmaps(Callback):
    """Explains a fixed, balanced set of faces after each validation and test.

    Writes ``heatmaps/epoch-000.png`` (``heatmaps/test.png``) into the log folder, and to W&B, with ``log_images``, a
    table with face, manipulation mask, overlays, label, probability and the explanation in words. Colours are on one
    scale for the whole set. Every logger gets the numbers of ``measure``, at the step of the validation's metrics;
    those of a test are named ``test/explain/…``. Only rank 0 works, on the inner network, without any
    collective call.

    Args:
        faces: Size of the set, half real and half fake; 0 for none.
        every_n_epochs: Explain after every n-th validation epoch.
        log_images: Also send the faces to W&B. They are faces of people: off unless the configuration says so.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> callback = Heatmaps(faces=8, every_n_epochs=5)
        >>> callback.log_images
        False
    """

    def __init__(self, faces: int = 16, every_n_epochs: int = 1, log_images: bool = False) -> None:
        super().__init__()
        if faces < 0 or every_n_epochs < 1:
            raise ConfigError(
                f"heatmaps.faces is {faces} and heatmaps.every_n_epochs {every_n_epochs}: need at least 0 and 1."
            )
        self.log_images = log_images
        self.faces = faces
        self.every_n_epochs = every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the validation faces."""
        if not trainer.sanity_checking and trainer.current_epoch % self.every_n_epochs == 0:
            self._explain(trainer, pl_module, "val", f"epoch-{trainer.current_epoch:03d}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the test faces."""
        self._explain(trainer, pl_module, "test", "test")

    def _explain(self, trainer: Trainer, pl_module: LightningModule, split: Split, name: str) -> None:
        folder = log_folder(trainer)
        if not trainer.is_global_zero:
            return
        data = data_module(trainer)
        if data is None or not isinstance(pl_module, ResGATModule):
            rank_zero_warn("Heatmaps needs a FaceDataModule and a ResGATModule; nothing is drawn.")
            return
        faces = data.faces(split)
        chosen = choose_faces(faces, self.faces)
        if not len(chosen):
            return
        with validated_weights(trainer, pl_module):
            seen = explain_faces(pl_module.net, faces, chosen)
        target = folder / "heatmaps" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        save_sheet(seen.sheet(), target, f"{split} faces" + ("" if name == split else f", {name}"))
        prefix = "test/" if split == "test" else ""
        values = {f"{prefix}{key}": value for key, value in measure(seen).items()}
        step = max(trainer.global_step - 1, 0)  # as Lightning counts for the validation's own metrics
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=step)
            if self.log_images and isinstance(logger, WandbLogger):
                _log_to_wandb(logger, split, seen, step)
        # The figure is tens of thousands of objects that refer to each other. Python looks for such rarely in so large
        # a program, and until then memory grows by 15 MB a sheet.
        gc.collect()


def _log_to_wandb(logger: WandbLogger, split: Split, seen: ExplainedFaces, step: int) -> None:
    """Log the table ``{split}/heatmaps`` and the faces with their masks as ``{split}/faces``.

    Images of a table travel in an artifact; the plain ones lie in the run's own folder, also when it is offline.
    """
    import wandb

    faces = seen.sheet()
    scales = scales_of(faces)
    data: list[Iterable[Any]] = []
    pictures = []
    for face, finding, label in zip(faces, seen.findings(), seen.labels.tolist(), strict=True):
        masks = None
        if face.mask is not None:
            mask = (face.mask > 127).astype(np.uint8)
            masks = {"manipulated": {"mask_data": mask, "class_labels": {0: "genuine", 1: "manipulated"}}}
        maps = [wandb.Image(face.overlay(name, scale)) for name, scale in scales.items()]
        pictures.append(wandb.Image(face.image, masks=masks, caption=face.title))
        named = "fake" if label == FAKE else "real"
        data.append([pictures[-1], *maps, named, finding.probability, finding.sentence])
    columns: list[str | int] = ["face", *scales, "label", "probability", "in words"]
    table = wandb.Table(columns=columns, data=data)
    media: Any = {f"{split}/heatmaps": table, f"{split}/faces": pictures}  # log_metrics is typed for numbers
    logger.log_metrics(media, step=step)
