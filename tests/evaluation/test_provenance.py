"""A checkpoint knows what it was trained on, and is not tested on it unnoticed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, strategies as st

from resgat_pl.core.errors import LeakageError
from resgat_pl.core.types import video_key
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import IdentitySplit, divide
from resgat_pl.evaluation import provenance as module
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.binary import THRESHOLDED, best_threshold, measure
from resgat_pl.evaluation.metrics.scores import AT_VAL, read_predictions
from resgat_pl.evaluation.predict import score
from resgat_pl.evaluation.provenance import environment
from resgat_pl.evaluation.train_test_overlap import REMEMBERED, check_unseen, video_hashes
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.checkpoint_keys import PROVENANCE

from ..helpers.tiny_runs import tiny, untrained, variant

NAME = st.text("abc019_-.", min_size=1, max_size=4)


@pytest.fixture(scope="module")
def fitted(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of the tiny detector under the manifest's own splits."""
    root = tmp_path_factory.mktemp("fitted")
    assert tiny("fit", root, ffpp_crops).status == 0
    return root


@pytest.fixture(scope="module")
def tested(fitted: Path, ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test of its best checkpoint."""
    root = tmp_path_factory.mktemp("tested")
    assert tiny("test", root, ffpp_crops, "--ckpt_path", best(fitted)).status == 0
    return root


@pytest.fixture(scope="module")
def other(ffpp_crops: Path) -> IdentitySplit:
    """The first split whose test set has videos of the manifest's training split."""
    manifest = Manifest.read(ffpp_crops)
    known = set(manifest.split_videos("train"))
    splits = (IdentitySplit(seed=seed) for seed in range(20))
    return next(split for split in splits if known & set(divide(manifest, split).split_videos("test")))


def best(root: Path) -> Path:
    return root / "checkpoints" / "best.ckpt"


def results(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "results.json").read_text()))


def by_identity(split: IdentitySplit) -> tuple[object, ...]:
    return ("--data.split", "resgat_pl.data.splits.IdentitySplit", "--data.split.seed", split.seed)


def hashed(keys: list[str]) -> set[int]:
    """The documented hash, computed here again: data set, method and video, without the compression."""
    parts = [key.split("/", 3) for key in keys]
    digests = [hashlib.sha256("/".join((p[0], p[1], p[3])).encode()).digest() for p in parts]
    return {int.from_bytes(digest[:8], "little", signed=True) for digest in digests}


def wrote_no_scores(root: Path) -> bool:
    return not [path for path in root.rglob("*") if path.name in {"results.json", "predictions"}]


def test_a_checkpoint_says_where_it_comes_from(fitted: Path, ffpp_crops: Path) -> None:
    for name in ("best", "last"):
        stored = read_file(fitted / "checkpoints" / f"{name}.ckpt")[PROVENANCE]
        manifest = Manifest.read(ffpp_crops)
        config = yaml.safe_load(stored["config"])
        assert config == yaml.safe_load((fitted / "config.yaml").read_text())
        assert config["net"]["heads"] == 2
        assert config["data"]["order"] == "shuffled"  # a default that no file names
        assert stored["seed"] == 0
        assert stored["leaky"] == []
        assert stored["data"]["crops"] == str(ffpp_crops)
        assert stored["data"]["manifest"] == manifest.fingerprint()
        assert stored["data"]["splits"] == manifest.split_fingerprint()
        assert stored["data"]["protocol"] == manifest.info["protocol"]
        assert stored["data"]["counts"]["val"] == {"real": 6, "fake": 12}
        assert stored["packages"]["torch"] == importlib.metadata.version("torch")
        assert {"lightning", "numpy", "torchvision"} <= stored["packages"].keys()
        assert "absent" not in stored["packages"].values()
        assert stored["git"] == environment()["git"]
        assert set(stored["train_videos"].tolist()) == hashed(manifest.split_videos("train"))


def test_results_carry_both_provenances(fitted: Path, tested: Path, ffpp_crops: Path) -> None:
    found = results(tested)
    stored = read_file(best(fitted))[PROVENANCE]
    assert found["checkpoint"]["path"] == str(best(fitted))
    assert found["checkpoint_sha256"] == hashlib.sha256(best(fitted).read_bytes()).hexdigest()
    assert found["checkpoint"][PROVENANCE] == {name: v for name, v in stored.items() if name not in REMEMBERED}
    assert found["people_unknown"] == []
    assert found["leaky"] == []
    same = ("resgat_pl", "git", "python", "packages", "seed", "data")
    assert {name: found[PROVENANCE][name] for name in same} == {name: stored[name] for name in same}
    assert yaml.safe_load(found[PROVENANCE]["config"])["ckpt_path"] == str(best(fitted))


