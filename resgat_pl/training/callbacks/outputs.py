"""A Lightning callback that scores the further outputs of a detector: kinds of manipulation and regions of the face."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.core.formats import stamp
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import FAKE, VIDEO_KEY, Split
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.metrics.intervals import Interval
from resgat_pl.evaluation.metrics.outputs import kind_scores, region_scores, unknown_limit
from resgat_pl.evaluation.metrics.scores import SOURCE, clip_codes
from resgat_pl.explain.regions import or_average, region_cover
from resgat_pl.nn.outputs import Outputs, energy
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.lightning_internals import all_ranks, data_module, log_folder
from resgat_pl.training.losses.outputs import MANIPULATED, kinds_of
from resgat_pl.training.module import ResGATModule

RESULTS: Final = "outputs.json"
_BATCH: Final = 64


class OutputScores(Callback):
    """Scores ``net.outputs`` after each validation and test; does nothing for a network without them.

    Logs ``val/kind_f1``, ``val/kind_accuracy`` and ``val/region_map``, and with fakes of other kinds
    ``val/unknown_auroc``, see ``evaluation.metrics.outputs``. A validation chooses the limit below which a fake is of
    none of the kinds; it is stored in checkpoints as ``unknown_kind``. A test writes all scores, with 95 % intervals,
    to ``outputs.json`` in the log folder.

    Regions are scored on crops with landmarks whose mask is known. Where there are none, as in sets without masks,
    ``outputs.json`` says so, and regions have no score.

    Example:
        >>> OutputScores().state_key
        'OutputScores'
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[dict[str, Tensor]] = []
        self._truth: dict[str, tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]] = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store a batch's outputs."""
        if isinstance(outputs, dict) and "outputs" in outputs and not trainer.sanity_checking:
            self._seen.append({name: outputs[name].detach().cpu() for name in ("row", "outputs")})

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the validation, and choose the limit of known kinds."""
        if trainer.sanity_checking or (found := self._scores(trainer, pl_module, "val")) is None:
            return
        for name, value in found.items():
            if "/" not in name and not np.isnan(value.value):
                pl_module.log(f"val/{name}", value.value)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the test, and write the scores."""
        found = self._scores(trainer, pl_module, "test")
        folder = log_folder(trainer)
        if found is None or not trainer.is_global_zero or not isinstance(pl_module, ResGATModule):
            return
        document = {
            **stamp(1),
            "outputs": _outputs_of(pl_module).names,  # type: ignore[union-attr]  # there are scores of them
            "limits": pl_module.limits,
            "scores": {name: [*value.plain(), value.groups] for name, value in found.items()},
            "notes": _notes(_outputs_of(pl_module), found),
        }
        write_atomic(folder / RESULTS, json.dumps(document, indent=2).encode())
        lines = [f"{name}: {value.brief}" for name, value in found.items()]
        rank_zero_info("Kinds and regions, in % with 95 % intervals over clips:\n" + "\n".join(lines))
        rank_zero_info(f"Also in {folder / RESULTS}")
        values = {f"test/{name}": value.value for name, value in found.items() if not np.isnan(value.value)}
        for logger in trainer.loggers if values else []:
            logger.log_metrics(values)

    def _scores(self, trainer: Trainer, module: LightningModule, split: Split) -> dict[str, Interval] | None:
        """Scores of what all processes have seen; the same on each of them."""
        outputs, data = _outputs_of(module), data_module(trainer)
        if outputs is None or data is None or not isinstance(module, ResGATModule):
            return None
        empty = {"row": torch.zeros(0, dtype=torch.int64), "outputs": torch.zeros(0, len(outputs.names))}
        mine = {name: torch.cat([value, *(batch[name] for batch in self._seen)]) for name, value in empty.items()}
        self._seen.clear()
        parts = all_ranks(trainer, mine)
        rows = torch.cat([part["row"] for part in parts]).numpy()
        rows, first = np.unique(rows, return_index=True)
        logits = torch.cat([part["outputs"] for part in parts])[torch.from_numpy(first)]
        touched = ~data.manifest.untouched[rows]
        rows, logits = rows[touched], logits[torch.from_numpy(touched)]
        if not len(rows):
            return None
        return self._of_kinds(module, outputs, data, rows, logits, split) | self._of_regions(
            outputs, data, rows, logits, split
        )

    def _of_kinds(
        self,
        module: ResGATModule,
        outputs: Outputs,
        data: FaceDataModule,
        rows: NDArray[np.int64],
        logits: Tensor,
        split: Split,
    ) -> dict[str, Interval]:
        if not outputs.kinds:
            return {}
        label = data.manifest.column("label")[rows]
        kind = kinds_of(data.manifest.column("method")[rows], label, outputs.kinds)
        by_kind = outputs.kind_logits(logits).double()
        if split == "val":
            limit = unknown_limit(energy(by_kind).numpy()[kind > 0])
            module.limits = {**module.limits, **({} if limit is None else {"unknown_kind": limit})}
        group = _groups(data, rows)
        return kind_scores(by_kind.numpy(), kind, label == FAKE, group, module.limits.get("unknown_kind"))

    def _of_regions(
        self, outputs: Outputs, data: FaceDataModule, rows: NDArray[np.int64], logits: Tensor, split: Split
    ) -> dict[str, Interval]:
        if not outputs.regions:
            return {}
        truth = self._truth.get(split)
        if truth is None or not np.array_equal(truth[0], rows):
            faces = FaceCrops(data.manifest, rows, data.image_size)
            truth = self._truth[split] = rows, *manipulated_regions(faces)
        _, manipulated, known = truth
        columns = [FACE_REGIONS.index(name) for name in outputs.regions]
        found = outputs.region_logits(logits).double().numpy()[known]
        return region_scores(found, manipulated[known][:, columns], outputs.regions, _groups(data, rows[known]))


