"""Tiny detectors in this process, since starting the command takes longer than training one; and what a test leaves."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from resgat_pl.cli.main import main
from resgat_pl.core.formats import stamp
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import SplitProtocol
from resgat_pl.evaluation.metrics.scores import RESULTS_VERSION
from resgat_pl.evaluation.provenance import environment, of_data
from resgat_pl.evaluation.train_test_overlap import hashes_to_store
from resgat_pl.nn.checkpoint_keys import PROVENANCE
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule

from .command import TINY

TABLE = ("--trainer.logger", "true")
"""Lets ``tiny`` write ``metrics.csv``."""


class Done(NamedTuple):
    status: int
    warned: list[str]
    errors: str


def tiny(command: str, root: Path, crops: Path, *more: object) -> Done:
    """Run a Trainer's command on the tiny detector; everything it writes is in ``root``, without a logger."""
    arguments = (command, "--config", TINY, "--data.crops", crops, "--trainer.default_root_dir", root)
    errors = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(errors):
        warnings.simplefilter("always")  # Lightning advises on settings that a test has on purpose
        status = main([*map(str, (*arguments, "--trainer.logger", "false", "--heatmaps.faces", 2, *more))])
    return Done(status, [str(warning.message) for warning in caught], errors.getvalue())


def variant(crops: Path, folder: Path, splits: Sequence[Any] | None = None, **constant: str | None) -> Path:
    """Write a manifest of the same crops that differs in whole columns and in the splits; no picture is copied."""
    manifest = Manifest.read(crops)
    table = manifest.table
    for kind in ("crop_path", "mask_path"):  # hard links: a manifest's files must lie below its own folder
        for name in filter(None, manifest.column(kind)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(crops / name, folder / name)
    columns: dict[str, list[Any]] = {name: [value] * len(table) for name, value in constant.items()}
    if places := {place: constant[name] for place, name in ((0, "dataset"), (2, "compression")) if name in constant}:
        columns["source_video"] = [  # the original's key goes with the fake's
            key and "/".join(places.get(place, part) for place, part in enumerate(key.split("/", 3)))
            for key in manifest.column("source_video")
        ]
    for name, values in columns.items():
        field = SCHEMA.field(name)
        table = table.set_column(SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    changed = Manifest(folder, table, manifest.info)
    folder.mkdir(parents=True, exist_ok=True)
    (changed if splits is None else changed.with_splits(splits)).write()
    return folder


def untrained(
    path: Path,
    crops: Path,
    split: SplitProtocol | None = None,
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
    made: DetectorNet | None = None,
    **net: Any,
) -> Path:
    """Save a random detector as if trained on a manifest's training split; a ResGAT, unless another is ``made``."""
    torch.manual_seed(seed)
    options = {"attention": "gatv2", "encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 8}
    module = ResGATModule(made or ResGAT(**{**options, "image_size": 64, **net}))
    module.thresholds = None if thresholds is None else {"frame": thresholds["frame"], "video": thresholds["video"]}
    data = FaceDataModule(crops, split=split)
    content: dict[str, Any] = {
        "state_dict": module.state_dict(),
        "pytorch-lightning_version": "2.6.0",
        "epoch": 0,
        "global_step": 0,
    }
    module.on_save_checkpoint(content)
    content[PROVENANCE] = {
        **environment(),
        "seed": seed,
        "config": "",
        "data": of_data(data),
        "leaky": [],
        **hashes_to_store(data.manifest),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def pretend_test(
    folder: Path,
    seed: int = 0,
    skill: float = 1.0,
    leaky: Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
    first: int = 0,
) -> Path:
    """Write what ``resgat test`` leaves on 20 videos: the better the skill, the further real and fake are apart."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[dict[str, Any]]] = {"frames": [], "videos": []}
    for video in range(first, first + 20):
        label = video % 2
        method = ("original", "Deepfakes", "original", "FaceSwap")[video % 4]
        logits = rng.normal(skill * (label - 0.5), 1, 3)
        probability = 1 / (1 + np.exp(-logits))
        place = {"dataset": "ffpp", "method": method, "compression": "c23", "video": f"{video:03}"}
        place |= {"split": "test", "label": str(label)}
        rows["frames"] += [{**place, "probability": float(p)} for p in probability]
        rows["videos"].append({**place, "probability": float(probability.mean())})
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        with (folder / "predictions" / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    counts = {name: {"real": 30, "fake": 1230} for name in ("train", "val", "test")}
    results = {
        **stamp(RESULTS_VERSION),
        "thresholds": None if thresholds is None else dict(thresholds),
        "scores": [],
        "videos": {"scored": 20, "of": 23},
        "leaky": list(leaky),
        "checkpoint": {"path": str(folder / "best.ckpt"), PROVENANCE: None},
        PROVENANCE: {"seed": seed, "data": {"counts": counts}},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder
