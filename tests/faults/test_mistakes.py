"""Mistakes of a user: the message names the right word, paths are looked at first, and who wins is said."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.callbacks.heatmaps import Heatmaps
from resgat_pl.training.checkpoints.config_diff import compare_configs
from resgat_pl.training.checkpoints.recovery import Recovery
from resgat_pl.training.checks import _logged
from resgat_pl.training.module import ResGATModule

from ..helpers.command import CONF, TINY
from ..helpers.tiny_runs import tiny, untrained

pytestmark = pytest.mark.timeout(2000)
Tries = Callable[[int, int], int]
EXPERIMENTS = CONF.parent.parent / "experiments"


def refused(*arguments: object) -> str:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert main([str(argument) for argument in arguments]) == 2
    assert errors.getvalue().startswith("resgat: error: ")
    return errors.getvalue()


FIT = ("fit", "--config", TINY)
MISSPELT = [
    ((*FIT, "--modle.pos_weight", 2), "Did you mean --model.pos_weight?"),
    ((*FIT, "--data.bath_size", 2), "Did you mean --data.batch_size?"),
    ((*FIT, "--model.optimizer.init_args.lrr", 2), "Did you mean lr?"),
    ((*FIT, "--net.attention", "gatv3"), "Did you mean gatv2?"),
    ((*FIT, "--data.split", "resgat_pl.data.splits.StrictSplt"), "splits.StrictSplit?"),
    ((*FIT, "--data.split", "StrictSplt"), "splits.StrictSplit?"),
    ((*FIT, "--data.layout", "resgat_pl.data.layouts.FFP"), "layouts.FFPP?"),
    ((*FIT, "--model.optimizer", "torch.optim.Adm"), "Did you mean torch.optim.Adam?"),
    ((*FIT, "--data.batch_size", "many"), "Expected a int. Got value: many"),
    ((*FIT, "--trainer.max_epochs", "soon"), "Expected a int - Expected a NoneType Given value: soon"),
    (("fit", "--config", "absent.yaml"), "absent.yaml"),
    (("extract", "a", "b", "--engne", "dask"), "Did you mean --engine?"),
    (("extract", "a", "b", "--engine", "dusk"), "Did you mean dask?"),
    (("extract", "a", "b", "--extraction.frmes", "3"), "Did you mean frames?"),
    (("extract", "a", "b", "--extraction.frames", "eight"), "eight"),
    (("synth", "a", "--layout", "ffp"), "Did you mean ffpp?"),
    (("cross", "--ckpt_path", "a", "--crops", "b", "--split", "StrictSplt"), "splits.StrictSplit?"),
    (("explain", "b", "--ckpt_path", "a", "--frmes", "3"), "Did you mean --frames?"),
    (("reproduce", "t", "--protcol", "strict"), "Did you mean --protocol?"),
    (("robustness", "--ckpt_path", "a", "--kindz", "jpeg"), "Did you mean --kinds?"),
    (("extract",), "required: root, out"),
]
IN_FILES = {
    "data: {bath_size: 4}": "'data.bath_size'. Did you mean data.batch_size?",
    "modle: {pos_weight: 4}": "Did you mean model.pos_weight?",
    "data: {split: {class_path: resgat_pl.data.splits.StrictSplt}}": "StrictSplit?",
    "data: {split: {class_path: resgat_pl.data.splits.StrictSplit, init_args: {vl: 0.1}}}": "Did you mean val?",
    "data: {extraction: {frmes: 4}}": "Did you mean frames?",
    "net: {attention: gatv22}": "Did you mean gatv2?",
    "model: {optimizer: {class_path: torch.optim.AdamW, init_args: {lrr: 1}}}": "Did you mean lr?",
    "trainer: {precison: 32}": "Did you mean trainer.precision?",
}


@pytest.mark.parametrize("kind", ["misspelt option or value", "misspelt key or value in a file"])
def test_what_is_misspelt(kind: str, tmp_path: Path, ledger: Any, tries: Tries) -> None:
    chosen: list[tuple[tuple[object, ...], tuple[str, ...]]] = [(given, (hint,)) for given, hint in MISSPELT]
    if kind.endswith("file"):
        chosen = []
        for number, (text, hint) in enumerate(IN_FILES.items()):
            file = tmp_path / f"{number}.yaml"
            file.write_text(text)
            chosen.append(((*FIT, "--config", file), (hint, str(file))))
    chosen = chosen[:: tries(2, 1)]
    for arguments, hints in chosen:
        reported = refused(*arguments)
        assert all(hint in reported for hint in hints), reported
        assert len(reported) < 600
    ledger(kind, tries=len(chosen), lost=0, recovered=len(chosen))


NUMBERS = {
    ("--checkpoint.monitor", "val/video_aurocc"): "which training does not log. Did you mean val/video_auroc?",
    ("--early_stopping.monitor", "typo"): "There are: val/frame_auroc, ",
    ("--checkpoint.monitor", "val/loss"): "set --checkpoint.mode min",
    ("--early_stopping.monitor", "val/video_eer"): "set --early_stopping.mode min",
    ("--checkpoint.monitor", "train/mask_loss"): "Did you mean train/loss?",
    ("--checkpoint.save_on_exception", "true"): "in the place of the best ones",
    ("--checkpoint.filename", "last"): "choose another",
    ("--early_stopping.patience", -1): "early_stopping.patience is -1",
    ("--heatmaps.every_n_epochs", 0): "heatmaps.every_n_epochs 0",
    ("--heatmaps.faces", -2): "heatmaps.faces is -2",
    ("--seed_everything", -1): "seed_everything cannot be used: -1 is not in bounds",
    ("--data.seed", -1): "data.seed is -1",
    ("--data.video_timeout", 0): "data.video_timeout is 0",
    ("--data.extract_jobs", 0): "data.extract_jobs is 0",
    ("--recovery.every_steps", 0): "every_steps 0",
    ("--model.pos_weight", 0): "model.pos_weight is 0",
    ("--model.lr_batch", 0): "model.lr_batch is 0",
    ("--trainer.accumulate_grad_batches", 0): "trainer.accumulate_grad_batches is 0",
    ("--trainer.check_val_every_n_epoch", 0): "set trainer.limit_val_batches to 0",
    ("--trainer.val_check_interval", 0.0): "set trainer.limit_val_batches to 0",
    ("--trainer.gradient_clip_val", -0.5): "trainer.gradient_clip_val is -0.5",
    ("--trainer.max_epochs", -7): "You passed in -7",
    ("--trainer.precision", "bf16-true"): "set 32, or bf16-mixed",
    ("--trainer.precision", "16-true"): "set 32, or bf16-mixed",
    ("--trainer.precision", "transformer-engine"): "set 32, or bf16-mixed",
}


def test_values_that_would_fail_late(
    ffpp_crops: Path, tmp_path: Path, ledger: Any, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is refused before training begins."""
    monkeypatch.setattr("resgat_pl.cli.train.ResGATCLI._run_subcommand", _computes)
    chosen = dict(list(NUMBERS.items())[:: tries(5, 1)])
    fit = ("fit", "--config", TINY, "--data.crops", ffpp_crops, "--trainer.default_root_dir", tmp_path)
    for option, hint in chosen.items():
        reported = refused(*fit, "--trainer.logger", "false", *option)
        assert hint in reported, (option, reported)
    ledger("value that would fail after hours", tries=len(chosen), lost=0, recovered=len(chosen))


