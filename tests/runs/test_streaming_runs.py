"""Training and testing on shards: in two processes, and resumed in the middle of an epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.training.module import ResGATModule

from ..helpers.command import TINY, resgat
from ..helpers.tiny_runs import tiny

pytestmark = pytest.mark.long


def test_two_processes_on_shards_score_as_one_on_files(ffpp_crops: Path, shard_crops: Path, tmp_path: Path) -> None:
    two = ("--trainer.strategy", "ddp", "--trainer.devices", 2, "--trainer.logger", "false", "--heatmaps.faces", 2)
    run = ("--config", TINY, "--data.crops", shard_crops, "--trainer.default_root_dir", tmp_path, *two)
    printed = resgat("fit", *run, "--data.num_workers", 1)
    assert "IterableDataset" not in printed  # Lightning has nothing to warn of
    best = tmp_path / "checkpoints" / "best.ckpt"
    resgat("test", *run, "--ckpt_path", best)
    one = tiny("test", tmp_path / "files", ffpp_crops, "--ckpt_path", best)
    assert one.status == 0, one.errors
    pair, single = (json.loads((path / "results.json").read_text()) for path in (tmp_path, tmp_path / "files"))
    assert pair["thresholds"] == single["thresholds"] is not None
    assert len(pair["scores"]) == len(single["scores"]) >= 2
    for mine, other in zip(pair["scores"], single["scores"], strict=True):
        assert (mine["level"], mine["method"]) == (other["level"], other["method"])
        for name, values in mine["values"].items():
            assert values == pytest.approx(other["values"][name], abs=1e-6), name


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_within_an_epoch_is_the_run_that_was_not_stopped(
    shard_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    seen: list[tuple[int, list[int], float]] = []
    original = ResGATModule.training_step

    def note(self: ResGATModule, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = original(self, batch, batch_idx)
        seen.append((batch_idx, batch["row"].tolist(), float(loss.detach())))
        return loss

    monkeypatch.setattr(ResGATModule, "training_step", note)
    options = ("--data.batch_size", 8, "--data.num_workers", workers, "--trainer.limit_val_batches", 0,
               "--data.shuffle_buffer", 20, "--checkpoint.monitor", "null", "--early_stopping.monitor", "train/loss",
               "--early_stopping.mode", "min", "--checkpoint.save_on_train_epoch_end", "false",
               "--checkpoint.every_n_train_steps", 3, "--checkpoint.save_top_k", -1,
               "--checkpoint.filename", "{step}", "--checkpoint.auto_insert_metric_name", "false")  # fmt: skip
    whole = tiny("fit", tmp_path / "whole", shard_crops, *options, "--trainer.max_epochs", 2)
    assert whole.status == 0, whole.errors
    expected, seen[:] = list(seen), []
    rows = np.flatnonzero(Manifest.read(shard_crops).column("split") == "train")
    steps = len(expected) // 2
    assert steps > 6
    for epoch in range(2):
        taken = [row for _, batch, _ in expected[epoch * steps : (epoch + 1) * steps] for row in batch]
        assert sorted(taken) == rows.tolist()

    step = 3 if workers else steps // 3 * 3 + 3  # in the first epoch, with the second after it; and in the second
    (checkpoint,) = (tmp_path / "whole" / "checkpoints").rglob(f"{step}.ckpt")
    resumed = tiny("fit", tmp_path / "resumed", shard_crops, *options, "--trainer.max_epochs", 2,
                   "--ckpt_path", checkpoint)  # fmt: skip
    assert resumed.status == 0, resumed.errors
    assert not [message for message in resumed.warned if "not resumable" in message]
    assert seen == expected[step:]
