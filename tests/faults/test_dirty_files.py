"""Broken and odd files among good ones: no crash, no hang, each named with its cause, the good ones as ever."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.media.frames import FrameReader

from ..helpers.tiny_runs import untrained
from .conftest import Ledger
from .corpus import Case, Picture, cases, stem, write

OPTIONS = ["--extraction.frames", "2", "--extraction.size", "64"]
Crops = dict[str, dict[int, Picture]]


@pytest.fixture(scope="module")
def face(ffpp_root: Path) -> Picture:
    """A drawn face, 192×192."""
    path = min((ffpp_root / "original_sequences").rglob("*.mp4"))
    return next(iter(FrameReader([path], "video").read([0]))).image


@pytest.fixture(scope="module")
def made(face: Picture, pytestconfig: pytest.Config) -> list[Case]:
    return cases(face, 12 if pytestconfig.getoption("--faults") == "all" else 1)


@pytest.fixture(scope="module")
def corpus(made: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "root"
    write(root, made)
    return root


def resgat(*arguments: object, seconds: float = 1500) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resgat_pl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)


def crops_of(out: Path) -> tuple[Crops, dict[str, Any]]:
    """Crops by video and frame, and the landmarks of the first of each video."""
    manifest = Manifest.read(out)
    crops: Crops = {}
    landmarks: dict[str, Any] = {}
    for row, values in enumerate(manifest.table.to_pylist()):
        crops.setdefault(values["video"], {})[values["frame_index"]] = cv2.imread(str(manifest.crop(row)))
        landmarks.setdefault(values["video"], np.reshape(values["landmarks"], (5, 2)))
    return crops, landmarks


def alike(one: Picture, other: Picture) -> float:
    """Correlation of the grey pictures."""
    return float(np.corrcoef(*(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).ravel() for image in (one, other)))[0, 1])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_extraction_names_what_is_broken_and_cuts_the_rest(
    made: list[Case], corpus: Path, face: Picture, tmp_path: Path, ledger: Ledger
) -> None:
    done = resgat("extract", corpus, tmp_path / "out", *OPTIONS, "--jobs", 2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    write(tmp_path / "clean", [case for case in made if case.expected == "good"])
    assert main(["extract", str(tmp_path / "clean"), str(tmp_path / "reference"), *OPTIONS]) == 0

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    skipped = {key.rpartition("/")[2]: reason for key, reason in summary["skipped"].items()}
    crops, landmarks = crops_of(tmp_path / "out")
    reference = crops_of(tmp_path / "reference")[0]
    wrong: dict[str, str] = {}
    shown = reference["good png"][0]
    assert all(
        alike(shown, other) < 0.6 for other in (shown[:, ::-1], shown[::-1], np.rot90(shown), np.rot90(shown, 3))
    )
    for case in made:
        name, cut = stem(case), crops.get(stem(case), {})
        if bool(cut) == (name in skipped) and case.kind != "link":
            wrong[case.name] = "neither cut nor named, or both"
        if case.expected == "good" and {k: v.tobytes() for k, v in cut.items()} != {
            k: v.tobytes() for k, v in reference[name].items()
        }:
            wrong[case.name] = f"other crops than alone: {skipped.get(name)}"
        if case.expected == "odd":
            if not cut:
                wrong[case.name] = f"valid, but {skipped[name]}"
            elif alike(cut[min(cut)], shown) < 0.65 or not upright(landmarks[name]):
                wrong[case.name] = "not the same face upright"
        if case.expected == "broken" and (case.name not in skipped.get(name, "") or case.cause not in skipped[name]):
            wrong[case.name] = f"not named with its cause: {skipped.get(name)}"
    for kind in dict.fromkeys(case.kind for case in made):
        named = [case for case in made if case.kind == kind]
        lost = sum(case.name in wrong for case in named)
        ledger(f"among others in a set: {kind}", tries=len(named), lost=lost, recovered=len(named) - lost)
    assert wrong == {}
    assert len(made) >= 40

    again = resgat("extract", corpus, tmp_path / "out", *OPTIONS, "--jobs", 1)  # tries what is broken once more
    assert again.returncode == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def upright(points: Any) -> bool:
    """Left eye left of the right one, eyes over the mouth."""
    return bool(points[0, 0] < points[1, 0] and points[:2, 1].max() < points[3:, 1].min())


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_check_names_every_file_that_cannot_be_read(
    made: list[Case], corpus: Path, tmp_path: Path, ledger: Ledger
) -> None:
    done = resgat("check", corpus, "--json", tmp_path / "report.json")
    assert "Traceback" not in done.stderr
    assert done.returncode in {1, 2}, done.stderr[-2000:]  # the same face is in several splits, or files are broken
    report = json.loads((tmp_path / "report.json").read_text())
    named = {key.rpartition("/")[2]: reason for key, reason in report["unreadable"].items()}
    broken = [case for case in made if case.expected == "broken" and case.kind != "odd size"]
    wrong = [case.name for case in broken if case.name not in named.get(stem(case), "")]
    wrong += [case.name for case in made if case.expected in {"good", "odd"} and stem(case) in named]
    ledger("broken files under resgat check", tries=len(broken), lost=len(wrong), recovered=len(broken) - len(wrong))
    assert wrong == []


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_explain_names_every_file_that_cannot_be_judged(
    made: list[Case], corpus: Path, ffpp_crops: Path, tmp_path: Path, ledger: Ledger
) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops, thresholds={"frame": 0.5, "video": 0.5})
    done = resgat("explain", checkpoint, corpus, "--out", tmp_path / "out", "--no-html", "--frames", 2)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode == 1, done.stderr[-2000:]
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    wrong = []
    for case in made:
        row = rows.get(case.name, {"status": "absent", "error": ""})
        if case.kind == "link" and case.name == "upwards":
            continue
        sound = case.expected in {"good", "odd"} or case.name == "an mp4.jpg"  # known by its content, unlike in a set
        if sound and row["status"] != "scored":
            wrong.append((case.name, row["status"], row["error"]))
        if case.expected == "broken" and not sound and row["status"] not in {"failed", "no face"}:
            wrong.append((case.name, row["status"], row["error"]))
        if row["status"] == "failed" and not row["error"]:
            wrong.append((case.name, "failed", "without a cause"))
    ledger("broken files under resgat explain", tries=len(made), lost=len(wrong), recovered=len(made) - len(wrong))
    assert wrong == []
