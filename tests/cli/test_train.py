"""fit, test and predict through the command line, in one process."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from resgat_pl import ResGAT
from resgat_pl.cli.main import main
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.binary import METRICS
from resgat_pl.explain.face_set import choose_faces, explain_faces, measure
from resgat_pl.explain.regions import REGIONS
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.training.module import ResGATModule

from ..helpers.command import CONF, TINY, metrics, resgat, wandb_history, wandb_records
from ..helpers.tiny_runs import tiny, variant

OVERLAYS = {name: CONF.parent.parent / "configs" / f"{name}.yaml" for name in ("paper_faithful", "corrected")}
PAPER = ("--data.split", "resgat_pl.data.splits.PaperSplit")


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def run(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of the tiny detector, then a test of its best checkpoint."""
    root = tmp_path_factory.mktemp("run")
    resgat("fit", "--config", TINY, "--data.crops", ffpp_crops, "--trainer.default_root_dir", root,
           "--trainer.max_epochs", 2)  # fmt: skip
    resgat("test", "--config", root / "config.yaml", "--ckpt_path", root / "checkpoints" / "best.ckpt")
    return root


def test_fit_leaves_checkpoints_metrics_and_heatmaps(run: Path) -> None:
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    values = metrics(run)
    for level in ("frame", "video"):
        for name in METRICS:
            assert values[f"val/{level}_{name}"] >= 0
            assert values[f"val/{level}_{name}"] <= (math.inf if name == "log_loss" else 1)
    assert math.isfinite(values["val/loss"])
    assert math.isfinite(values["train/loss"])
    for name in ("epoch-000", "epoch-001"):
        sheet = cv2.imread(str(run / "heatmaps" / f"{name}.png"))
        assert sheet is not None
        assert sheet.std() > 20
    assert (run / "test" / "heatmaps" / "test.png").is_file()
    assert not any(name.startswith("test/") for name in values)
    configs = [yaml.safe_load((run / part / "config.yaml").read_text()) for part in (".", "test")]
    assert [config["ckpt_path"] is None for config in configs] == [True, False]


def test_the_offline_wandb_run_holds_metrics_and_images(run: Path) -> None:
    (first,) = sorted((run / "wandb").glob("offline-run-*"))[:1]
    history = wandb_history(first)
    logged = {key for step in history for key in step}
    assert {"train/loss", "val/loss", "val/frame_auroc", "val/video_f1_real", "val/heatmaps"} <= logged
    values = {key: value for step in history for key, value in step.items()}
    assert values["val/video_auroc"] == pytest.approx(metrics(run)["val/video_auroc"])
    table = values["val/heatmaps"]
    assert table["_type"] == "table-file"
    content = json.loads((first / "files" / table["path"]).read_text())
    assert content["columns"] == ["face", "contribution", "attention", "label", "probability", "in words"]
    assert [row[3] for row in content["data"]] == ["real", "real", "fake", "fake"]
    # the table's images travel in an artifact
    artifact = next(r.artifact for r in wandb_records(first) if r.WhichOneof("record_type") == "artifact")
    paths = [entry.local_path for entry in artifact.manifest.contents if entry.path.endswith(".png")]
    pictures = [path for path in paths if "mask" not in path]
    assert len(pictures) >= 12  # 4 faces, 8 overlays
    assert all(cv2.imread(path) is not None for path in paths)
    faces = values["val/faces"]
    assert faces["_type"] == "images/separated"
    assert faces["count"] == 4
    assert all(cv2.imread(str(first / "files" / name)).std() > 5 for name in faces["filenames"])
    masks = [entry["manipulated"] for entry in faces["all_masks"] if entry]
    assert len(masks) == 2
    for mask in masks:
        assert set(np.unique(cv2.imread(str(first / "files" / mask["path"]), cv2.IMREAD_UNCHANGED))) <= {0, 1}


def explained(path: Path) -> list[dict[str, float]]:
    """Rows of ``metrics.csv`` that hold explanations, without empty fields."""
    table = [{name: float(value) for name, value in row.items() if value} for row in rows(path / "metrics.csv")]
    return [row for row in table if any("explain/" in name for name in row)]


def test_every_epoch_has_its_explanations_at_the_step_of_its_validation(run: Path) -> None:
    epochs = explained(run)
    assert [row["epoch"] for row in epochs] == [0, 1]
    steps = [float(row["step"]) for row in rows(run / "metrics.csv") if row["val/loss"]]
    assert [row["step"] for row in epochs] == steps
    for row in epochs:
        for suffix in ("", "_real"):
            parts = [row[f"explain/region{suffix}/{name.replace(' ', '_')}"] for name in REGIONS]
            total = math.fsum(parts) + row[f"explain/bias{suffix}"]
            assert total == pytest.approx(row[f"explain/logit{suffix}"], abs=1e-4)
    assert epochs[0]["explain/logit"] != epochs[1]["explain/logit"]


