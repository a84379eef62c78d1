"""Lightning callbacks: heat-maps of a fixed set of faces, predictions as CSV, and the W&B run's identity."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.dataset import FaceCrops
from resgat_pl.data.manifest import Manifest, write_atomic
from resgat_pl.explain.graph import attention_map
from resgat_pl.explain.overlay import SheetFace, overlay, save_sheet, scales_of
from resgat_pl.metrics.detection import video_scores
from resgat_pl.metrics.evaluation import POOLED, RESULTS_NAME, describe, evaluate, read_predictions
from resgat_pl.module import ResGATModule
from resgat_pl.nn.contribution import contributions
from resgat_pl.provenance import provenance_of
from resgat_pl.types import Split

WANDB_ID = "wandb_run_id"
"""Key in a checkpoint under which the W&B run's id is kept."""


class Heatmaps(Callback):
    """Draws attention and exact contributions over a fixed, balanced set of faces after each validation and test.

    Writes ``heatmaps/epoch-000.png`` (``heatmaps/test.png``) into the log folder, and to W&B a table with face,
    manipulation mask, overlays, label and probability. Only rank 0 works, on the inner network, so no other rank is
    waited for. Colours are on one scale for the whole set.

    Args:
        faces: Size of the set, half real and half fake.
        every_n_epochs: Draw after every n-th validation epoch.
    """

    def __init__(self, faces: int = 16, every_n_epochs: int = 1) -> None:
        super().__init__()
        self.faces = faces
        self.every_n_epochs = every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the validation faces."""
        if not trainer.sanity_checking and trainer.current_epoch % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, "val", f"epoch-{trainer.current_epoch:03d}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the test faces."""
        self._draw(trainer, pl_module, "test", "test")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, split: Split, name: str) -> None:
        folder = trainer.log_dir or trainer.default_root_dir  # a broadcast: every rank must read it
        if not trainer.is_global_zero:
            return
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, FaceDataModule) or not isinstance(pl_module, ResGATModule):
            rank_zero_warn("Heatmaps needs a FaceDataModule and a ResGATModule; nothing is drawn.")
            return
        faces = data.faces(split)
        chosen = choose_faces(faces, self.faces)
        drawn = explain_faces(pl_module, faces, chosen)
        target = Path(folder) / "heatmaps" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        title = f"{split} faces" + ("" if name == split else f", {name}")
        save_sheet([face for face, _ in drawn], target, title)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                _log_to_wandb(logger, split, drawn, faces.labels[chosen])


