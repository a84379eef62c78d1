"""``resgat explain`` on drawn people: what it finds, what it writes, and what it says when it cannot."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resgat_pl.core.folder_lock import LOCK_NAME, folder_lock
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.report.document import SCHEMA
from resgat_pl.explain.report.examine import Examiner, resize_crop
from resgat_pl.explain.report.media import cutting_of, find_faces
from resgat_pl.explain.report.media_search import search_media
from resgat_pl.explain.report.run_methods import choose_methods, is_shared, run

from ...helpers.judged_media import ODD, Run, ask, table


@pytest.fixture(scope="module")
def done(checkpoint: Path, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The folder, with reports."""
    out = tmp_path_factory.mktemp("explained") / "new"
    status = ask(checkpoint, media, "--out", out, "--methods", "Contribution,Attention,NodeEvidence,GradCAM")
    return Run(status, out, table(out))


def test_every_file_has_one_row(done: Run, media: Path) -> None:
    status = {Path(name).name: row["status"] for name, row in done.rows.items()}
    assert status == {
        ODD: "scored",
        "grey.png": "scored",
        "alpha.png": "scored",
        "one.mp4": "scored",
        "two.mp4": "scored",
        "turned.mp4": "scored",
        "empty wall.jpg": "no face",
        "broken.mp4": "failed",
        "no picture.jpg": "failed",
        "nothing.png": "failed",
    }
    assert done.status == 1  # some could not be read
    assert "not an image" in done.rows[str(media / "no picture.jpg")]["error"]
    assert "empty" in done.rows[str(media / "nothing.png")]["error"]
    assert "broken.mp4" in done.rows[str(media / "broken.mp4")]["error"]
    for row in done.rows.values():
        folder = done.out / row["report"]
        assert bool(row["report"]) == (row["status"] != "failed")
        if row["report"]:
            assert (folder / "report.html").is_file()
            assert (folder / "faces.png").is_file() == (row["status"] == "scored")
    folders = [row["report"] for row in done.rows.values() if row["report"]]
    assert len(set(folders)) == len(folders)
    assert all(name.replace("_", "").replace(".", "").replace("-", "").isalnum() for name in folders)


@pytest.mark.parametrize("name", [ODD, "grey.png", "alpha.png", "one.mp4", "two.mp4", "turned.mp4"])
def test_the_numbers_of_a_report_add_up(name: str, done: Run) -> None:
    report = done.report(name)
    assert report["file"] == name
    assert report["schema"] == SCHEMA
    assert str(done.out) not in json.dumps(report)
    units = {method["name"]: method["unit"] for method in report["methods"]}
    assert list(units) == ["Contribution", "Attention", "NodeEvidence", "GradCAM"]
    for track in report["tracks"]:
        for part in [track, *track["frames"]]:
            for method, found in part["maps"].items():
                total = sum(map(sum, found["nodes"]))
                assert np.shape(found["nodes"]) == tuple(report["grid"])
                assert sum(found["regions"]) == pytest.approx(total, abs=1e-5)
                assert len(found["regions"]) == len(report["regions"]) == 9
                if units[method] == "logit":
                    missing = abs(total + found["bias"] - part["logit"]) / (1 + abs(part["logit"]))
                    assert missing <= found["gap"] + 1e-5
                else:
                    assert found["bias"] is found["gap"] is None
            exact = part["maps"]["Contribution"]
            assert sum(exact["regions"]) + exact["bias"] == pytest.approx(part["logit"], abs=1e-4)
        chances = [frame["probability"] for frame in track["frames"]]
        hot = report["calibration"]["temperature"]  # frames are on the scale of their file, and its number among theirs
        assert chances == pytest.approx([1 / (1 + math.exp(-f["logit"] / hot)) for f in track["frames"]], rel=1e-5)
        assert min(chances) - 1e-6 <= track["probability"] <= max(chances) + 1e-6
        for frame in track["frames"]:
            side = "Fake" if frame["probability"] > report["decision"]["limit"] else "Real"
            assert frame["sentence"].startswith(side), "frames are compared with the file's threshold"
        mean = np.mean([1 / (1 + math.exp(-frame["logit"])) for frame in track["frames"]])
        power = 1 / report["calibration"]["temperature"]  # σ(log-odds / T)
        assert track["probability"] == pytest.approx(mean**power / (mean**power + (1 - mean) ** power), rel=1e-5)
        for part in [track, *track["frames"]]:  # the words state the number beside them
            said = re.search(r"probability (?:of fake )?(\d\.\d+) \(logit", part["sentence"])
            assert said is None or float(said[1]) == pytest.approx(part["probability"], abs=0.0051)
            assert said is not None or not 0.005 < part["probability"] < 0.995
        scores = [1 / (1 + math.exp(-frame["logit"])) for frame in track["frames"]]
        assert track["score"] == pytest.approx(np.mean(scores), rel=1e-5)
        assert track["logit"] == pytest.approx(np.mean([frame["logit"] for frame in track["frames"]]), rel=1e-4)
        assert len(track["maps"]["Contribution"]["edges"]) == len(report["edge_index"][0])
    assert report["probability"] == pytest.approx(max(t["probability"] for t in report["tracks"]), rel=1e-5)
    decision = report["decision"]
    assert decision["score"] == pytest.approx(max(t["score"] for t in report["tracks"]), rel=1e-5)
    assert report["verdict"] == ("fake" if decision["score"] > decision["threshold"] else "real")
    assert decision["threshold"] == (0.4 if name.endswith("mp4") else 0.5)
    assert report["calibration"]["temperature"] == (0.5 if name.endswith("mp4") else 2.0)
    assert report["calibration"]["frames"] == 2.0
    assert report["verdict"] == ("fake" if report["probability"] > decision["limit"] else "real")
    sides = {track["sentence"].removeprefix("On average over 3 frames: ").split(",")[0] for track in report["tracks"]}
    assert ("Fake" in sides) == (report["verdict"] == "fake"), "the sentences say what the verdict says"
    more = [note for note in report["notes"] if "highest score counts" in note]
    assert len(more) == (len(report["tracks"]) > 1)
    row = next(row for row in done.rows.values() if Path(row["file"]).name == name)
    assert float(row["probability"]) == report["probability"]
    assert float(row["threshold"]) == decision["limit"]
    assert row["calibrated"] == "yes"


