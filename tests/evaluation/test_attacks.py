from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.evaluation.attacks import attack_table, read_options, write_attacks
from resgat_pl.evaluation.detector import Detector
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.video.net import VideoResGAT

from ..helpers.tiny_runs import untrained, variant


@pytest.mark.long
def test_the_table(ffpp_crops: Path, tmp_path: Path) -> None:
    detector, other = (Detector.load(untrained(tmp_path / f"{n}.ckpt", ffpp_crops, seed=n)) for n in (0, 1))
    manifest = detector.manifest(ffpp_crops)
    options = read_options("map,pgd,fgsm", "2, 8", steps=4, most=12)
    table = attack_table(detector, manifest, options, other, {"again": manifest}, batch_size=12)
    found = {(row.attack, row.source, row.eps): row for row in table}
    assert next(iter(found)) == ("none", "this", 0) and list(found)[-1] == ("none", "again", 0)
    theirs = str(tmp_path / "1.ckpt")
    assert {key[:2] for key in found if key[1] == theirs} == {("fgsm", theirs), ("pgd", theirs)}
    assert len(table) == 1 + 3 * 2 + 2 * 2 + 1
    clean = found["none", "this", 0].frame.value
    for eps in (2.0, 8.0):
        assert found["pgd", "this", eps].frame.value <= found["fgsm", "this", eps].frame.value <= clean
        assert found["map", "this", eps].map_rank < 1
        assert found["map", "this", eps].frame.value == pytest.approx(clean, abs=0.3)
    assert found["pgd", "this", 8.0].frame.value < clean
    assert found["pgd", "this", 8.0].map_rank < found["none", "this", 0].map_rank == 1
    text = write_attacks(table, tmp_path / "out", {"crops": "c"})
    assert "| pgd " in text and "1.ckpt" in text
    written = json.loads((tmp_path / "out" / "attacks.json").read_text())
    assert written["crops"] == "c" and len(written["rows"]) == len(table)
    assert (tmp_path / "out" / "attacks.csv").read_text().count("\n") == len(table) + 1


def test_a_detector_without_contributions_has_no_map(ffpp_crops: Path, tmp_path: Path) -> None:
    made = PooledClassifier("resnet18", encoder_stage=3, image_size=64)
    detector = Detector.load(untrained(tmp_path / "a.ckpt", ffpp_crops, made=made))
    manifest = detector.manifest(ffpp_crops)
    row = attack_table(detector, manifest, read_options("fgsm", "8", most=6))[-1]
    assert np.isnan(row.map_rank) and row.attack == "fgsm"
    with pytest.raises(ConfigError, match="no contributions to attack"):
        attack_table(detector, manifest, read_options("map", "8"))
    larger = Detector.load(untrained(tmp_path / "b.ckpt", ffpp_crops, image_size=96))
    with pytest.raises(ConfigError, match="takes pictures of 96 px, and this detector of 64"):
        attack_table(detector, manifest, read_options("fgsm", "8"), larger)


@pytest.mark.parametrize(
    ("attacks", "eps", "most", "says"),
    [
        ("cw", "1", None, "cw is unknown. There are: fgsm, pgd, square, map"),
        ("pgd", "0", None, "give numbers above 0"),
        ("pgd", "x", None, "give numbers above 0"),
        ("pgd", "", None, "give numbers above 0"),
        ("pgd", "1", 0, "--most is 0; it must be at least 1"),
        (" ,", "1", None, "--attacks names nothing. There are: fgsm, pgd, square, map"),
    ],
)
def test_options_that_are_refused(attacks: str, eps: str, most: int | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_options(attacks, eps, most=most)


def test_the_command(ffpp_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)
    again = variant(ffpp_crops, tmp_path / "other", compression="raw")
    command = ["robustness", "--ckpt_path", checkpoint, "--crops", ffpp_crops, "--out", tmp_path / "out"]
    options = ["--attacks", "square", "--eps", "8", "--queries", "2", "--most", "6", "--also", again]
    assert main([*map(str, [*command, *options])]) == 0
    assert "| square " in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "attacks.json").read_text())
    assert document["options"]["queries"] == 2 and document["leaky"] == []
    assert document["rows"][-1]["source"] == str(again)


def test_clips_and_crops_of_one_class_are_refused(ffpp_crops: Path, tmp_path: Path) -> None:
    options = read_options("fgsm", "8", most=1)
    detector = Detector.load(untrained(tmp_path / "a.ckpt", ffpp_crops))
    manifest = detector.manifest(ffpp_crops)
    with pytest.raises(ConfigError, match="--most 1 leaves crops of one class only"):
        attack_table(detector, manifest, options)
    made = VideoResGAT("mean", encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64)
    clips = Detector.load(untrained(tmp_path / "b.ckpt", ffpp_crops, made=made))
    for one, other in ((clips, None), (detector, clips)):
        with pytest.raises(ConfigError, match=r"b\.ckpt holds a VideoResGAT, which judges clips"):
            attack_table(one, manifest, options, other)
    untested = manifest.with_splits(["train"] * len(manifest))
    with pytest.raises(SplitError, match="has no test split"):  # before the attacks
        attack_table(detector, manifest, read_options("fgsm", "8"), also={"none": untested})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--most", "6"), "--most is of attacks, and --attacks is not given"),
        (("--eps", "8"), "--eps is of attacks"),
        (("--attacks", "pgd", "--kinds", "jpeg"), "--kinds is of damage"),
    ],
)
def test_options_without_effect_are_refused(
    options: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["robustness", "--ckpt_path", str(tmp_path / "none.ckpt"), *options]) != 0
    assert says in capsys.readouterr().err