def choose_faces(faces: FaceCrops, count: int) -> NDArray[np.int64]:
    """Choose a balanced set by rule: half real, half fake, spread over methods and videos, the middle frame of each.

    Returns:
        ``(n,)`` int64 positions in ``faces``, real ones first; the same for the same data.
    """
    methods = faces.manifest.column("method")[faces.rows]
    videos = faces.manifest.video_codes[faces.rows]
    chosen: list[int] = []
    for label in (0, 1):
        members = np.flatnonzero(faces.labels == label)
        by_method: dict[str, list[int]] = {}
        for video in np.unique(videos[members]):
            frames = members[videos[members] == video]
            middle = int(frames[len(frames) // 2])
            by_method.setdefault(methods[middle], []).append(middle)
        rng = np.random.default_rng(0)
        queues = [rng.permutation(by_method[method]).tolist() for method in sorted(by_method)]
        most = max((len(queue) for queue in queues), default=0)
        in_turn = [queue[turn] for turn in range(most) for queue in queues if turn < len(queue)]
        chosen += in_turn[: count // 2 + (count % 2) * label]
    return np.array(chosen, np.int64)


@torch.no_grad()
def explain_faces(module: ResGATModule, faces: FaceCrops, chosen: NDArray[np.int64]) -> list[tuple[SheetFace, float]]:
    """Compute the maps of some faces in evaluation mode; the module's mode is restored.

    Returns:
        For each face what to draw, and its probability of being fake.
    """
    net = module.net
    training = net.training
    net.eval()
    drawn: list[tuple[SheetFace, float]] = []
    try:
        for start in range(0, len(chosen), 16):
            positions = chosen[start : start + 16].tolist()
            pixels = torch.stack([faces[position]["image"] for position in positions])
            explained = contributions(net, pixels.to(module.device).float() / 255)
            output = explained.output
            shape = (len(positions), *net.grid.shape)
            attention = attention_map(output).reshape(shape).float().cpu().numpy()
            nodes = explained.node.reshape(shape).float().cpu().numpy()
            for i, position in enumerate(positions):
                probability = float(output.probability[i])
                label = "fake" if faces.labels[position] else "real"
                drawn.append(
                    (
                        SheetFace(
                            image=pixels[i].permute(1, 2, 0).numpy(),
                            title=f"{label}, p={probability:.2f}",
                            mask=faces.mask(position),
                            maps={"contribution": nodes[i], "attention": attention[i]},
                        ),
                        probability,
                    )
                )
    finally:
        net.train(training)
    return drawn


def _log_to_wandb(
    logger: WandbLogger, split: Split, drawn: Sequence[tuple[SheetFace, float]], labels: NDArray[np.int64]
) -> None:
    """Log the table ``{split}/heatmaps`` and the faces with their masks as ``{split}/faces``.

    Images of a table travel in an artifact; the plain ones lie in the run's own folder, also when it is offline.
    """
    import wandb

    scales = scales_of([face for face, _ in drawn])
    data: list[Iterable[Any]] = []
    pictures = []
    for (face, probability), label in zip(drawn, labels, strict=True):
        masks = None
        if face.mask is not None:
            mask = (face.mask > 127).astype(np.uint8)
            masks = {"manipulated": {"mask_data": mask, "class_labels": {0: "genuine", 1: "manipulated"}}}
        maps = [wandb.Image(overlay(face.image, face.maps[name], scale)) for name, scale in scales.items()]
        pictures.append(wandb.Image(face.image, masks=masks, caption=face.title))
        data.append([pictures[-1], *maps, "fake" if label else "real", probability])
    columns: list[str | int] = ["face", *scales, "label", "probability"]
    table = wandb.Table(columns=columns, data=data)
    media: Any = {f"{split}/heatmaps": table, f"{split}/faces": pictures}  # log_metrics is typed for numbers
    logger.log_metrics(media)


class PredictionWriter(Callback):
    """Writes what ``resgat test`` and ``resgat predict`` find as CSV files into the log folder.

    ``frames.csv`` has one row a crop, ``tracks.csv`` one a face (mean over its frames), ``videos.csv`` one a video
    (maximum over its faces). After a test ``results.json`` holds every metric per level and manipulation method with
    its interval, the leaks the scores suffer from, and their provenance.

    Args:
        folder: Name of the folder below the log folder.
    """

    def __init__(self, folder: str = "predictions") -> None:
        super().__init__()
        self.folder = folder
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
        """Keep a batch's predictions."""
        self._seen.append({name: values.cpu() for name, values in outputs.items()})

    on_predict_batch_end = on_test_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions, and on rank 0 score them."""
        base = self._write(trainer)
        if base is None:
            return
        thresholds = pl_module.thresholds if isinstance(pl_module, ResGATModule) else None
        scores = evaluate(read_predictions(base / self.folder), thresholds)
        document = {"thresholds": thresholds, "scores": [row.plain() for row in scores], **provenance_of(trainer)}
        write_atomic(base / RESULTS_NAME, json.dumps(document, indent=2).encode())
        by_method = {
            f"test/{row.level}_auroc/{row.method}": row.values["auroc"].value for row in scores if row.method != POOLED
        }
        for logger in trainer.loggers if by_method else []:
            logger.log_metrics(by_method)
        rank_zero_info(describe(scores))
        if document.get("leaky"):
            rank_zero_warn(f"LEAKY: these scores suffer from leaks between splits ({', '.join(document['leaky'])}).")
        rank_zero_info(f"Everything, with intervals and provenance: {base / RESULTS_NAME}")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> Path | None:
        """Gather the predictions of all processes and write them on rank 0; return the log folder there."""
        mine = {name: torch.cat([batch[name] for batch in self._seen]) for name in ("row", "logit")}
        self._seen.clear()
        gathered = [mine]
        if trainer.world_size > 1:
            gathered = [mine] * trainer.world_size
            torch.distributed.all_gather_object(gathered, mine)
        base = Path(trainer.log_dir or trainer.default_root_dir)  # a broadcast: every rank must read it
        data = getattr(trainer, "datamodule", None)
        if not trainer.is_global_zero or not isinstance(data, FaceDataModule):
            return None
        folder = base / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        rows = torch.cat([part["row"] for part in gathered])
        logits = torch.cat([part["logit"] for part in gathered])
        order = torch.argsort(rows)
        write_predictions(data.manifest, rows[order], logits[order], folder)
        rank_zero_info(f"Predictions written: {folder}/{{frames,tracks,videos}}.csv")
        return base


def write_predictions(manifest: Manifest, rows: Tensor, logits: Tensor, folder: Path) -> None:
    """Write one CSV file per level.

    Args:
        manifest: The manifest the rows are of.
        rows: ``(N,)`` int64 ascending.
        logits: ``(N,)`` float32.
        folder: Existing folder.
    """
    index = rows.numpy()
    probability = torch.sigmoid(logits.double())  # as the metrics, see DetectionMetrics
    video, track = (torch.from_numpy(codes[index]) for codes in (manifest.video_codes, manifest.track_codes))
    label = torch.from_numpy(manifest.column("label")[index].astype(np.int64))
    by_video, _, videos, by_track, tracks = video_scores(probability, label, video, track)
    names = ["dataset", "method", "compression", "video"]

    def save(name: str, positions: NDArray[np.int64], columns: list[str], score: Tensor, **more: Tensor) -> None:
        table = manifest.table.take(pa.array(index[positions])).select([*names, *columns, "split", "label"])
        for column, values in {"probability": score, **more}.items():
            table = table.append_column(column, pa.array(values.numpy()))
        pa.csv.write_csv(table, folder / name)

    everything = np.arange(len(index), dtype=np.int64)
    frame_columns = ["track", "frame_index", "time", "crop_path"]
    save("frames.csv", everything, frame_columns, probability, logit=logits)
    save("tracks.csv", np.searchsorted(track.numpy(), tracks.numpy()), ["track"], by_track)
    save("videos.csv", np.searchsorted(video.numpy(), videos.numpy()), [], by_video)


class WandbRunId(Callback):
    """Keeps the W&B run's id in every checkpoint, so that a resumed run goes on in the same W&B run."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the id; nothing without W&B."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.version is not None:
                checkpoint[WANDB_ID] = str(logger.version)
