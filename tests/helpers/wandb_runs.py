"""Commands whose loggers are CSV and offline W&B, in this process; and what the W&B run holds besides its history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..training.loggers.test_wandb import end
from .command import wandb_records
from .tiny_runs import Done, tiny


def logged(command: str, root: Path, crops: Path, *more: object) -> Done:
    """As ``tiny``, with a CSV logger and an offline W&B logger; everything is on the disk when this returns."""
    places = {
        "lightning.pytorch.loggers.CSVLogger": {"save_dir": str(root), "name": ""},
        "lightning.pytorch.loggers.WandbLogger": {"save_dir": str(root), "project": "resgat-tests"},
    }
    loggers = [{"class_path": name, "init_args": arguments} for name, arguments in places.items()]
    end()
    done = tiny(command, root, crops, "--trainer.logger", json.dumps(loggers), *more)
    end()
    return done


def best_of(run: Path) -> dict[str, set[str]]:
    """How each metric is summarised, by name, where that is not the last value."""
    found: dict[str, set[str]] = {}
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "metric":
            kinds = {field.name for field, value in record.metric.summary.ListFields() if value}
            found[record.metric.name] = kinds
    return {name: kinds for name, kinds in found.items() if kinds}


def summary(run: Path) -> dict[str, Any]:
    """The values put into the summary itself, the last of each."""
    found: dict[str, Any] = {}
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def artifacts(run: Path) -> dict[str, Any]:
    """The artifacts logged, as wandb's own messages, by type."""
    records = [record.artifact for record in wandb_records(run) if record.WhichOneof("record_type") == "artifact"]
    return {artifact.type: artifact for artifact in records}