NAN = float("nan")
OUT_OF_RANGE: list[tuple[Callable[..., object], dict[str, Any]]] = [
    *[(Heatmaps, {name: value}) for name, value in (("faces", -1), ("every_n_epochs", 0), ("every_n_epochs", -1))],
    *[(FaceDataModule, {name: value}) for name, value in (
        ("batch_size", 0), ("image_size", 0), ("num_workers", -1), ("extract_jobs", 0), ("seed", -1),
        ("shuffle_buffer", 0), ("video_timeout", 0), ("video_timeout", -1), ("video_timeout", NAN),
    )],
    *[(ResGATModule, {name: value}) for name, value in (
        ("lr_batch", 0), ("lr_batch", -1), ("pos_weight", 0), ("pos_weight", -1), ("pos_weight", NAN),
        ("mask_loss_weight", -1), ("mask_loss_weight", NAN), ("mask_loss_weight", float("inf")),
    )],
    *[(ResGAT, {name: value}) for name, value in (
        ("heads", 0), ("hidden", 0), ("dropout", -0.1), ("dropout", 1), ("dropout", NAN),
        ("image_size", 10_000), ("encoder_stage", 5),
    )],
    *[(Recovery, {name: value}) for name, value in (
        ("every_minutes", 0), ("every_minutes", -1), ("every_steps", 0), ("every_steps", -1),
    )],
]  # fmt: skip


def test_numbers_that_the_parts_refuse(tmp_path: Path) -> None:
    """Also in Python, where no parser looks at them first."""
    needed = {FaceDataModule: {"crops": tmp_path}, ResGAT: {"encoder": "resnet18", "heads": 1, "hidden": 2}}
    net = ResGAT("gatv2", "resnet18", heads=1, hidden=2)
    for part, values in OUT_OF_RANGE:
        given = {"net": net} if part is ResGATModule else needed.get(part, {})
        with pytest.raises(ConfigError, match=next(iter(values))):
            pytest.fail(f"{part} took {values}: {part(**{**given, **values})}")


