"""The card says what is known with its numbers, and names what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.model_card import MISSING, model_card
from resgat_pl.export.results import DataSetTest, Results, Row
from resgat_pl.nn.pooled import PooledClassifier

from ..helpers.tiny_runs import untrained


def row(level: str = "video", method: str = "all", suffix: str = "_at_val", **more: Any) -> Row:
    values = {
        "auroc": [0.9123, 0.85, 0.95], f"accuracy{suffix}": [0.9, 0.8, 0.95], f"f1_fake{suffix}": [0.9, 0.8, 0.95],
        f"balanced_accuracy{suffix}": [0.9, 0.8, 0.95],
    }  # fmt: skip
    stored = {"level": level, "method": method, "real": 50, "fake": 50, "clips": 50, "values": values}
    return Row.read({**stored, "groups": dict.fromkeys(values, 50), **more})


TEST = DataSetTest(
    "ffpp (c23)", "strict", [row(), row(method="FaceSwap"), row("frame"), row("frame", "FaceSwap")],
    "100 of 103 videos scored", ["identity"], ["people unknown for ffpp: names are numbers"],
    frozenset({"c23"}), frozenset({"FaceSwap"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def detector(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = tmp_path_factory.mktemp("card") / "best.ckpt"
    return Detector.load(untrained(path, ffpp_crops, thresholds={"frame": 0.4, "video": 0.61237}))


def section(card: str, name: str) -> str:
    return card.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_usage_is_that_of_the_class(detector: Detector, ffpp_crops: Path, tmp_path: Path) -> None:
    """ResGAT.from_pretrained reads no other detector."""
    assert "ResGAT.from_pretrained" in section(model_card(detector, Results(), ""), "How to use it")
    pooled = untrained(tmp_path / "a.ckpt", ffpp_crops, made=PooledClassifier("resnet18", image_size=64))
    usage = section(model_card(Detector.load(pooled), Results(), ""), "How to use it")
    assert "ResGAT" not in usage
    assert 'Detector.load("hf://OWNER/NAME")' in usage
    assert "--import MODULE" in usage


def test_a_full_card(detector: Detector) -> None:
    damaged = [["jpeg", "quality 10", "70.00 [60.00, 80.00]", "21.23 [15.00, 25.00]"]]
    card = model_card(detector, Results([TEST], ["dfdc: seen"], damaged), "All weights are stored.")
    results = section(card, "Results")
    assert "91.23 [85.00, 95.00]" in results
    assert "LEAKY: these scores suffer from leaks between splits (identity)" in results
    assert "people unknown for ffpp" in results
    assert "100 of 103 videos scored" in results
    assert "| video   | all" in results
    assert results.count("5 of 50") == 5  # both of all, per video and per frame; FaceSwap's missed ones
    assert "10.00 [4.35, 21.36]" in results
    assert "| frame   | FaceSwap" not in results
    assert "dfdc: seen" in results
    assert "quality 10" in results
    assert "0.6124" in section(card, "Thresholds and calibration")
    training = section(card, "Training data")
    assert "Trained on drawn faces only" in training
    assert "| train" in training
    untested = section(card, "Not tested on")
    assert "compressions other than c23" in untested
    assert "manipulations other than FaceSwap" in untested
    assert "JPEG" not in untested  # it was
    assert "adversarial" in untested
    assert "encoder: resnet18" in section(card, "Network")
    assert "margin" in section(card, "Intended use and limits")
    assert str(detector.data["manifest"]) in section(card, "Provenance")


def test_the_head_is_the_hubs(detector: Detector) -> None:
    _, head, _ = model_card(detector, Results([TEST]), "").split("---\n", 2)
    found = yaml.safe_load(head)
    assert found["library_name"] == "resgat_pl"
    (entry,) = found["model-index"][0]["results"]
    assert entry["dataset"]["name"] == "ffpp (c23), leaky: identity"
    assert {metric["type"]: metric["value"] for metric in entry["metrics"]} == {
        "roc_auc": 0.9123, "false_positive_rate": 0.1, "false_negative_rate": 0.1,
    }  # fmt: skip


def test_what_is_missing_is_said(detector: Detector) -> None:
    bare = replace(detector, provenance=None, checkpoint=replace_checkpoint(detector))
    card = model_card(bare, Results(), "")
    missing = section(card, "Missing")
    for what in (
        "all results", "thresholds", "calibration", "the videos that thresholds", "numbers of crops", "recordings",
        "how the faces of the training were cut out",
    ):  # fmt: skip
        assert f"- {what}" in missing or what in missing, what
    assert f"{MISSING}: no test of this checkpoint is known." in section(card, "Results")
    assert MISSING in section(card, "Provenance")
    assert "anything: there are no results" in section(card, "Not tested on")
    assert "model-index" not in card


def replace_checkpoint(detector: Detector) -> Any:
    return replace(detector.checkpoint, thresholds=None, validation=None, temperatures={"frame": None, "video": None})


def test_numbers_without_interval_or_class_are_missing(detector: Detector) -> None:
    few = row(values={"auroc": [0.9, None, None]}, groups={"auroc": 9}, clips=9)
    none = row(suffix="", method="FaceSwap", fake=0)
    card = model_card(detector, Results([replace(TEST, rows=[few, none])]), "")
    missing = section(card, "Missing")
    assert "intervals of AUROC on ffpp (c23) (fewer than 10 genuine clips" in missing
    assert "a threshold chosen on validation data: there is none" in missing
    assert "fakes of FaceSwap: a class is absent" in missing
    assert "90.00 (n = 9)" in section(card, "Results")


def test_made_faces_are_no_recordings(detector: Detector) -> None:
    made, recorded = (replace(TEST, recordings=recordings) for recordings in (False, True))
    for tests in ([made], [TEST], [made, TEST]):
        assert "recorded faces" in section(model_card(detector, Results(tests), ""), "Not tested on")
    assert "recorded faces" not in section(model_card(detector, Results([made, recorded]), ""), "Not tested on")


def test_only_a_network_with_contributions_claims_them(detector: Detector) -> None:
    claim = "contributions of the nodes and the bias add up"
    assert claim in model_card(detector, Results(), "")
    black_box = torch.nn.Identity()
    black_box.has_contributions = False  # type: ignore[assignment]
    card = model_card(replace(detector, net=black_box), Results(), "")  # type: ignore[arg-type]
    assert claim not in card


def test_names_from_files_stay_on_their_line(detector: Detector) -> None:
    hostile = replace(TEST, rows=[row(method="a|b\n# c")])
    card = model_card(detector, Results([hostile]), "")
    assert "\n# c" not in card
    assert "a\\|b # c" in card