def manipulated_regions(faces: FaceCrops) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Regions of the face that were manipulated, by masks and landmarks.

    Returns:
        ``(n, 8)`` bool in the order of ``FACE_REGIONS``; and ``(n,)`` bool, false for crops without landmarks and for
        fakes without a mask, or with an empty one, of which it is not known.
    """
    label = faces.labels
    points = faces.manifest.take(faces.rows, ["landmarks"]).column("landmarks").to_pylist()
    manipulated = np.zeros((len(faces), len(FACE_REGIONS)), bool)
    known = np.array([points is not None for points in points], bool)
    for index in np.flatnonzero(known & (label == FAKE)).tolist():
        mask = faces.mask(index)
        landmarks, replaced = or_average(torch.tensor(points[index]).reshape(1, 5, 2))
        if mask is None or not mask.any() or bool(replaced):
            known[index] = False
            continue
        cover = region_cover(torch.from_numpy(mask)[None].float() / 255, landmarks)[0]
        manipulated[index] = (cover > MANIPULATED).numpy()
    return manipulated, known


def _notes(outputs: Outputs | None, found: Mapping[str, Interval]) -> list[str]:
    """Sentence on why regions have no score, of a detector with outputs of regions."""
    if outputs is None or not outputs.regions or "region_map" in found:
        return []
    return ["No region is manipulated in some of the crops with landmarks and a known mask, and untouched in others."]


def _groups(data: FaceDataModule, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The genuine clip behind each row."""
    table = data.manifest.take(rows, [*VIDEO_KEY, SOURCE]).to_pydict()
    keys = list(zip(*(table[name] for name in VIDEO_KEY), strict=True))
    return np.asarray(clip_codes(keys, table[SOURCE]), np.int64)


def _outputs_of(module: LightningModule) -> Outputs | None:
    net = getattr(module, "net", None)
    return net.outputs if isinstance(net, ResGAT) else None