def test_colours_have_one_scale(done: Run) -> None:
    report = done.report("two.mp4")
    methods = {method["name"]: method for method in report["methods"]}
    values = {
        name: np.abs([f["maps"][name]["nodes"] for t in report["tracks"] for f in t["frames"]]) for name in methods
    }
    in_logits = [name for name in methods if methods[name]["unit"] == "logit"]
    assert len({methods[name]["scale"] for name in in_logits}) == 1
    for name, method in methods.items():
        alike = np.concatenate([values[n].ravel() for n in (in_logits if name in in_logits else [name])])
        most = np.quantile(alike, 0.995)
        assert most * (1 - 1e-6) <= method["scale"] <= most * 1.11
    assert methods["Contribution"]["shared"]
    assert not methods["GradCAM"]["shared"]
    assert methods["GradCAM"]["backward"] > 0


def test_two_faces_are_two_sections_and_an_image_has_no_time(done: Run) -> None:
    two = done.report("two.mp4")
    assert [track["number"] for track in two["tracks"]] == [1, 2]
    boxes = [np.array(track["frames"][0]["box"]) for track in two["tracks"]]
    assert abs(boxes[0] - boxes[1]).max() > 60  # two places
    assert all(len(track["frames"]) == 3 and track["interval"] is None for track in two["tracks"]), "of three frames"
    assert [frame["time"] for frame in two["tracks"][0]["frames"]] == pytest.approx([0, 0.04, 0.08], abs=1e-3)
    image = done.report(ODD)
    assert (image["kind"], image["interval"], image["tracks"][0]["interval"]) == ("image", None, None)
    assert [frame["time"] for frame in image["tracks"][0]["frames"]] == [None]


def test_a_turned_video_and_one_with_alpha_show_the_same_face(done: Run) -> None:
    upright, turned = (done.report(name)["tracks"][0]["frames"][0] for name in ("one.mp4", "turned.mp4"))
    assert turned["box"] == pytest.approx(upright["box"], abs=6)
    assert np.array(turned["landmarks"]) == pytest.approx(np.array(upright["landmarks"]), abs=0.05)
    plain, alpha = (done.report(name)["tracks"][0]["frames"][0] for name in (ODD, "alpha.png"))
    assert alpha["logit"] == plain["logit"]
    assert alpha["landmarks_found"]


def test_a_file_without_a_face_says_so(done: Run) -> None:
    report = done.report("empty wall.jpg")
    assert (report["verdict"], report["probability"], report["tracks"]) == ("no face", None, [])
    assert any("No face was found in 1 frame of 120×80 px" in note for note in report["notes"])


def test_scores_are_those_of_the_training_crops(checkpoint: Path, ffpp_root: Path, ffpp_crops: Path) -> None:
    """The same video, cut by ``extract`` for training and by ``explain``: the same pixels, hence the same logits."""
    manifest = Manifest.read(ffpp_crops)
    rows = np.flatnonzero((manifest.column("video") == "000") & (manifest.column("method") == "original"))
    detector = Detector.load(checkpoint)
    cutting, assumed = cutting_of(detector.provenance)
    assert assumed == []
    assert (cutting.size, cutting.margin) == (64, 1.3)
    (medium,) = search_media(list(ffpp_root.glob("original_sequences/**/000.mp4"))).media
    found = find_faces(medium, replace(cutting, frames=3), 1)
    assert [shot.number for shot in found.tracks[0]] == manifest.column("frame_index")[rows].tolist()
    for side in (48, 64, 80):
        crops = FaceCrops(manifest, rows.astype(np.int64), side)
        for place, shot in enumerate(found.tracks[0]):
            stored = crops[place]["image"].permute(1, 2, 0).numpy()
            assert (resize_crop(shot.image, side) == stored).all()
    stored_points = np.stack(manifest.column("landmarks")[rows].tolist()).reshape(-1, 5, 2)
    assert np.stack([shot.landmarks for shot in found.tracks[0]]) == pytest.approx(stored_points)


