"""W&B artifacts of a training: the manifest it began with, and the best checkpoint it ended with."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer

from resgat_pl.core.privacy import without_paths
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest
from resgat_pl.nn.checkpoint_file import take_content
from resgat_pl.nn.safetensors_file import SUFFIX, portable, to_safetensors
from resgat_pl.training.callbacks.provenance import provenance_of
from resgat_pl.training.lightning_internals import checkpoint_savers, data_module, is_fast_dev_run
from resgat_pl.training.loggers.wandb import ResilientWandbLogger

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class WandbArtifacts(Callback):
    """Logs the manifest and the best checkpoint as W&B artifacts, versioned by their content.

    When training begins, ``crops-NAME`` of the type ``dataset``, NAME being the folder's: ``manifest.parquet`` with the
    splits in force, and no pictures. When it ends, ``model-ID`` of the type ``model``, ID being the run's:
    ``model.safetensors``, which every command takes as ``--ckpt_path``. The metadata are the counts and hashes of the
    data, and the provenance of the checkpoint; paths are cut down to their last names. Offline, W&B stores both for a
    later ``wandb sync``.

    Args:
        send: Log them. Off unless the configuration says so: a manifest names videos and people, a detector may reveal
            something of the faces it was trained on, and W&B stores a copy of both. ``--private`` sets false.

    Example:
        >>> WandbArtifacts().send
        False
    """

    def __init__(self, send: bool = False) -> None:
        super().__init__()
        self.send = send

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the manifest."""
        data = data_module(trainer)
        if data is not None and self._sends(trainer):
            with tempfile.TemporaryDirectory() as folder:
                log_artifact(trainer, *_dataset(data, Path(folder)))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the best checkpoint."""
        found = best_checkpoint(trainer)
        if found is not None and self._sends(trainer):
            with tempfile.TemporaryDirectory() as folder:
                log_artifact(trainer, *_model(trainer, found, Path(folder)))

    def _sends(self, trainer: Trainer) -> bool:
        return self.send and trainer.is_global_zero and not is_fast_dev_run(trainer)


def log_artifact(trainer: Trainer, kind: str, name: str, file: Path, metadata: Mapping[str, Any]) -> None:
    """Log a file as an artifact to every W&B logger of ``resgat``.

    Args:
        trainer: Whose loggers.
        kind: ``dataset`` or ``model``.
        name: Name of the artifact; ``{id}`` is the run's.
        file: Copied by W&B before this returns.
        metadata: Plain values; paths are cut down.
    """
    import wandb

    def log(run: Any) -> None:
        whole = _NO_NAME.sub("-", name.format(id=run.id))[:128]
        artifact = wandb.Artifact(whole, kind, metadata=without_paths(metadata))
        artifact.add_file(str(file), name=file.name)
        run.log_artifact(artifact, aliases=["latest", "best"] if kind == "model" else ["latest"])

    for logger in trainer.loggers:
        if isinstance(logger, ResilientWandbLogger):
            logger.with_run(log)


def best_checkpoint(trainer: Trainer) -> Path | None:
    """The checkpoint that ``resgat test`` would be given; None if none was written."""
    for saver in checkpoint_savers(trainer):
        if saver.filename != "last" and saver.best_model_path and Path(saver.best_model_path).is_file():
            return Path(saver.best_model_path)
    return None


def _dataset(data: FaceDataModule, folder: Path) -> tuple[str, str, Path, dict[str, Any]]:
    manifest = data.manifest
    about = {
        "manifest": manifest.fingerprint(),
        "splits": manifest.split_fingerprint(),
        "protocol": manifest.info.get("protocol", {}),
        "extraction": manifest.info.get("extraction", {}),
        "counts": {split: count._asdict() for split, count in manifest.counts().items()},
    }
    file = Manifest(folder, manifest.table, without_paths(manifest.info)).write()
    return "dataset", f"crops-{data.crops.name or MANIFEST_NAME}", file, about


def _model(trainer: Trainer, checkpoint: Path, folder: Path) -> tuple[str, str, Path, dict[str, Any]]:
    file = folder / f"model{SUFFIX}"
    file.write_bytes(to_safetensors(portable(take_content(checkpoint))))
    scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    saver = next(saver for saver in checkpoint_savers(trainer) if Path(saver.best_model_path) == checkpoint)
    best = None if saver.best_model_score is None else float(saver.best_model_score)
    about = {"monitor": saver.monitor, "best": best, "last_epoch": scores, **provenance_of(trainer)}
    return "model", "model-{id}", file, about
