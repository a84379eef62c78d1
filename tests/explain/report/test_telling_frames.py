"""``--export_frames``: the frames that speak most for the verdict, whole, with number and time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from resgat_pl.data.media.frames import FrameReader
from resgat_pl.explain.custody.record import hash_file
from resgat_pl.explain.report.document import Document
from resgat_pl.explain.report.telling_frames import telling_frames

from ...helpers.judged_media import ask


def test_the_most_telling_come_first(document: Callable[..., Document]) -> None:
    made = document(faces=2, frames=6)
    chosen = telling_frames(made, 3)
    assert [(one.track.number, one.rank) for one in chosen] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    for track in made.tracks:
        sign = 1 if track.score > made.decision.threshold else -1
        mine = [sign * one.frame.logit for one in chosen if one.track is track]
        assert mine == sorted((sign * frame.logit for frame in track.frames), reverse=True)[:3]
    assert telling_frames(document(faces=0), 3) == []


def test_frames_are_those_of_the_file_and_hashed(checkpoint: Path, media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ask(checkpoint, media / "turned.mp4", media / "sub" / "grey.png", "--out", out, "--export_frames", 2) == 0
    folder = out / "turned.mp4"
    with (folder / "frames" / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    report = json.loads((folder / "report.json").read_text())
    times = {frame["index"]: frame["time"] for frame in report["tracks"][0]["frames"]}
    whole = {frame.number: frame.image for frame in FrameReader([media / "turned.mp4"], "video").read(range(9))}
    assert [row["rank"] for row in rows] == ["1", "2"]
    hashed = {record["name"]: record["sha256"] for record in report["custody"]["outputs"]}
    for row in rows:
        path = folder / "frames" / row["png"]
        found = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(found, whole[int(row["frame"])]), "the frame itself, upright, with nothing drawn in"
        assert float(row["time"]) == times[int(row["frame"])]
        assert f"frame{int(row['frame']):06d}_{float(row['time']):.3f}s.png" == row["png"]
        record = hash_file(path)
        assert record is not None
        assert row["sha256"] == record.sha256 == hashed[f"frames/{row['png']}"]
    assert "frames/frames.csv" in hashed
    assert (out / "grey.png" / "frames" / "frame000000.png").is_file()