def test_thresholds_come_from_validation(fitted: Path, tested: Path, ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    validation = manifest.with_splits(["test" if split == "val" else "train" for split in manifest.column("split")])
    detector = Detector.load(best(fitted))
    assert detector.thresholds == results(tested)["thresholds"]
    tests = read_predictions(tested / "predictions")
    for level, found in score(detector, validation).items():
        threshold = results(tested)["thresholds"][level]
        assert threshold == pytest.approx(best_threshold(found.probability, found.label), abs=1e-5)
        (pooled,) = (s for s in results(tested)["scores"] if (s["level"], s["method"]) == (level, "all"))
        for suffix, at in (("", 0.5), (AT_VAL, threshold)):
            expected = measure(tests[level].probability, tests[level].label, at)
            assert {name: pooled["values"][name + suffix][0] for name in THRESHOLDED} == pytest.approx(
                {name: expected[name] for name in THRESHOLDED}
            )


def test_seen_videos_are_refused_or_allowed(
    fitted: Path, ffpp_crops: Path, other: IdentitySplit, tmp_path: Path
) -> None:
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", best(fitted), *by_identity(other))
    manifest = Manifest.read(ffpp_crops)
    seen = [key for key in divide(manifest, other).split_videos("test") if key in manifest.split_videos("train")]
    assert done.status == 1
    assert f"{len(seen)} test videos were in its training split" in done.errors
    assert all(key in done.errors for key in seen[:4])
    assert str(best(fitted)) in done.errors
    assert "--data.allow_leakage true" in done.errors
    assert wrote_no_scores(tmp_path)
    done = tiny("test", tmp_path, ffpp_crops, "--ckpt_path", best(fitted), *by_identity(other),
                "--data.allow_leakage", "true")  # fmt: skip
    assert done.status == 0
    assert [text for text in done.warned if "in its training split" in text and "stamped as leaky" in text]
    assert [text for text in done.warned if text.startswith("LEAKY") and "video" in text]
    assert results(tmp_path)["leaky"] == ["video"]


@pytest.mark.long
def test_a_declared_leak_is_trained_tested_and_stamped(ffpp_crops: Path, tmp_path: Path) -> None:
    paper = ("--data.split", "resgat_pl.data.splits.PaperSplit", "--data.split.val", 0.2)
    done = tiny("fit", tmp_path / "fit", ffpp_crops, *paper, "--trainer.limit_train_batches", 1)
    assert done.status == 0
    assert [text for text in done.warned if "Leak, declared by the split protocol: video" in text]
    leaky = read_file(best(tmp_path / "fit"))[PROVENANCE]["leaky"]
    assert {"video", "identity"} <= set(leaky)
    done = tiny("test", tmp_path / "test", ffpp_crops, *paper, "--ckpt_path", best(tmp_path / "fit"))
    assert done.status == 0
    assert results(tmp_path / "test")["leaky"] == sorted(leaky)
    assert [text for text in done.warned if text.startswith("LEAKY") and ", ".join(sorted(leaky)) in text]
    # what it was trained under is no licence for another test
    with pytest.raises(LeakageError):
        check_unseen(
            best(tmp_path / "fit"), read_file(best(tmp_path / "fit"))[PROVENANCE], Manifest.read(ffpp_crops), False
        )


def test_a_checkpoint_without_provenance(ffpp_crops: Path, tmp_path: Path) -> None:
    content = read_file(untrained(tmp_path / "a.ckpt", ffpp_crops))
    del content[PROVENANCE]
    torch.save(content, tmp_path / "a.ckpt")
    done = tiny("test", tmp_path / "run", ffpp_crops, "--ckpt_path", tmp_path / "a.ckpt")
    assert done.status == 2
    assert done.errors.count("error") == 1
    assert "carries no provenance" in done.errors
    assert "--data.allow_leakage true" in done.errors
    assert wrote_no_scores(tmp_path / "run")
    allowed = ("--ckpt_path", tmp_path / "a.ckpt", "--data.allow_leakage", "true")
    done = tiny("test", tmp_path / "run", ffpp_crops, *allowed)
    assert done.status == 0
    assert [text for text in done.warned if "stamped as of unknown leakage" in text]
    found = results(tmp_path / "run")
    assert found["leaky"] == ["unknown"]
    assert found["checkpoint"] == {"path": str(tmp_path / "a.ckpt"), PROVENANCE: None}
    # nor was it validated: there are no scores at a threshold of validation data
    assert found["thresholds"] is None
    assert not [name for row in found["scores"] for name in row["values"] if name.endswith(AT_VAL)]


@pytest.mark.long
def test_resumed_training_remembers_what_came_before(
    fitted: Path, ffpp_crops: Path, other: IdentitySplit, tmp_path: Path
) -> None:
    done = tiny("fit", tmp_path, ffpp_crops, "--ckpt_path", fitted / "checkpoints" / "last.ckpt", *by_identity(other),
                "--trainer.max_epochs", 2, "--trainer.limit_train_batches", 1)  # fmt: skip
    assert done.status == 0
    stored = read_file(tmp_path / "checkpoints" / "last.ckpt")[PROVENANCE]
    manifest = Manifest.read(ffpp_crops)
    divided = divide(manifest, other)
    assert set(stored["train_videos"].tolist()) == hashed(
        manifest.split_videos("train") + divided.split_videos("train")
    )
    assert stored["data"]["splits"] == divided.split_fingerprint()
    with pytest.raises(LeakageError):  # its own split's test videos were trained on before it was resumed
        check_unseen("last.ckpt", stored, divided)


def test_a_leaking_manifest_is_not_trained_on(ffpp_crops: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    splits = np.resize(np.array(["train", "val", "test"]), len(manifest))  # each video's three frames apart
    crops = variant(ffpp_crops, tmp_path / "crops", splits)
    done = tiny("fit", tmp_path / "run", crops)
    assert done.status == 1
    assert "video: train and test share 42" in done.errors
    assert "--data.allow_leakage true" in done.errors
    assert not (tmp_path / "run").exists()
    done = tiny("fit", tmp_path / "run", crops, "--data.allow_leakage", "true", "--trainer.limit_train_batches", 1)
    assert done.status == 0
    assert [text for text in done.warned if "Leak, allowed by allow_leakage: video: train and test share 42" in text]
    assert "video" in read_file(best(tmp_path / "run"))[PROVENANCE]["leaky"]


@given(st.tuples(NAME, NAME, NAME), st.tuples(NAME, NAME, NAME), st.lists(NAME, min_size=2, max_size=2))
def test_hashes_know_videos_whatever_the_compression(
    one: tuple[str, str, str], other: tuple[str, str, str], compressions: list[str]
) -> None:
    def hashes(*videos: tuple[str, str, str], compression: str) -> list[int]:
        return list(video_hashes([video_key(v[0], v[1], compression, v[2]) for v in videos]).tolist())

    first, second = compressions
    assert hashes(one, compression=first) == hashes(one, compression=second) == hashes(one, compression="")
    assert (hashes(one, compression=first) == hashes(other, compression=first)) == (one == other)
    both = hashes(one, other, compression=first)
    assert both == sorted(both) == hashes(other, one, compression=second)
    assert set(both) == hashed(["/".join((v[0], v[1], first, v[2])) for v in (one, other)])


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_package_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    package = tmp_path / "package" / "evaluation"
    package.mkdir(parents=True)
    (package / "provenance.py").touch()
    monkeypatch.setattr(module, "__file__", str(package / "provenance.py"))
    assert environment()["git"] is None  # in no checkout
    git("init")
    assert environment()["git"] is None  # in somebody else's: site-packages below a repository
    git("add", "package/evaluation/provenance.py")
    git("commit", "-m", "first")
    assert environment()["git"] == {"commit": git("rev-parse", "HEAD"), "changed": False}
    (tmp_path / "notes.txt").write_text("outside the package")
    assert environment()["git"]["changed"] is False
    (package / "provenance.py").write_text("edited")
    assert environment()["git"] == {"commit": git("rev-parse", "HEAD"), "changed": True}
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    assert environment()["git"] is None


def test_the_environment_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKAGES", ("torch", "no-such-package"))
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["no-such-package"] == "absent"
