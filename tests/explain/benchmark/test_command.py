"""The leaderboard of explanation methods: from checkpoint and crops to tables, and its arithmetic."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError, LeakageError, SplitError
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.explain.benchmark import prepare as benchmark
from resgat_pl.explain.benchmark.command import benchmark_explainers, explainers
from resgat_pl.explain.benchmark.faces import choose_detected_fakes, counterparts
from resgat_pl.explain.benchmark.scores import (
    BASELINES,
    GROUPS,
    ORACLE,
    SCORES,
)
from resgat_pl.nn.video.net import VideoResGAT

from ...helpers.tiny_runs import untrained, variant

METHODS = ["Attention", "Contribution"]
SMALL: dict[str, Any] = {"faces": 6, "slow_faces": 2, "sanity_faces": 2}


@pytest.fixture(scope="module")
def checkpoints(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    low = {"frame": 0.05, "video": 0.05}  # an untrained network must call fakes fake to be explained
    return [untrained(folder / f"{seed}.ckpt", ffpp_crops, thresholds=low, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def board(ffpp_crops: Path, checkpoints: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("board")
    text = benchmark_explainers([f"tiny={path}" for path in checkpoints], ffpp_crops, out, METHODS, **SMALL)
    assert (out / "leaderboard.md").read_text() == text + "\n"
    return out


def read(board: Path) -> tuple[dict[str, Any], dict[tuple[str, str], float]]:
    document = json.loads((board / "leaderboard.json").read_text())
    pooled = [line for line in document["lines"] if (line["checkpoint"], line["kind"], line["extent"]) == ("all",) * 3]
    return document, {(line["method"], line["score"]): line["value"]["value"] for line in pooled}


def test_every_method_has_every_score_that_can_be_had(board: Path) -> None:
    document, values = read(board)
    everyone = {*BASELINES, *METHODS, ORACLE}
    assert {method for method, _ in values} == everyone
    # These detectors call everything fake, so no verdict can turn.
    turned = {name for name in SCORES if name.startswith(("flips", "implanted"))}
    for method in everyone - {ORACLE}:
        assert {score for name, score in values if name == method} == set(SCORES) - turned
    for about in document["detectors"]:
        assert [note.partition(",")[0] for note in about["notes"]] == ["No genuine counterpart is called genuine"]
        assert (about["part"], about["whole"]) == (6, 0)
        assert about["genuine"] >= 6
        assert about["validated"] == 6
    assert (board / "leaderboard.png").read_bytes().startswith(b"\x89PNG")
    assert list(board.rglob("*.wandb"))


def test_scores_whose_value_is_known(board: Path) -> None:
    _, values = read(board)
    assert values[ORACLE, "effects"] == pytest.approx(1)
    assert values["Contribution", "target_flip"] == pytest.approx(-1)
    assert values["Attention", "target_flip"] == pytest.approx(1)
    assert values["Attention", "random_head"] == pytest.approx(1)  # the head is no part of the paper's map
    assert values["Contribution", "random_head"] < 0.9
    assert values["CentrePrior", "silence_top"] == values["CentrePrior", "false_regions"] == 1
    assert values["CentrePrior", "iou_over_centre"] == values["MeanMask", "seam_over_mean"] == 0
    assert values["Random", "sufficiency_over_random"] == pytest.approx(0)
    assert values["CentrePrior", "sufficiency_over_centre"] == pytest.approx(0, abs=1e-4)
    assert (ORACLE, "iou") not in values  # it has no threshold
    for name in BASELINES:  # they look at no network
        assert values[name, "random_backbone"] == pytest.approx(1)
        assert values[name, "uniform_attention"] == pytest.approx(1)
    assert values["Uniform", "control"] == 0.5
    assert max(values[name, "gain"] for name in BASELINES) == 0


def test_tables_agree(board: Path) -> None:
    document, values = read(board)
    with (board / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["lines"])
    pooled = {
        (r["method"], r["score"]): r["value"] for r in rows if (r["checkpoint"], r["kind"], r["extent"]) == ("all",) * 3
    }
    assert {place: float(value) for place, value in pooled.items()} == pytest.approx(values, abs=1e-6)
    text = (board / "leaderboard.md").read_text()
    for method in METHODS:
        assert f"| {method} " in text
    for group, names in GROUPS.items():
        assert f"### {group}" in text
        assert {document["scores"][name]["group"] for name in names} == {group}
    assert document["schema"] == 2
    assert {row["extent"] for row in rows} == {"all", "part"}
    assert {row["kind"] for row in rows} > {"all", "Deepfakes"}


def test_the_pooled_value_is_the_mean_over_seeds(board: Path) -> None:
    document, values = read(board)
    single = [
        line["value"]["value"]
        for line in document["lines"]
        if (line["method"], line["score"]) == ("Contribution", "auroc")
        and (line["kind"], line["extent"]) == ("all", "all")
        and line["checkpoint"] != "all"
    ]
    assert len(single) == 2
    assert np.mean(single) == pytest.approx(values["Contribution", "auroc"])


@pytest.mark.long
def test_what_was_measured_is_not_measured_again(
    board: Path, ffpp_crops: Path, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    original = benchmark.measure_method
    monkeypatch.setattr(benchmark, "score", None)  # calling it would fail
    monkeypatch.setattr(benchmark, "measure_method", lambda *given: (measured.append(given[-1]), original(*given))[1])
    named = [f"tiny={path}" for path in checkpoints]
    before = (board / "leaderboard.md").read_text()
    assert benchmark_explainers(named, ffpp_crops, board, METHODS, **SMALL) + "\n" == before
    assert measured == []
    benchmark_explainers(named[:1], ffpp_crops, board, [*METHODS, "NodeEvidence"], **SMALL)
    assert measured == ["NodeEvidence"]
    benchmark_explainers(named[:1], ffpp_crops, board, ["Attention"], **{**SMALL, "seed": 1})
    assert measured == ["NodeEvidence", *BASELINES, "Attention"]


@pytest.mark.long
def test_a_method_that_cannot_be_had_becomes_a_note(
    ffpp_crops: Path, checkpoints: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("it needs a package")

    monkeypatch.setattr("resgat_pl.explain.methods.graph.Attention.explain", refuse)
    text = benchmark_explainers(str(checkpoints[0]), ffpp_crops, tmp_path, METHODS, **SMALL)
    assert "Attention was not measured: it needs a package" in text
    assert "| Contribution " in text


def test_faces_are_detected_spread_and_have_what_scores_need(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    faces = FaceCrops(manifest, np.arange(len(manifest)), 64)
    detected = np.random.default_rng(0).random(len(faces)) > 0.3
    chosen = choose_detected_fakes(faces, detected, 12, 0)
    assert len(set(chosen.tolist())) == len(chosen) == 12
    assert (detected & (faces.labels == 1))[chosen].all()
    assert all(faces.mask(place) is not None for place in chosen.tolist())
    assert set(chosen.tolist()) <= set(counterparts(faces))
    kinds = manifest.column("method")[chosen]
    count = len(set(manifest.column("method")[faces.labels == 1]))
    assert len(set(kinds[:count])) == count  # the first few are spread already
    assert len(set(manifest.video_codes[chosen].tolist())) == 12  # a second frame only after every video
    assert chosen.tolist() == choose_detected_fakes(faces, detected, 12, 0).tolist()
    assert choose_detected_fakes(faces, detected, 5, 0).tolist() == chosen[:5].tolist()
    assert chosen.tolist() != choose_detected_fakes(faces, detected, 12, 1).tolist()
    with pytest.raises(SplitError, match="None of the 84 fakes"):
        choose_detected_fakes(faces, np.zeros(len(faces), bool), 12, 0)


@pytest.mark.long
def test_several_detectors_explain_the_fakes_that_all_detect(
    ffpp_crops: Path, checkpoints: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = benchmark.score
    calls: list[int] = []

    def some(*given: Any) -> Any:
        """The first calls even crops fake, the second those that three divides."""
        found = original(*given)
        calls.append(len(calls))
        wanted = np.arange(len(found["frame"].probability)) % (len(calls) + 1) == 0
        return {"frame": found["frame"]._replace(probability=wanted.astype(np.float64))}

    monkeypatch.setattr(benchmark, "score", some)
    named = [f"{name}={path}" for name, path in zip("ab", checkpoints, strict=True)]
    few = {"faces": 100, "slow_faces": 1, "sanity_faces": 1}
    text = benchmark_explainers(named, ffpp_crops, tmp_path / "common", ["Contribution"], **few)
    first, second = json.loads((tmp_path / "common" / "leaderboard.json").read_text())["detectors"]
    assert first["rows"] == second["rows"]
    manifest = Manifest.read(ffpp_crops)
    rows = np.flatnonzero(manifest.column("split") == "test")
    fakes = manifest.column("label")[rows] == 1
    assert sorted(first["rows"]) == rows[fakes & (np.arange(len(rows)) % 6 == 0)].tolist()
    assert (first["detected"], second["detected"]) == tuple(
        int((fakes & (np.arange(len(rows)) % step == 0)).sum()) for step in (2, 3)
    )
    assert "## b − a, face by face" in text
    calls.clear()
    benchmark_explainers(named, ffpp_crops, tmp_path / "own", ["Contribution"], common_faces=False, **few)
    first, second = json.loads((tmp_path / "own" / "leaderboard.json").read_text())["detectors"]
    assert (first["faces"], second["faces"]) == (first["detected"], second["detected"])


@pytest.mark.long
def test_plain_pictures_are_scored_as_far_as_they_go(ffpp_crops: Path, checkpoints: list[Path], tmp_path: Path) -> None:
    plain = variant(ffpp_crops, tmp_path / "plain", mask_path=None, landmarks=None, source_video=None)
    text = benchmark_explainers(str(checkpoints[0]), plain, tmp_path / "out", METHODS, **SMALL)
    _, values = read(tmp_path / "out")
    measured = {score for method, score in values if method == "Contribution"}
    starts = ("deletion", "insertion", "random_", "target", "uniform", "silence", "fidelity", "sparsity")
    assert measured == {name for name in SCORES if name.startswith(starts)}
    assert "No fake of the validation split is detected and has a mask, so there is no threshold" in text
    assert all(math.isfinite(values["Contribution", score]) for score in measured)
    for lacking in ("masks", "landmarks", "genuine counterparts"):
        assert f"0 of the 6 fakes have {lacking}: " in text
    assert (tmp_path / "out" / "leaderboard.png").stat().st_size > 1000


@pytest.mark.long
def test_thresholds_come_from_the_crops_that_the_detector_was_trained_on(
    ffpp_crops: Path, checkpoints: list[Path], tmp_path: Path
) -> None:
    splits = Manifest.read(ffpp_crops).column("split")
    tested = [split if split == "test" else None for split in splits]
    only = variant(ffpp_crops, tmp_path / "only", tested, dataset="celebdf")
    options = {**SMALL, "allow_leakage": True, "private": True}
    bare = benchmark_explainers(f"tiny={checkpoints[0]}", only, tmp_path / "bare", ["Contribution"], **options)
    assert "there is no threshold" in bare
    assert "MeanMask: the training split has no masks" in bare
    text = benchmark_explainers(
        f"tiny={checkpoints[0]}", only, tmp_path / "out", ["Contribution"], trained_on=ffpp_crops, **options
    )
    assert "there is no threshold" not in text

    def threshold(folder: Path) -> float:
        document = json.loads((folder / "leaderboard.json").read_text())
        found = [each for each in document["methods"] if each["method"] == "Contribution"]
        return float(found[0]["threshold"])

    benchmark_explainers(f"tiny={checkpoints[0]}", ffpp_crops, tmp_path / "own", ["Contribution"], **options)
    assert threshold(tmp_path / "out") == threshold(tmp_path / "own")


def test_false_alarms_set_the_verdict_and_verdicts_turn(
    ffpp_crops: Path, checkpoints: list[Path], tmp_path: Path
) -> None:
    options = {**SMALL, "false_alarms": 0.4, "private": True}
    text = benchmark_explainers(str(checkpoints[0]), ffpp_crops, tmp_path, ["Contribution"], **options)
    assert "40% of the genuine test faces do" in text
    document, values = read(tmp_path)
    (about,) = document["detectors"]
    assert about["turned"] > 0
    assert about["detected"] < about["fakes"]
    for score in ("flips", "implanted"):
        assert 0 <= values["Contribution", score] <= 1
        assert values["Random", f"{score}_over_random"] == pytest.approx(0)
        excess = values["Contribution", score] - values["Random", score]
        assert values["Contribution", f"{score}_over_random"] == pytest.approx(excess)


def test_a_detector_of_clips_is_refused(ffpp_crops: Path, tmp_path: Path) -> None:
    """Its test gives one score a clip, and maps are measured crop by crop."""
    net = VideoResGAT("mean", encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64)
    path = untrained(tmp_path / "clips.ckpt", ffpp_crops, made=net)
    with pytest.raises(ConfigError, match=r"clips\.ckpt holds a VideoResGAT, which judges clips"):
        benchmark_explainers(str(path), ffpp_crops, tmp_path / "out", METHODS)


def test_a_checkpoint_that_saw_the_test_videos_is_refused(ffpp_crops: Path, tmp_path: Path) -> None:
    splits = Manifest.read(ffpp_crops).column("split")
    swapped = variant(ffpp_crops, tmp_path / "swapped", [{"train": "test", "test": "train"}.get(s, s) for s in splits])
    checkpoint = untrained(tmp_path / "net.ckpt", swapped)
    with pytest.raises(LeakageError):
        benchmark_explainers(str(checkpoint), ffpp_crops, tmp_path / "out", METHODS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ckpt_path": " , "}, "names nothing"),
        ({"ckpt_path": ["a=x.ckpt", "b=x.ckpt"]}, "twice"),
        ({"methods": ["Oracle"]}, "no method 'Oracle'.*Contribution"),
        ({"slow_faces": 0}, "slow_faces is 0"),
        ({"false_alarms": 1.0}, "false_alarms is 1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        benchmark_explainers(**{"ckpt_path": "a.ckpt", "crops": tmp_path, "out": tmp_path / "out", **change})


def test_the_baselines_always_take_part() -> None:
    found = explainers()
    assert list(found)[: len(BASELINES)] == list(BASELINES)
    assert all(name == entry.__name__ for name, entry in found.items())
    assert list(explainers(["Contribution", "Random"])) == [*BASELINES, "Contribution"]
