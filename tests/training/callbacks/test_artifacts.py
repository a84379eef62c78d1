"""The dashboard of a training: manifest and checkpoint as artifacts, the best epoch, learning rate and speed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.resgat import ResGAT

from ...helpers.command import metrics, wandb_history, wandb_records
from ...helpers.wandb_runs import artifacts, best_of, logged, summary

pytestmark = pytest.mark.long

MACHINE = re.compile(r"/(tmp|home|root|usr|work)/")


@pytest.fixture(scope="module")
def trained(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs with artifacts."""
    root = tmp_path_factory.mktemp("trained")
    few = ("--trainer.max_epochs", 2, "--trainer.limit_train_batches", 4)
    done = logged("fit", root, ffpp_crops, *few, "--artifacts.send", "true")
    assert done.status == 0, done.errors
    return root


def downloaded(artifact: Any, folder: Path) -> Path:
    """The one file of an artifact, under the name that it has there."""
    (entry,) = artifact.manifest.contents
    return Path(shutil.copyfile(entry.local_path, folder / entry.path))


def test_the_manifest_is_an_artifact_without_pictures(trained: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    found = artifacts(trained)["dataset"]
    assert found.name == f"crops-{ffpp_crops.name}"
    file = downloaded(found, tmp_path)
    assert file.name == "manifest.parquet"
    sent, here = Manifest.read(file), Manifest.read(ffpp_crops)
    assert (sent.fingerprint(), sent.split_fingerprint()) == (here.fingerprint(), here.split_fingerprint())
    about = json.loads(found.metadata)
    assert about["manifest"] == here.fingerprint()
    assert about["counts"]["train"] == here.counts()["train"]._asdict()
    assert not MACHINE.search(found.metadata)
    assert not MACHINE.search(file.read_bytes().decode(errors="replace"))


def test_the_best_checkpoint_is_an_artifact_with_its_provenance(trained: Path, tmp_path: Path) -> None:
    found = artifacts(trained)["model"]
    assert set(found.aliases) == {"latest", "best"}
    file = downloaded(found, tmp_path)
    assert file.name == "model.safetensors"
    best = trained / "checkpoints" / "best.ckpt"
    sent, here = read_file(file), read_file(best)
    assert torch.equal(sent["state_dict"]["net.head.weight"], here["state_dict"]["net.head.weight"])
    assert sent["resgat"]["thresholds"] == here["resgat"]["thresholds"]
    assert ResGAT.load(file).config == ResGAT.load(best).config
    assert "optimizer_states" not in sent
    about = json.loads(found.metadata)
    assert about["monitor"] == "val/video_auroc"
    assert about["best"] == pytest.approx(summary(trained)["best/val/video_auroc"])
    assert about["provenance"]["data"]["splits"] == here["provenance"]["data"]["splits"]
    assert not MACHINE.search(found.metadata)
    assert not MACHINE.search(json.dumps(sent["provenance"]["config"]))


def test_the_summary_is_of_the_best_epoch(trained: Path) -> None:
    kinds = best_of(trained)
    assert kinds["val/video_auroc"] == kinds["val/frame_f1_fake"] == {"max"}
    assert kinds["val/loss"] == kinds["val/video_ece"] == kinds["val/frame_log_loss"] == {"min"}
    found = summary(trained)
    epoch = read_file(trained / "checkpoints" / "best.ckpt")["epoch"]
    assert found["best/epoch"] == epoch
    validated = [step for step in wandb_history(trained) if "val/loss" in step]
    best = next(step for step in validated if step["epoch"] == epoch)
    for name in ("val/loss", "val/video_auroc", "val/frame_balanced_accuracy"):
        assert found[f"best/{name}"] == pytest.approx(best[name])
    assert found["best/val/video_auroc"] == max(step["val/video_auroc"] for step in validated)


def test_rates_and_speed_are_on_the_dashboard_at_every_step(trained: Path) -> None:
    found = [step for step in wandb_history(trained) if "train/crops_per_second" in step]
    losses = [step["trainer/global_step"] for step in wandb_history(trained) if "train/loss" in step]
    assert [step["trainer/global_step"] for step in found] == losses
    assert len(found) > 4
    assert {step["train/learning_rate"] for step in found} == {1e-3}
    assert all(step["train/crops_per_second"] > 0 for step in found)
    assert all(0 <= step["train/data_wait"] <= 1 for step in found)
    assert not {"train/crops_per_second", "train/learning_rate"} & set(metrics(trained))


@pytest.mark.parametrize("more", [(), ("--artifacts.send", "true", "--private")])
def test_nothing_is_sent_unless_asked_for(more: tuple[str, ...], ffpp_crops: Path, tmp_path: Path) -> None:
    limits = ("--trainer.limit_train_batches", 1, "--heatmaps.log_images", "false")
    assert logged("fit", tmp_path, ffpp_crops, *limits, *more).status == 0
    assert artifacts(tmp_path) == {}
    assert any(record.WhichOneof("record_type") == "history" for record in wandb_records(tmp_path))
    assert "best/val/loss" in summary(tmp_path)  # numbers
