from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from resgat_pl.cli.main import main
from resgat_pl.cli.nets import named_net, reading_for, with_class, with_class_paths
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.logit_net import LogitNet
from resgat_pl.nn.nets import load_net
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

from ..helpers.command import TINY
from ..helpers.other_nets import Blocks, Plain
from ..helpers.tiny_runs import tiny

POOLED = class_path(PooledClassifier)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flat.yaml").write_text("net: {encoder: resnet18, heads: 2}\n")
    Path("pooled.yaml").write_text("net: {class_path: PooledClassifier, init_args: {head: mlp}}\n")
    Path("broken.yaml").write_text("net: [\n")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["--net.heads", "2"], None),
        (["--config", "flat.yaml"], None),
        (["--config", "broken.yaml", "--config=gone.yaml"], None),
        (["--net", "options.yaml"], None),
        (["--net", "{heads: 2}"], None),
        (["--net", "resgat_pl.nn.PooledClassifier"], PooledClassifier),
        (["--net=PooledClassifier", "--config", "flat.yaml"], PooledClassifier),
        (["--config", "pooled.yaml"], PooledClassifier),
        (["--config=pooled.yaml", "--net.class_path", "LogitNet"], LogitNet),
        (["--config=pooled.yaml", "--net", "{class_path: ResGAT}"], ResGAT),
    ],
)
def test_the_last_class_named_counts(configs: None, words: list[str], kind: type | None) -> None:
    assert named_net(["fit", *words]) is kind


def test_options_without_a_class_go_to_the_class_named() -> None:
    flat = {"net": {"encoder": "resnet18", "heads": 2}, "data": {"image_size": 64}}
    assert with_class(flat) == flat
    with reading_for(PooledClassifier):
        assert with_class(flat)["net"] == {"class_path": POOLED, "init_args": {"encoder": "resnet18"}}
        assert with_class(flat)["data"] == flat["data"]
        named = {"net": {"class_path": "LogitNet", "init_args": {"module": "a.B"}}}
        assert with_class(named)["net"] == {"class_path": class_path(LogitNet), "init_args": {"module": "a.B"}}
        assert with_class({"heads": 2}) == {"heads": 2}
        assert with_class("text") == "text"
    assert with_class_paths(["--net", "PooledClassifier", "--net=a.yaml", "--net.head", "mlp"]) == [
        *("--net", POOLED, "--net=a.yaml", "--net.head", "mlp"),
    ]


class Derived(PooledClassifier):
    def __init__(self, extra: int = 1, **options: Any) -> None:
        super().__init__(**options)


def test_no_option_is_lost() -> None:
    """What is misspelt is there to be refused, and what a class hands on to its base is taken."""
    with reading_for(PooledClassifier):
        options = with_class({"net": {"encoder": "resnet18", "poolling": "cls", "heads": 2}})["net"]["init_args"]
    assert options == {"encoder": "resnet18", "poolling": "cls"}
    with reading_for(Derived):
        options = with_class({"net": {"encoder": "resnet18", "extra": 2, "heads": 2}})["net"]["init_args"]
    assert options == {"encoder": "resnet18", "extra": 2}


def test_mistakes(capfd: pytest.CaptureFixture[str], ffpp_crops: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean PooledClassifier"):
        named_net(["fit", "--net", "PooledClasifier"])
    for words, says in (
        (["--net", "no_such_package.Net"], "module no_such_package cannot be imported"),
        (["--net", class_path(Plain)], "is no class derived from resgat_pl.nn.detector_net.DetectorNet"),
        (["--net", "PooledClassifier", "--net.heads", "3"], "heads"),
        (["--net", "PooledClassifier", "--net.pooling", "max"], "pooling"),
        (["--net", "PooledClassifier", "--net.encoder=resnet18", "--net.pooling=cls"], "has no class token"),
        (["--net", "PooledClassifier", "--net.encoder=resnet18", "--model.mask_loss_weight=1"],
         "model.mask_loss_weight is 1.0, but net is a PooledClassifier"),
    ):  # fmt: skip
        done = tiny("fit", tmp_path, ffpp_crops, *words)
        assert done.status == 2
        assert says in done.errors, done.errors
        assert done.errors.count("\n") < 6


def test_help_shows_the_options_of_resgat(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "--net.attention" in printed
    assert "class path such as resgat_pl.nn.PooledClassifier" in printed
    assert "--crops FOLDER Short for --data.crops." in printed


RUNS: dict[str, tuple[Any, ...]] = {
    "PooledClassifier": ("--net", "PooledClassifier", "--net.head", "mlp", "--net.train", "norms"),
    "LogitNet": ("--net", "LogitNet", "--net.module", class_path(Plain), "--net.arguments", "{flat: true}"),
    "of somebody else": ("--net", class_path(Blocks), "--net.width", 3),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", RUNS)
def test_any_detector_trains_resumes_and_tests(kind: str, ffpp_crops: Path, tmp_path: Path) -> None:
    few = ("--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 6)
    assert (done := tiny("fit", tmp_path, ffpp_crops, *RUNS[kind], *few)).status == 0, done.errors
    config = yaml.safe_load((tmp_path / "config.yaml").read_text()) if (tmp_path / "config.yaml").exists() else None
    best = tmp_path / "checkpoints" / "best.ckpt"
    entry = read_file(best)["resgat"]
    assert entry["net"]["init_args"]["image_size"] == 64
    assert set(entry["thresholds"]) == {"frame", "video"}
    net = load_net(best)
    assert net(torch.zeros(2, 3, 64, 64)).logit.shape == (2,)
    assert (tmp_path / "heatmaps" / "epoch-000.png").is_file()
    saved = ("--config", tmp_path / "config.yaml") if config else RUNS[kind]
    done = tiny("fit", tmp_path, ffpp_crops, *saved, *few, "--ckpt_path", "last", "--trainer.max_epochs", 2)
    assert done.status == 0, done.errors
    assert read_file(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 1
    for command in ("validate", "test", "predict"):
        done = tiny(command, tmp_path, ffpp_crops, *saved, "--ckpt_path", best)
        assert done.status == 0, done.errors
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", best)
    assert done.status == 2
    assert "The checkpoint holds another network: net is" in done.errors


@pytest.mark.long
def test_a_named_resgat_is_the_same_as_always(ffpp_crops: Path, tmp_path: Path) -> None:
    few = ("--trainer.limit_train_batches", 2, "--heatmaps.faces", 0)
    found = []
    for name, words in (("flat", ()), ("named", ("--net", "resgat_pl.nn.ResGAT"))):
        assert tiny("fit", tmp_path / name, ffpp_crops, *few, *words).status == 0
        found.append(read_file(tmp_path / name / "checkpoints" / "last.ckpt"))
    flat, named = found
    assert flat["resgat"]["net"] == named["resgat"]["net"]
    assert all(torch.equal(value, named["state_dict"][name]) for name, value in flat["state_dict"].items())
    assert yaml.safe_load(TINY.read_text())["net"]["heads"] == named["resgat"]["net"]["heads"]