def test_what_can_be_monitored_is_what_training_logs(
    ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: set[str] = set()
    config = Namespace(model=Namespace(mask_loss_weight=0.1))
    monkeypatch.setattr(ResGATModule, "on_fit_end", lambda self: logged.update(self.trainer.callback_metrics))
    short = ("--trainer.limit_train_batches", 1, "--model.mask_loss_weight", 0.1, "--heatmaps.faces", 0)
    done = tiny("fit", tmp_path, ffpp_crops, *short)
    assert done.status == 0, done.errors
    assert logged == set(_logged(config))
    assert not list(tmp_path.rglob("heatmaps"))


@pytest.fixture(scope="module")
def checkpoint(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("ckpt") / "net.ckpt", ffpp_crops)


@pytest.mark.long
def test_paths_are_looked_at_first(checkpoint: Path, ffpp_crops: Path, ffpp_root: Path, tmp_path: Path, ledger: Any,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Inputs that are not there, and a file in the place of each folder for results, which stops root as well."""
    monkeypatch.setattr("resgat_pl.evaluation.predict.score", _computes)
    monkeypatch.setattr("resgat_pl.evaluation.cross_dataset.score", _computes)
    monkeypatch.setattr("resgat_pl.evaluation.robustness.score", _computes)
    monkeypatch.setattr("resgat_pl.explain.benchmark.prepare.score", _computes)
    monkeypatch.setattr("resgat_pl.reproduce.runs._resgat", _computes)
    monkeypatch.setattr("resgat_pl.export.command.trace", _computes)
    monkeypatch.setattr("resgat_pl.explain.report.command.FaceFinder", _computes)
    absent = tmp_path / "absent"
    file = tmp_path / "file"
    file.touch()
    blocked = file / "out"
    video = next(ffpp_root.rglob("*.mp4"))
    table, figures = EXPERIMENTS / "table1.yaml", EXPERIMENTS / "figures.yaml"
    monkeypatch.setenv("DFDC_ROOT", str(absent))
    monkeypatch.setenv("FFPP_ROOT", str(ffpp_root))
    fit = ("fit", "--config", TINY, "--data.crops", ffpp_crops, "--trainer.logger", "false")
    commands: dict[tuple[object, ...], object] = {
        (*fit, "--trainer.default_root_dir", blocked): file,
        (*fit, "--trainer.default_root_dir", tmp_path, "--checkpoint.dirpath", blocked): file,
        (*fit, "--trainer.default_root_dir", "s3://bucket/runs"): "s3://bucket/runs",
        (*fit, "--trainer.default_root_dir", tmp_path, "--checkpoint.dirpath", "s3://bucket/a"): "s3://bucket/a",
        (*fit, "--trainer.default_root_dir", tmp_path, "--data.root", absent): absent,
        (*fit, "--trainer.default_root_dir", tmp_path, "--net.weights", absent): absent,
        (*fit, "--trainer.default_root_dir", tmp_path, "--ckpt_path", absent): absent,
        (*fit[:3], "--data.crops", absent, "--trainer.default_root_dir", tmp_path): absent,
        ("extract", ffpp_root, blocked): file,
        ("extract", absent, tmp_path / "out"): absent,
        ("synth", blocked): file,
        ("cross", "--ckpt_path", checkpoint, "--crops", ffpp_crops, "--out", blocked): file,
        ("cross", "--ckpt_path", checkpoint, "--crops", f"{ffpp_crops},{absent}"): absent,
        ("cross", "--ckpt_path", f"{checkpoint},{absent}", "--crops", ffpp_crops): absent,
        ("robustness", "--ckpt_path", checkpoint, "--out", blocked): file,
        ("robustness", "--ckpt_path", absent): absent,
        ("robustness", "--ckpt_path", checkpoint, "--crops", absent): absent,
        ("benchmark-explainers", "--ckpt_path", checkpoint, "--crops", ffpp_crops, "--out", blocked): file,
        ("benchmark-explainers", "--ckpt_path", checkpoint, "--crops", absent): absent,
        ("explain", video, "--ckpt_path", checkpoint, "--out", blocked): file,
        ("explain", absent, "--ckpt_path", checkpoint): absent,
        ("explain", video, "--ckpt_path", absent): absent,
        ("export", "--ckpt_path", checkpoint, "--out", blocked / "net.onnx"): file,
        ("export", "--ckpt_path", absent, "--out", tmp_path / "net.onnx"): absent,
        ("export", "--ckpt_path", checkpoint, "--out", tmp_path / "a.onnx", "--int8", "--calibration",
         absent): absent,
        ("reproduce", table, "--out", blocked, "--rows", "ffpp_gatv1"): file,
        ("reproduce", absent): absent,
        ("reproduce", table, "--out", tmp_path / "t"): absent,
        ("reproduce", table, "--out", tmp_path / "t", "--rows", "ffpp_gatv1", "--overrides",
         json.dumps([f"--config={absent}"])): absent,
        ("figures", figures, "--out", blocked): file,
        ("figures", figures, "--table_out", blocked): file,
        ("check", absent): absent,
    }  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    for arguments, named in commands.items():
        reported = refused(*arguments)
        assert str(named) in reported, (arguments, reported)
    assert [path for path in tmp_path.rglob("*") if path not in before and path.is_file()] == []
    ledger("input missing, or no place for results", tries=len(commands), lost=0, recovered=len(commands))


def _computes(*arguments: Any, **options: Any) -> Any:
    raise AssertionError("the work began")


@pytest.mark.long
def test_a_changed_configuration_says_which_value_counts(ffpp_crops: Path, tmp_path: Path, ledger: Any,
                                                         caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    short = ("--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 0)
    assert tiny("fit", tmp_path / "a", ffpp_crops, *short).status == 0
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    changed = (*short, "--ckpt_path", last, "--trainer.max_epochs", 2)
    reported = "model.optimizer.init_args.lr is 0.5 here and 0.001 in the checkpoint: the checkpoint's counts"
    caplog.set_level("INFO")
    done = tiny("fit", tmp_path / "b", ffpp_crops, *changed, "--model.optimizer.init_args.lr", 0.5, "--data.seed", 3)
    assert done.status == 0, done.errors
    assert reported in caplog.text
    assert "data.seed is 3 here and 0 in the checkpoint: the configuration's counts" in caplog.text
    assert "trainer.max_epochs is 2 here and 1 in the checkpoint: the configuration's counts" in caplog.text
    resumed = read_file(tmp_path / "b" / "checkpoints" / "last.ckpt")
    assert resumed["optimizer_states"][0]["param_groups"][0]["lr"] == 0.001  # as it was said
    caplog.clear()
    assert tiny("fit", tmp_path / "c", ffpp_crops, *changed).status == 0
    assert "model." not in caplog.text
    done = tiny("fit", tmp_path / "d", ffpp_crops, *changed, "--net.heads", 4)
    assert done.status == 2
    assert "heads is 2 there and 4 here" in done.errors
    done = tiny("fit", tmp_path / "e", ffpp_crops, *changed, "--model.optimizer", "torch.optim.SGD")
    assert done.status == 2
    assert "model.optimizer.class_path is torch.optim.SGD here and torch.optim.Adam in the checkpoint" in done.errors
    done = tiny("fit", tmp_path / "f", ffpp_crops, "--ckpt_path", tmp_path / "b" / "checkpoints" / "last.ckpt",
                "--trainer.max_epochs", 0)  # fmt: skip
    assert done.status == 2
    assert "Raise --trainer.max_epochs" in done.errors
    ledger("changed configuration with an old checkpoint", tries=6, lost=0, recovered=6)


def test_weights_that_are_no_checkpoint(checkpoint: Path, ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    content = read_file(checkpoint)
    wrong = {
        "ResGAT.from_published": {"conv.weight": torch.zeros(2)},
        "no checkpoint of resgat fit": {name: content[name] for name in content if name != "pytorch-lightning_version"},
        "83 missing": {**content, "state_dict": {}},
        "1 entry that is no tensor (net.a)": {**content, "state_dict": {**content["state_dict"], "net.a": 1}},
        "has thresholds 'high'": {**content, "resgat": {**content["resgat"], "thresholds": "high"}},
        "has the temperature 'nan'": {**content, "resgat": {**content["resgat"], "temperature": NAN}},
    }
    path = tmp_path / "model_weights.pth"
    for hint, changed in wrong.items():
        torch.save(changed, path)
        done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", path)
        assert done.status == 2
        assert hint in done.errors, done.errors
    done = tiny("fit", tmp_path, ffpp_crops, "--ckpt_path", checkpoint)
    assert done.status == 2
    assert "no state of the optimiser" in done.errors
    ledger("weights of something else as checkpoint", tries=len(wrong) + 1, lost=0, recovered=len(wrong) + 1)


def test_what_differs_in_a_test() -> None:
    here, there = "net: {heads: 2}\ndata: {image_size: 64, num_workers: 3}\nmodel: {optimizer: {class_path: A}}", (
        "net: {heads: 2}\ndata: {image_size: 32}\nmodel: {optimizer: {class_path: B}}")  # fmt: skip
    assert compare_configs(here, there, "test") == [
        "data.image_size is 64 here and 32 in the checkpoint: the configuration's counts"
    ]
    with pytest.raises(WeightsError, match="its state does not fit"):
        compare_configs(here, there, "fit")
    assert compare_configs(here, "", "fit") == compare_configs(here, "}{", "fit") == []