@pytest.mark.parametrize(("folder", "checkpoint", "prefix"), [(".", "last", ""), ("test", "best", "test/")])
def test_the_explanations_are_those_of_the_checkpoint(
    folder: str, checkpoint: str, prefix: str, run: Path, ffpp_crops: Path
) -> None:
    module = ResGATModule(ResGAT.load(run / "checkpoints" / f"{checkpoint}.ckpt"))
    faces = FaceDataModule(ffpp_crops, image_size=64).faces("test" if prefix else "val")
    expected = measure(explain_faces(module.net, faces, choose_faces(faces, 4)))
    logged = {name.removeprefix(prefix): value for name, value in metrics(run / folder).items()}
    assert {name for name in logged if name.startswith("explain/")} == set(expected)
    assert "explain/node_auroc" in expected
    for name, value in expected.items():
        assert logged[name] == pytest.approx(value, abs=2e-4 if "auroc" not in name else 0.05), name


def test_wandb_has_the_same_explanations_and_the_words(run: Path) -> None:
    first = sorted((run / "wandb").glob("offline-run-*"))[0]
    history = wandb_history(first)
    epochs = [step for step in history if "explain/region/mouth" in step]
    for mine, row in zip(epochs, explained(run), strict=True):
        assert mine["trainer/global_step"] == row["step"]
        for name in (name for name in row if name.startswith("explain/")):
            assert mine[name] == pytest.approx(row[name], abs=1e-6)
    tables = [step for step in history if "val/heatmaps" in step]
    assert [step["trainer/global_step"] for step in tables] == [row["trainer/global_step"] for row in epochs]
    table = json.loads((first / "files" / tables[-1]["val/heatmaps"]["path"]).read_text())
    words = table["columns"].index("in words")
    for row in table["data"]:
        probability = row[table["columns"].index("probability")]
        assert row[words].startswith("Fake, probability" if probability > 0.5 else "Real, probability of fake")


def test_predictions_agree_with_the_metrics(run: Path, ffpp_crops: Path) -> None:
    from sklearn.metrics import roc_auc_score

    folder = run / "test" / "predictions"
    tables = {name: rows(folder / f"{name}.csv") for name in ("frames", "tracks", "videos")}
    values = metrics(run / "test")
    for level, name in (("frame", "frames"), ("video", "videos")):
        label = [int(row["label"]) for row in tables[name]]
        probability = [float(row["probability"]) for row in tables[name]]
        assert values[f"test/{level}_auroc"] == pytest.approx(roc_auc_score(label, probability), abs=1e-6)
    manifest = Manifest.read(ffpp_crops)
    expected = set(manifest.column("crop_path")[manifest.column("split") == "test"])
    assert {row["crop_path"] for row in tables["frames"]} == expected
    assert len(tables["videos"]) == len(expected) // 3