def test_what_is_read_off_the_scoring_pass_is_what_the_methods_say(checkpoint: Path) -> None:
    net = Detector.load(checkpoint).net
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    names = ("Attention", "NodeEvidence", "Contribution", "AttentionExcess", "EdgeContribution")
    methods = choose_methods(",".join(names))
    found = run(net, images, methods, batch_size=2)
    assert tuple(found.methods) == names
    assert all(map(is_shared, methods))
    for shared, alone in zip(
        found.methods.values(), (method(net).attribute(images) for method in methods), strict=True
    ):
        for name, one in vars(shared).items():
            other = getattr(alone, name)
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(one, other, equal_nan=True, atol=1e-5, rtol=1e-4)
            else:
                assert one == other or name == "seconds"


@pytest.mark.long
def test_without_reports_a_killed_run_continues(
    checkpoint: Path, media: Path, done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the third file with half a line written, it goes on with what is missing and ends alike."""
    out = tmp_path / "out"
    request = (checkpoint, media, "--out", out, "--html", "false")
    original = Examiner.score
    calls: list[str] = []

    def stop(self: Examiner, *given: Any) -> Any:
        calls.append(given[0].path.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(Examiner, "score", stop)
    assert ask(*request) == 130
    first = table(out)
    assert len([row for row in first.values() if row["status"] != "failed"]) == 2
    with (out / "scores.csv").open("a") as file:
        file.write("half a li")
    assert ask(*request) == 1
    finished = table(out)
    assert finished.keys() == done.rows.keys()
    assert not set(calls[3:]) & set(calls[:2])  # what was done is not done again
    for name, row in finished.items():
        assert row["probability"] == pytest.approx(done.rows[name]["probability"]) or float(
            row["probability"]
        ) == pytest.approx(float(done.rows[name]["probability"]), abs=1e-6)
        assert (row["verdict"], row["status"], row["faces"]) == tuple(
            done.rows[name][key] for key in ("verdict", "status", "faces")
        )
    assert sorted(path.name for path in out.iterdir()) == ["not_looked_at.csv", "scores.csv", "settings.json"]
    left_out = (out / "not_looked_at.csv").read_text()
    assert "notes.txt,no image and no video\n" in left_out
    assert ".hidden.png,a hidden file\n" in left_out
    calls[:] = ["done"] * 3
    assert ask(*request) == 1  # the broken ones are tried again, nothing else
    assert calls == ["done"] * 3
    assert table(out) == finished | {name: row for name, row in table(out).items() if row["status"] == "failed"}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (4, 'has format 4; .* pip install "resgat-pl>=8.0"'),
        (1, "has format 1; .* Name a new folder"),
        ("x", "Name a new folder"),
    ],
)
def test_a_folder_of_another_version_is_not_continued(
    schema: Any, said: str, checkpoint: Path, media: Path, done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((done.out / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "schema": schema, "resgat_pl": "8.0"}))
    assert ask(checkpoint, media, "--out", tmp_path) == 2
    assert re.search(rf"settings\.json {said}", capsys.readouterr().err) or schema == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_other_settings_or_another_folder_are_refused(
    checkpoint: Path, media: Path, done: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(checkpoint, media, "--out", done.out, "--frames", 2) == 2
    said = capsys.readouterr().err
    assert str(done.out) in said
    assert "frames" in said
    assert "methods" in said
    (tmp_path / "diary.txt").write_text("mine")
    assert ask(checkpoint, media, "--out", tmp_path) == 2
    assert "diary.txt" in capsys.readouterr().err
    assert ask(checkpoint, media, "--out", tmp_path / "diary.txt") == 2
    assert "diary.txt" in capsys.readouterr().err
    assert (tmp_path / "diary.txt").read_text() == "mine"


def test_a_second_command_on_the_folder_is_refused(
    checkpoint: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both would replace the table, and rows of one would be lost."""
    given = (checkpoint, media / ODD, "--out", tmp_path, "--no-html")
    with folder_lock(tmp_path):
        assert ask(*given) == 2
        assert f"Another command is at work in {tmp_path}" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    (tmp_path / LOCK_NAME).touch()  # of a killed one
    assert ask(*given) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "settings.json"]
