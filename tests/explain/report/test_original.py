"""``--original``: the file beside the recording that it was made from, and its pixels put back."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.synth.encode import write_video
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.custody.record import FileHash
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FoundFaces, cutting_of, find_faces
from resgat_pl.explain.report.media_search import Medium, search_media
from resgat_pl.explain.report.original import compare
from resgat_pl.explain.report.restoration import comparison_of
from resgat_pl.explain.report.run_methods import choose_methods
from resgat_pl.nn.checkpoint_file import read_file

from ...helpers.judged_media import Json, ask, drawn, save


def alter(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames with other colours in the lower half of the face."""
    changed = frames.copy()
    height, width = frames.shape[1:3]
    area = (slice(None), slice(height // 2, 2 * height // 3), slice(width // 3, 2 * width // 3))
    changed[area] = 255 - changed[area]
    return changed


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case and its original, as pictures and as videos, on a scene that is not plain."""
    folder = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(0)
    original = drawn(frames=4, size=256)
    noise = cv2.resize(rng.integers(0, 90, (24, 24, 3)).astype(np.uint8), (256, 256), interpolation=cv2.INTER_CUBIC)
    original[:, :60] = original[:, :60] // 2 + noise[:60]
    save(folder / "original.png", original[0])
    save(folder / "case.png", alter(original)[0])
    write_video(folder / "original.mp4", original)
    write_video(folder / "case.mp4", alter(original))
    write_video(folder / "longer.mp4", np.concatenate([original, original]))
    write_video(folder / "smaller.mp4", np.ascontiguousarray(original[:, ::2, ::2]))
    write_video(folder / "shifted.mp4", np.roll(original, 6, axis=2))
    other = drawn(frames=4, size=256, seed=9)
    other[:, :60] = 255 - original[:, :60]
    write_video(folder / "other.mp4", np.ascontiguousarray(other[:, :, ::-1]))
    return folder


class Judged(NamedTuple):
    detector: Detector
    cutting: Extraction
    medium: Medium
    found: FoundFaces


@pytest.fixture(scope="module")
def judged(checkpoint: Path, pair: Path) -> Judged:
    detector = Detector.load(checkpoint)
    cutting, _ = cutting_of(detector.provenance)
    (case,) = search_media([pair / "case.mp4"]).media
    return Judged(detector, cutting, case, find_faces(case, cutting, 1))


def report_of(checkpoint: Path, out: Path, case: Path, original: Path) -> Json:
    assert ask(checkpoint, case, "--out", out, "--original", original) == 0
    content: Json = json.loads((out / case.name / "report.json").read_text())
    return content


def between(checkpoint: Path, path: Path, logits: list[float]) -> Path:
    """The checkpoint with a threshold between two logits, so that one is called fake and the other real."""
    content = read_file(checkpoint)
    middle = 1 / (1 + math.exp(-sum(logits) / 2))
    content["resgat"]["thresholds"] = {"frame": middle, "video": middle}
    torch.save(content, path)
    return path


def test_what_is_put_back_adds_up_and_turns_the_verdict(checkpoint: Path, pair: Path, tmp_path: Path) -> None:
    report = report_of(checkpoint, tmp_path / "one", pair / "case.png", pair / "original.png")
    (face,) = report["original"]["faces"]
    assert face["logit"] == pytest.approx(report["tracks"][0]["frames"][0]["logit"], abs=1e-5)
    for name in ("region_changes", "node_changes"):
        assert sum(face[name]) == pytest.approx(face["original_logit"] - face["logit"], abs=1e-6), name
    assert abs(face["original_logit"] - face["logit"]) > 1e-4, "or nothing was tested"
    assert sorted(face["nodes"]) == list(range(math.prod(report["grid"])))
    assert face["node_counts"][-1] == len(face["nodes"])
    # A threshold between the two: then some number of nodes turns the verdict, and the words and numbers agree.
    weights = between(checkpoint, tmp_path / "between.ckpt", [face["logit"], face["original_logit"]])
    turning = report_of(weights, tmp_path / "two", pair / "case.png", pair / "original.png")
    (face,) = turning["original"]["faces"]
    assert (face["logit"] > face["limit"]) == (turning["verdict"] == "fake")
    reached = face["logit"] + np.cumsum(face["node_changes"])
    kept = (reached > face["limit"]) == (turning["verdict"] == "fake")
    assert face["turned_by"] == face["node_counts"][int(np.flatnonzero(kept).max(initial=-1)) + 1]
    assert f"{face['turned_by']} of {len(face['nodes'])} nodes turn it" in face["sentence"]
    assert "alone turns" in face["sentence"] or "alone does not turn" in face["sentence"]
    folder = tmp_path / "two" / "case.png"
    assert (folder / "original_face1.png").is_file()
    assert "original_face1.png" in {record["name"] for record in turning["custody"]["outputs"]}
    assert face["sentence"].split(":")[0] in (folder / "report.html").read_text()
    steps = [step["name"] for step in turning["custody"]["steps"]]
    assert "put the original beside it" in steps


def test_only_what_differs_changes_the_logit(judged: Judged, pair: Path) -> None:
    """The same crop twice: nothing that is put back changes anything."""
    detector, cutting, case, found = judged
    (original,) = search_media([pair / "original.mp4"]).media
    examiner = Examiner(detector, cutting, [], choose_methods("Contribution,Attention"))
    document = examiner.document(case, found, 0.0)
    record = FileHash("original.mp4", 1, "0" * 64)
    beside = compare(case, original, found, cutting)
    assert beside.share > 0.75
    (face,) = comparison_of(document, found, beside, record, detector.net).faces
    assert face.difference > 1
    same = beside._replace(crops={(shot.number, 0): shot.image for shot in found.tracks[0]})
    (face,) = comparison_of(document, found, same, record, detector.net).faces
    assert face.difference == 0
    assert set(face.node_changes) == set(face.region_changes) == {0.0}
    assert face.turned_by is None
    assert "cannot turn the verdict" in face.sentence or "no verdict to turn" in face.sentence


@pytest.mark.parametrize(
    ("original", "said"),
    [
        ("longer.mp4", "has 8 frames, .*case.mp4 4: another length"),
        ("smaller.mp4", "is 128×128 px, .*case.mp4 256×256 px: another size"),
        ("shifted.mp4", "it is shifted by -?6.0 px to the right"),
        ("other.mp4", "around the faces .*, and a pair has 75% or more"),
    ],
)
def test_what_is_no_pair_is_an_error_with_its_measure(original: str, said: str, judged: Judged, pair: Path) -> None:
    (other,) = search_media([pair / original]).media
    with pytest.raises(ConfigError, match=said):
        compare(judged.medium, other, judged.found, judged.cutting)


def test_pictures_need_no_like_names(judged: Judged, pair: Path, tmp_path: Path) -> None:
    for name, source in (("0007.png", "case.png"), ("0001.png", "original.png")):
        (tmp_path / name).write_bytes((pair / source).read_bytes())
    case, original = (search_media([tmp_path / name]).media[0] for name in ("0007.png", "0001.png"))
    found = find_faces(case, judged.cutting, 1)
    assert list(compare(case, original, found, judged.cutting).crops) == [(0, 0)]


@pytest.mark.parametrize(
    ("case", "original", "said"),
    [
        ("case.mp4", "case.mp4", "the very file"),
        ("case.mp4", "nowhere.mp4", "original .*nowhere.mp4 is missing"),
        (".", "original.mp4", "is of one file, and"),
        ("case.png", "original.mp4", "is of kind video, .* image"),
    ],
)
def test_what_cannot_be_an_original_is_an_error(
    case: str,
    original: str,
    said: str,
    checkpoint: Path,
    pair: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ask(checkpoint, pair / case, "--out", tmp_path / "out", "--original", pair / original) == 2
    found = capsys.readouterr().err
    assert re.search(said, found), found
    assert not list((tmp_path / "out").rglob("report.json"))
