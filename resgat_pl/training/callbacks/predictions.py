"""Lightning callbacks: predictions as CSV with their scores, and the W&B run's identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from resgat_pl.core.formats import stamp
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import Level
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.skipped import coverage
from resgat_pl.evaluation.curve_files import FOLDER, curves_of, write_curves
from resgat_pl.evaluation.error_rates import error_rates, plain as plain_rates
from resgat_pl.evaluation.likelihood_plots import write_ratio_plots
from resgat_pl.evaluation.likelihood_pool import pool_of
from resgat_pl.evaluation.likelihood_results import RatioTest, ratios_of_test, tested_keys
from resgat_pl.evaluation.metrics.scores import (
    POOLED,
    RESULTS_NAME,
    RESULTS_VERSION,
    Predictions,
    describe,
    evaluate,
    read_predictions,
)
from resgat_pl.evaluation.predictions_csv import write_predictions
from resgat_pl.evaluation.train_test_overlap import describe as describe_leaks
from resgat_pl.nn.checkpoint_file import file_fingerprint
from resgat_pl.nn.checkpoint_keys import WANDB_ID
from resgat_pl.training.callbacks.curve_log import log_curves
from resgat_pl.training.callbacks.provenance import provenance_of
from resgat_pl.training.lightning_internals import all_ranks, data_module, log_folder
from resgat_pl.training.loggers.wandb import ResilientWandbLogger
from resgat_pl.training.module import ResGATModule


class PredictionWriter(Callback):
    """Writes what ``resgat test`` and ``resgat predict`` find as CSV files into the log folder.

    ``frames.csv`` has one row per crop, ``tracks.csv`` one per face (mean over its frames), ``videos.csv`` one per
    video (maximum over its faces); ``probability`` is the score, ``calibrated`` the same calibrated at that level.
    ``altered`` is false for a face that the manipulation left unchanged, where that is known; such a crop of a fake
    does not count in the scores of frames. After a test ``results.json`` holds every metric per level and manipulation
    method with its interval, the metrics that the user added, how many videos were scored, the leaks the scores suffer
    from, and their provenance; and ``curves`` has ROC, precision-recall, confusion, reliability and error rates by
    threshold, as figures and as CSV, see ``evaluation.curve_files.write_curves``. W&B gets the curves, too.
    Error rates of videos by stratum (``evaluation.error_rates``) are in the results; of a checkpoint that ``resgat
    calibrate`` calibrated also its likelihood ratios (``evaluation.likelihood_results``), and their Tippett and
    reliability plots in ``curves``.

    Args:
        folder: Name of the folder below the log folder.
        log_figures: Also send the figures of the curves to W&B, not only their numbers; ``--private`` sets false.

    Example:
        >>> PredictionWriter().folder
        'predictions'
    """

    def __init__(self, folder: str = "predictions", log_figures: bool = True) -> None:
        super().__init__()
        self.folder = folder
        self.log_figures = log_figures
        self._seen: list[dict[str, Tensor]] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store a batch's predictions."""
        self._seen.append({name: values.cpu() for name, values in outputs.items()})

    on_predict_batch_end = on_test_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions, and on rank 0 score them."""
        base = self._write(trainer, pl_module)
        data = data_module(trainer)
        if base is None or data is None:
            return
        known = pl_module if isinstance(pl_module, ResGATModule) else None
        thresholds, temperatures = (known.thresholds, known.temperatures) if known else (None, None)
        found = read_predictions(base / self.folder)
        scores = evaluate(found, thresholds, temperatures=temperatures)
        videos = coverage(data.manifest, len(found["video"].label))
        # Likelihood ratios where the checkpoint was calibrated, and error rates by stratum.
        ratios = _ratios(trainer, data.manifest, keys := tested_keys(base / self.folder), found, thresholds)
        rates = error_rates(data.manifest, keys, found["video"], (thresholds or {}).get("video", 0.5))
        frames = found["frame"]
        extra = known.extra_metrics(frames.probability, frames.label) if known and len(frames.label) else {}
        document = {
            **stamp(RESULTS_VERSION),
            "thresholds": thresholds,
            "temperatures": temperatures,
            "validation": known.validation.plain() if known and known.validation else None,
            **({"checkpoint_sha256": file_fingerprint(Path(trainer.ckpt_path))} if trainer.ckpt_path else {}),
            "videos": videos.plain(),
            "scores": [row.plain() for row in scores],
            **({} if ratios is None else {"likelihood_ratios": ratios.plain()}),
            "error_rates": plain_rates(rates),
            **({"masks": known.mask_results} if known and known.mask_results else {}),
            **({"metrics": {name: float(value) for name, value in extra.items()}} if extra else {}),
            **provenance_of(trainer),
        }
        write_atomic(base / RESULTS_NAME, json.dumps(document, indent=2).encode())
        by_method = {
            f"test/{row.level}_auroc/{row.method}": row.values["auroc"].value
            for row in scores
            if row.method != POOLED and row.real and row.fake  # else undefined
        }
        for logger in trainer.loggers if by_method else []:
            logger.log_metrics(by_method)
        curves = curves_of(found, thresholds, temperatures)
        said = write_curves(base / FOLDER, curves, scores)
        write_ratio_plots(base / FOLDER, [] if ratios is None else ratios.levels)
        for logger in trainer.loggers:
            if isinstance(logger, ResilientWandbLogger):
                log_curves(logger, curves, base / FOLDER, self.log_figures)
        rank_zero_info(f"{describe(scores)}\n{videos}.")
        if ratios is not None:
            rank_zero_info(ratios.text())
        stamps = describe_leaks(document.get("leaky", ()), document.get("people_unknown", ()))
        for line in stamps:
            (rank_zero_warn if line.startswith("LEAK") else rank_zero_info)(f"{line}.")
        rank_zero_info(f"Everything, with intervals and provenance: {base / RESULTS_NAME}\n{said}")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions."""
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> Path | None:
        """Gather the predictions of all processes and write them on rank 0; return the log folder there."""
        mine = {name: torch.cat([batch[name] for batch in self._seen]) for name in ("row", "logit")}
        self._seen.clear()
        gathered = all_ranks(trainer, mine)
        base = log_folder(trainer)
        data = data_module(trainer)
        if not trainer.is_global_zero or data is None:
            return None
        folder = base / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        rows = torch.cat([part["row"] for part in gathered])
        logits = torch.cat([part["logit"] for part in gathered])
        order = torch.argsort(rows)
        temperatures = pl_module.temperatures if isinstance(pl_module, ResGATModule) else None
        write_predictions(data.manifest, rows[order], logits[order], folder, temperatures)
        rank_zero_info(f"Predictions written: {folder}/{{frames,tracks,videos}}.csv")
        return base


def _ratios(
    trainer: Trainer,
    manifest: Manifest,
    keys: list[str],
    found: Mapping[Level, Predictions],
    thresholds: Mapping[Level, float] | None,
) -> RatioTest | None:
    """Likelihood ratios of the tested videos; None, and why, of a checkpoint that was not calibrated."""
    if not trainer.ckpt_path:
        return None
    path = Path(trainer.ckpt_path)
    pool, why = pool_of(path, file_fingerprint(path))
    if pool is None:
        rank_zero_info(why)
        return None
    return ratios_of_test(pool, manifest, keys, found, thresholds)


class WandbRunId(Callback):
    """Stores the W&B run's id in every checkpoint, so that a resumed run goes on in the same W&B run."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the id; nothing without W&B."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.version is not None:
                checkpoint[WANDB_ID] = str(logger.version)