def test_the_trained_model_in_python(run: Path, ffpp_crops: Path) -> None:
    net = ResGAT.load(run / "checkpoints" / "best.ckpt")
    row = rows(run / "test" / "predictions" / "frames.csv")[0]
    image = cv2.cvtColor(cv2.imread(str(ffpp_crops / row["crop_path"])), cv2.COLOR_BGR2RGB)
    with torch.no_grad():
        output = net(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert float(output.logit) == pytest.approx(float(row["logit"]), abs=1e-4)


@pytest.mark.long
def test_a_resumed_run_goes_on_in_the_same_wandb_run(run: Path, tmp_path: Path) -> None:
    before = set((run / "wandb").glob("offline-run-*"))
    resgat("fit", "--config", run / "config.yaml", "--ckpt_path", "last", "--trainer.max_epochs", 3)
    (resumed,) = set((run / "wandb").glob("offline-run-*")) - before
    first = sorted(before)[0]
    assert resumed.name.rpartition("-")[2] == first.name.rpartition("-")[2]
    epochs = {step["epoch"] for step in wandb_history(resumed) if "val/loss" in step}
    assert epochs == {2}  # the first two are not repeated


@pytest.mark.parametrize(
    ("command", "config"),
    [("validate", "tiny"), ("predict", "tiny")]  # fit and test: ``run``
    + [("fit", path.stem) for path in sorted(CONF.glob("*.yaml")) if path.stem not in {"tiny", "guided"}]
    + [pytest.param("fit", "guided", marks=pytest.mark.long)],
)
@pytest.mark.filterwarnings("default")  # Lightning advises on settings that a test has on purpose
def test_every_config_runs(config: str, command: str, ffpp_crops: Path, tmp_path: Path) -> None:
    arguments = [command, "--config", str(CONF / f"{config}.yaml"), "--data.crops", str(ffpp_crops)]
    assert main([*arguments, "--trainer.default_root_dir", str(tmp_path), "--trainer.fast_dev_run", "true"]) == 0


@pytest.mark.long
def test_guidance_trains_and_says_how_well(ffpp_crops: Path, tmp_path: Path) -> None:
    """Weight 0 is the paper's training; any other changes the weights and logs its loss."""
    states = []
    for weight in (0, 1):
        root = tmp_path / str(weight)
        guided = ("--config", CONF / "guided.yaml", "--data.crops", ffpp_crops, "--trainer.default_root_dir", root)
        resgat("fit", *guided, "--model.mask_loss_weight", weight)
        states.append(read_file(root / "checkpoints" / "last.ckpt")["state_dict"])
    logged = (row.get("train/mask_loss") for row in rows(tmp_path / "1" / "metrics.csv"))
    losses = [float(value) for value in logged if value]
    assert losses
    assert min(losses) > 0
    assert "train/mask_loss" not in (tmp_path / "0" / "metrics.csv").read_text()
    assert not torch.equal(states[0]["net.head.weight"], states[1]["net.head.weight"])


def test_guidance_needs_masks(ffpp_crops: Path, tmp_path: Path) -> None:
    blind = variant(ffpp_crops, tmp_path / "blind")
    table = Manifest.read(blind).table
    index = table.column_names.index("mask_path")
    table = table.set_column(index, table.schema.field(index), pa.nulls(len(table), pa.string()))
    Manifest(blind, table, {}).write()
    done = tiny("fit", tmp_path / "runs", blind, "--model.mask_loss_weight", 1)
    assert done.status == 2
    assert "has a mask" in done.errors


def leaves(tree: object, place: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every option that a configuration sets; what is below a class path belongs to its value."""
    if not isinstance(tree, dict) or "class_path" in tree:
        return {place}
    return set().union(*(leaves(value, (*place, key)) for key, value in tree.items()))


def test_the_two_overlays_set_the_same_options() -> None:
    faithful, corrected = (yaml.safe_load(path.read_text()) for path in OVERLAYS.values())
    assert leaves(faithful) == leaves(corrected)
    assert len(leaves(faithful)) == 10
    assert faithful != corrected


@pytest.mark.parametrize("name", ["paper_faithful", pytest.param("corrected", marks=pytest.mark.long)])
def test_the_overlays_train_the_tiny_detector(name: str, ffpp_crops: Path, tmp_path: Path) -> None:
    epochs = 2
    done = tiny("fit", tmp_path, ffpp_crops, "--config", OVERLAYS[name], "--trainer.max_epochs", epochs,
                "--trainer.limit_train_batches", 2, *(PAPER if name == "paper_faithful" else ()))  # fmt: skip
    assert done.status == 0, done.errors
    checkpoints = {path.stem: read_file(path) for path in (tmp_path / "checkpoints").iterdir()}
    assert checkpoints.keys() == {"best", "last"}
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["data"]["order"] == ("shuffled" if name == "paper_faithful" else "balanced")
    assert checkpoints["best"]["resgat"]["net"]["normalize"] == ("none" if name == "paper_faithful" else "imagenet")
    if name == "paper_faithful":  # no validation, nor a split for it: the last epoch is tested, at the threshold 0.5
        assert not (tmp_path / "heatmaps").exists()
        assert checkpoints["best"]["resgat"]["thresholds"] is None
        assert checkpoints["best"]["epoch"] == epochs - 1
        last = checkpoints["last"]["state_dict"]
        assert all(torch.equal(value, last[key]) for key, value in checkpoints["best"]["state_dict"].items())
        assert checkpoints["last"]["lr_schedulers"] == []
    else:
        assert set(checkpoints["best"]["resgat"]["thresholds"]) == {"frame", "video"}
        assert (tmp_path / "heatmaps" / "epoch-001.png").is_file()
        assert checkpoints["last"]["lr_schedulers"][0]["T_max"] == epochs
        assert checkpoints["last"]["lr_schedulers"][0]["_last_lr"] == pytest.approx([0])


def test_corrected_needs_a_validation_split(ffpp_crops: Path, tmp_path: Path) -> None:
    done = tiny("fit", tmp_path, ffpp_crops, "--config", OVERLAYS["corrected"], *PAPER)
    assert done.status == 2
    assert "The split 'val' has no real and no fake" in done.errors
