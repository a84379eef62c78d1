"""Arguments of ``resgat explain``: files, methods and settings, refused or understood."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from resgat_pl.core.errors import DatasetNotFoundError
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import MTCNN, WholeFrame
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.report.command import explain
from resgat_pl.explain.report.media import cutting_of, safe_names
from resgat_pl.explain.report.media_search import search_media
from resgat_pl.nn.checkpoint_file import read_file

from ...helpers.judged_media import ODD, ask, table
from ...helpers.tiny_runs import tiny


def test_mistakes_are_named(checkpoint: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = media / ODD
    (tmp_path / "hollow").mkdir()
    for given, said in (
        ((checkpoint, tmp_path / "absent.mp4"), "absent.mp4 does not exist"),
        ((checkpoint, tmp_path / "hollow"), "holds no image and no video"),
        ((tmp_path / "absent.ckpt", picture), "absent.ckpt"),
        ((checkpoint, picture, "--methods", "Tea"), "there is no method 'Tea'. There are: Attention, "),
        ((checkpoint, picture, "--methods", " , "), "names nothing"),
        ((checkpoint, picture, "--frames", 0), "--frames is 0"),
        ((checkpoint, picture, "--every", 0), "--every is 0"),
        ((checkpoint, picture, "--faces", -1), "--faces is -1"),
        ((checkpoint, media / "no picture.jpg"), "not an image that can be decoded"),
        ((checkpoint, media / "empty wall.jpg"), "no face was found"),
    ):
        assert ask(*given, "--out", tmp_path / "out" / said[:8]) == 2
        assert said in capsys.readouterr().err


def test_faces_cut_out_already_are_taken_whole(checkpoint: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    crop = sorted((ffpp_crops / "crops").rglob("*_*.png"))[0]
    said = explain([str(crop)], checkpoint, tmp_path / "out", detector=WholeFrame(), overlays=True)
    assert "1 of 1 files judged" in said
    (path,) = (tmp_path / "out").rglob("report.json")
    (frame,) = json.loads(path.read_text())["tracks"][0]["frames"]
    assert frame["box"] == [0, 0, 64, 64]
    assert not frame["landmarks_found"]
    assert "average face" in frame["sentence"]
    names = sorted(file.name for file in (path.parent / "overlays").iterdir())
    assert names == [f"face1_frame000000_{m}.png" for m in ("Attention", "Contribution", "NodeEvidence")]


def test_how_crops_were_cut_is_read_from_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    provenance = read_file(checkpoint)["provenance"]
    spec = {"size": 96, "margin": 1.7, "image": "jpg-80", "detector": "MTCNN", "max_side": 320}
    found, assumed = cutting_of({"data": {"extraction": spec}})
    assert (found.size, found.margin, found.image_format, found.quality) == (96, 1.7, "jpg", 80)
    assert isinstance(found.face_detector, MTCNN)
    assert (found.face_detector.max_side, assumed) == (320, [])
    found, assumed = cutting_of({"data": {"extraction": {**spec, "detector": "YuNet"}}})
    assert "YuNet" in assumed[0]
    # a detector of another package is made again where it is imported or installed, whatever it calls itself
    record = {"class_path": f"{WholeFrame.__module__}.WholeFrame", "init_args": {}}
    found, assumed = cutting_of({"data": {"extraction": {**spec, "face_detector": record}}})
    assert (type(found.face_detector), assumed) == (WholeFrame, [])
    record = {"class_path": "absent_package.Faces", "init_args": {}}
    found, assumed = cutting_of({"data": {"extraction": {**spec, "face_detector": record}}})
    assert isinstance(found.face_detector, MTCNN)
    assert "absent_package.Faces is not part of this package" in assumed[0]
    assert "MTCNN is used" in assumed[0]
    # an older checkpoint does not say, but its crops may still be there
    older = {"data": {key: value for key, value in provenance["data"].items() if key != "extraction"}}
    assert (cutting_of(older)[0].size, cutting_of(older)[1]) == (64, [])
    for gone in (
        None,
        {},
        {"data": {**older["data"], "crops": str(tmp_path)}},
        {"data": {**older["data"], "manifest": ""}},
    ):
        found, assumed = cutting_of(gone)
        assert found.spec == Extraction().spec
        assert "does not say" in assumed[0]


def test_names_become_folders_that_differ() -> None:
    names = ["a/x.png", "b/x.png", "X.png", "…", "..", "a b?.mp4", "ü.png", "x.png-2"]
    folders = safe_names(names, taken=["old"])
    assert folders[:4] == ["x.png", "x.png-2", "X.png-3", "file"]
    assert len({name.casefold() for name in folders}) == len(names)
    assert all(name not in {"", ".", ".."} and "/" not in name for name in folders)
    assert safe_names(["old"], taken=["OLD"]) == ["old-2"]
    assert len(safe_names(["x" * 300])[0]) <= 100


def test_media_are_found_once_and_in_order(media: Path, tmp_path: Path) -> None:
    found = search_media([media / "two.mp4", media, media]).media
    assert found[0].path.name == "two.mp4"
    assert len(found) == 10
    assert {medium.kind for medium in found} == {"image", "video"}
    shutil.copy(media / ODD, tmp_path / "picture")
    shutil.copy(media / "one.mp4", tmp_path / "film")
    kinds = [medium.kind for medium in search_media([tmp_path / "picture", tmp_path / "film"]).media]
    assert kinds == ["image", "video"]
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        search_media([tmp_path / "nowhere"])


def test_a_name_need_not_be_unicode(checkpoint: Path, media: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(media / ODD, folder / name)
    except OSError:
        pytest.skip("this file system wants Unicode")
    assert ask(checkpoint, folder, "--out", tmp_path / "out") == 0
    ((file, row),) = table(tmp_path / "out").items()
    assert file == str(folder / name)
    assert json.loads((tmp_path / "out" / row["report"] / "report.json").read_text())["file"] == "caf�.png"


def test_training_leaves_what_explaining_needs_in_the_checkpoint(ffpp_crops: Path, tmp_path: Path) -> None:
    fitted = tiny("fit", tmp_path, ffpp_crops, "--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1)
    assert fitted.status == 0, fitted.errors
    path = tmp_path / "checkpoints" / "last.ckpt"
    entry = read_file(path)["resgat"]
    assert {"temperature", "video_temperature"} <= entry.keys()
    assert sum(entry["validation"][name] for name in ("real", "fake")) == 6, "the videos of the validation split"
    assert Detector.load(path).temperatures["frame"] == entry["temperature"]
    assert cutting_of(Detector.load(path).provenance)[0].size == 64
    content = read_file(path)
    del content["resgat"]["temperature"]  # as checkpoints from before it
    torch.save(content, path)
    assert Detector.load(path).temperatures["frame"] is None
