"""A package of its own adds one of each part (``tests/plugin``), is installed, and goes through the commands."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from resgat_pl.cli.main import main
from resgat_pl.core.parts import PartKind, class_path, find_part, group_of
from resgat_pl.data.manifest.table import Manifest

from .helpers.command import TINY, metrics, resgat
from .helpers.tiny_runs import tiny

PLUGIN = Path(__file__).parent / "plugin"
ENTRY_POINTS: dict[str, dict[str, str]] = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"][
    "entry-points"
]
KINDS: tuple[PartKind, ...] = get_args(PartKind)
CUT = ("--extraction.frames", 2, "--extraction.size", 64, "--extraction.detector", "centre")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed into."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source)  # the build leaves folders beside it
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, source], check=True, timeout=120)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find the package."""
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [before, str(site)])))


@pytest.fixture(scope="module")
def two_folders(ffpp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of a synthetic set in genuine/ and forged/, one fake of each."""
    root = tmp_path_factory.mktemp("two_folders")
    for folder, found in (("genuine", "original_sequences"), ("forged", "manipulated_sequences")):
        (root / folder).mkdir()
        for path in sorted((ffpp_root / found).rglob("*.mp4")):
            if "masks" not in path.parts and not (root / folder / path.name).exists():
                os.link(path, root / folder / path.name)
    return root


def test_the_package_adds_one_of_each_in_a_few_lines() -> None:
    assert {group_of(kind) for kind in KINDS} == set(ENTRY_POINTS)
    modules = list((PLUGIN / "resgat_example").glob("*.py"))
    assert len(modules) == len(KINDS) + 1
    assert max(len(path.read_text().splitlines()) for path in modules) < 40


@pytest.fixture
def here(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process finds the package, and forgets it afterwards."""
    from resgat_pl.explain import registry

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_entries", dict(registry._entries))
        patch.syspath_prepend(site)
        yield
    for module in [module for module in sys.modules if module.startswith("resgat_example")]:
        del sys.modules[module]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", KINDS)
def test_each_is_found_by_name_and_by_what_files_store(kind: PartKind) -> None:
    for name, value in ENTRY_POINTS[group_of(kind)].items():
        part = find_part(kind, name, object, {})
        assert find_part(kind, class_path(part), object, {}) is part
        assert class_path(part) == value.replace(":", ".")


@pytest.mark.usefixtures("installed")
def test_extraction_with_installed_parts(two_folders: Path, tmp_path: Path) -> None:
    printed = resgat("extract", two_folders, tmp_path / "crops", *CUT, "--split", "by_source", "--split.test", 0.3)
    assert "Traceback" not in printed
    manifest = Manifest.read(tmp_path / "crops")
    assert set(manifest.column("dataset")) == {"two_folders"}  # the layout is detected
    assert manifest.info["protocol"]["class_path"] == "resgat_example.split.BySource"
    detector = {"class_path": "resgat_example.face_detector.Centre", "init_args": {"share": 0.6}}
    assert manifest.info["extraction"]["face_detector"] == detector


def one_error(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The message of a command of this process, which does not have the package."""
    assert main([str(word) for word in words]) == 2
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    (message,) = [line for line in printed.splitlines() if line.startswith("resgat: error: ")]
    return message


@pytest.mark.long
@pytest.mark.usefixtures("installed")
@pytest.mark.timeout(900)  # five processes
def test_every_command_with_installed_parts_and_then_without(
    two_folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    crops, run = tmp_path / "crops", tmp_path / "run"
    resgat("extract", two_folders, crops, *CUT, "--layout", "two_folders")
    here = ("--data.crops", crops, "--trainer.default_root_dir", run, "--trainer.logger", "true")
    resgat(
        "fit", "--config", TINY, *here, "--net.encoder", "patches/32", "--net.encoder_stage", 3, "--net.head", "unit",
        "--data.split", "by_source", "--data.split.test", 0.3, "--data.augmentation", "holes",
        "--model.metrics", "[worst_rate]", "--checkpoint.monitor", "val/WorstRate",
    )  # fmt: skip
    assert 0 <= metrics(run)["val/WorstRate"] <= 1
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["augmentation"]["class_path"] == "resgat_example.augmentation.Holes"
    best = run / "checkpoints" / "best.ckpt"
    saved = ("--config", run / "config.yaml", "--ckpt_path", best)

    # The metric is that of the predictions, in the table and in results.json.
    resgat("test", *saved)
    results = json.loads((run / "test" / "results.json").read_text())
    with (run / "test" / "predictions" / "frames.csv").open() as file:
        called = [(int(row["label"]), float(row["probability"]) > 0.5) for row in csv.DictReader(file)]
    rates = [[fake == label for true, fake in called if true == label] for label in (0, 1)]
    expected = min(sum(right) / len(right) for right in rates)
    assert results["metrics"]["WorstRate"] == pytest.approx(expected)
    assert metrics(run / "test")["test/WorstRate"] == pytest.approx(expected)

    # The verdict uses the face detector and the encoder of the training, and the method has its place in the report.
    clip = next((two_folders / "forged").iterdir())
    explain = ("explain", clip, "--ckpt_path", best, "--frames", 2)
    printed = resgat(*explain, "--out", tmp_path / "explained", "--methods", "Contribution,feature_norm")
    assert "MTCNN" not in printed
    (report,) = (tmp_path / "explained").rglob("report.json")
    assert "FeatureNorm" in report.read_text()
    printed = resgat(
        "benchmark-explainers", "--ckpt_path", best, "--crops", crops, "--out", tmp_path / "board",
        "--methods", '["feature_norm","Contribution"]', "--faces", 4, "--slow_faces", 2, "--sanity_faces", 2,
    )  # fmt: skip
    assert "FeatureNorm" in printed

    # Without the package each command says what is missing, in one message.
    assert "No module named 'resgat_example'" in one_error(capfd, "test", *saved)
    assert "no encoder 'patches/32'" in one_error(capfd, *explain, "--out", tmp_path / "other")
    assert "no method 'feature_norm'" in one_error(capfd, *explain, "--methods", "feature_norm")


@pytest.fixture
def of_spectrum(here: None, ffpp_crops: Path, tmp_path: Path) -> Path:
    """A checkpoint of the package's detector, trained by its name and tested."""
    done = tiny("fit", tmp_path, ffpp_crops, "--net", "spectrum", "--net.rings", 8)
    assert done.status == 0, done.errors
    best = tmp_path / "checkpoints" / "best.ckpt"
    done = tiny("test", tmp_path, ffpp_crops, "--net", "spectrum", "--net.rings", 8, "--ckpt_path", best)
    assert done.status == 0, done.errors
    return best


@pytest.mark.long
def test_an_installed_detector(
    of_spectrum: Path,
    ffpp_crops: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crop = next((ffpp_crops / "crops").rglob("*.png"))
    words = ["explain", str(crop), "--ckpt_path", str(of_spectrum), "--detector", "whole_frame", "--out"]
    assert main([*words, str(tmp_path / "one")]) == 0
    assert list((tmp_path / "one").rglob("report.html"))
    for module in [module for module in sys.modules if module.startswith("resgat_example")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site" not in Path(path).name])
    capfd.readouterr()
    message = one_error(capfd, *words, tmp_path / "two")
    assert "resgat_example.detector.Spectrum is not part of this package" in message
