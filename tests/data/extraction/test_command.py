"""``resgat extract``: every video gives its crops, again and again the same."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError, DatasetNotFoundError
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import WholeFrame
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.splits.skipped import coverage

from ...helpers.clips import write
from ...helpers.folders import OPTIONS, SMALL, partly_cut, stamps, tree


@pytest.fixture
def root(ffpp_root: Path, tmp_path: Path) -> Path:
    """A copy of the small set, to be damaged."""
    return Path(shutil.copytree(ffpp_root, tmp_path / "root"))


def test_every_video_gives_its_crops(ffpp_root: Path, ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    videos = list(ffpp_root.rglob("videos/*.mp4"))
    masks = [path for path in videos if path.parent.parent.name == "masks"]
    assert len(manifest.videos()) == len(videos) - len(masks)
    assert len(manifest) == 3 * len(manifest.videos())
    for row in range(len(manifest)):
        image = cv2.imread(str(manifest.crop(row)))
        assert image is not None
        assert image.shape == (64, 64, 3)
    assert (manifest.column("sharpness") > 0).all()


def test_real_and_fake_are_aligned_pixel_for_pixel(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    rows = manifest.table.to_pylist()
    real = {(f"ffpp/original/c23/{r['video']}", r["frame_index"]): i for i, r in enumerate(rows) if not r["label"]}
    outside, inside = [], []
    for row, values in enumerate(rows):
        if not values["label"]:
            assert values["mask_path"] is None
            continue
        partner = real[values["source_video"], values["frame_index"]]
        assert values["box"] == rows[partner]["box"]
        assert values["landmarks"] == rows[partner]["landmarks"]
        images = [cv2.imread(str(manifest.crop(i))).astype(float) for i in (row, partner)]
        path = manifest.mask(row)
        assert path is not None
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if not mask.any():
            continue  # the forged region lies outside the crop
        difference = np.abs(images[0] - images[1]).mean(axis=2)
        inside.append(difference[mask > 200].mean() if (mask > 200).any() else np.nan)
        outside.append(difference[mask == 0].mean())
    assert len(inside) > 40
    assert np.nanmean(inside) > 2 * np.mean(outside)
    assert np.mean(outside) < 3  # what is left is compression


def test_landmarks_lie_in_the_crop_and_in_order(ffpp_crops: Path) -> None:
    points = np.stack(Manifest.read(ffpp_crops).column("landmarks")).reshape(-1, 5, 2)
    assert ((points > 0) & (points < 1)).all()
    assert (points[:, 0, 0] < points[:, 1, 0]).all()
    assert (points[:, :2, 1].max(axis=1) < points[:, 3:, 1].min(axis=1)).all()


def test_one_process_gives_the_bytes_of_two_and_a_second_run_touches_nothing(
    ffpp_root: Path, ffpp_crops: Path, tmp_path: Path
) -> None:
    extract(ffpp_root, tmp_path, extraction=SMALL, jobs=1)
    assert tree(tmp_path) == tree(ffpp_crops)
    before = stamps(tmp_path, "*.png")
    assert is_current(ffpp_root, tmp_path, None, SMALL)
    extract(ffpp_root, tmp_path, extraction=SMALL)
    assert stamps(tmp_path, "*.png") == before


def test_bad_videos_are_named_and_the_rest_goes_on(root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    originals = sorted((root / "original_sequences" / "youtube" / "c23" / "videos").glob("*.mp4"))
    fakes = sorted((root / "manipulated_sequences").glob("*/c23/videos/*.mp4"))
    fake = next(path for path in fakes if path.stem.startswith(originals[0].stem))
    originals[0].write_bytes(b"")
    originals[1].write_text("this is text")
    data = originals[2].read_bytes()
    originals[2].write_bytes(data[: len(data) // 3])
    write(originals[3], noise(), options={})
    shutil.copytree(ffpp_crops, tmp_path / "out")
    summary = extract(root, tmp_path / "out", extraction=SMALL)
    reasons = {key.rpartition("/")[2]: reason for key, reason in summary.skipped.items()}
    assert "empty" in reasons[originals[0].stem]
    assert "not a video" in reasons[originals[1].stem]
    assert "cut off" in reasons[originals[2].stem]
    assert "no face found in 3 frames" in reasons[originals[3].stem]
    assert len(summary.skipped) == 4
    assert any(fake.stem in key and "not aligned" in note for key, note in summary.notes.items())
    document = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert document["skipped"] == summary.skipped
    manifest = Manifest.read(tmp_path / "out")
    assert len(manifest.videos()) == summary.videos - 4
    assert {(entry["video"], entry["label"]) for entry in manifest.info["skipped"]} == {(name, 0) for name in reasons}
    lost = [coverage(manifest, 0, split) for split in ("train", "val", "test")]
    assert sum(part.real for part in lost) + lost[0].elsewhere == 4, "each is of the split of what shares its person"
    assert lost[0].elsewhere < 4


def test_a_repaired_video_is_taken_in(root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "out"))
    victim = sorted((root / "original_sequences" / "youtube" / "c23" / "videos").glob("*.mp4"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(b"")
    assert extract(root, out, extraction=SMALL).skipped
    assert is_current(root, out, None, SMALL)
    victim.write_bytes(whole)
    assert not is_current(root, out, None, SMALL)
    assert not extract(root, out, extraction=SMALL).skipped
    assert tree(out) == tree(ffpp_crops)


def test_a_shorter_fake_takes_the_common_frames(root: Path, tmp_path: Path) -> None:
    fake = next((root / "manipulated_sequences" / "Deepfakes" / "c23" / "videos").glob("*.mp4"))
    write(fake, [frame.image for frame in FrameReader([fake], "video").read(range(2))], options={})
    for path in root.rglob("*.mp4"):
        if path.stem not in {fake.stem, fake.stem.partition("_")[0]}:
            path.unlink()
    extract(root, tmp_path / "out", extraction=Extraction(frames="all", size=64))
    manifest = Manifest.read(tmp_path / "out")
    mine = (manifest.column("video") == fake.stem) & (manifest.column("method") == "Deepfakes")
    frames = manifest.column("frame_index")[mine]
    assert frames.tolist() == [0, 1]


def test_crops_made_elsewhere_are_taken_whole(tmp_path: Path) -> None:
    for name, level in (("real", 50), ("fake", 200)):
        folder = tmp_path / "root" / name / "clip"
        folder.mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((40, 30, 3), level + number, np.uint8))
    extract(tmp_path / "root", tmp_path / "out", extraction=Extraction(frames=2, size=32, detector=WholeFrame()))
    manifest = Manifest.read(tmp_path / "out")
    assert len(manifest) == 4
    assert manifest.column("landmarks").tolist() == [None] * 4
    assert {tuple(box) for box in manifest.column("box")} == {(0, 0, 30, 40)}


def test_user_mistakes(tmp_path: Path, ffpp_root: Path) -> None:
    with pytest.raises(DatasetNotFoundError):
        extract(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ConfigError, match="Name another folder"):
        extract(ffpp_root, ffpp_root)
    with pytest.raises(ConfigError, match="size is 3"):
        Extraction(size=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        extract(ffpp_root, tmp_path / "file" / "out")
    for name in ("real", "fake"):
        (tmp_path / "noise" / name).mkdir(parents=True)
        write(tmp_path / "noise" / name / "a.mp4", noise(), options={})
    with pytest.raises(DatasetNotFoundError, match="Not one face"):
        extract(tmp_path / "noise", tmp_path / "out2", extraction=SMALL)


def noise() -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 255, (5, 96, 96, 3), np.uint8))


@pytest.mark.long
def test_a_second_person_is_a_second_track(tmp_path: Path) -> None:
    from resgat_pl.data.synth.generate import synthesize

    synthesize(tmp_path / "root", layout="dfdc", videos=8, fakes_per_real=1, frames=3, size=192)
    extract(tmp_path / "root", tmp_path / "out", extraction=SMALL, jobs=2)
    manifest = Manifest.read(tmp_path / "out")
    rows = manifest.table.to_pylist()
    two = {row["video"] for row in rows if row["track"] == 1 and not row["label"]}
    assert two
    for row in rows:
        if row["label"] and row["source_video"].rpartition("/")[2] in two:
            assert {r["track"] for r in rows if r["video"] == row["video"]} == {0, 1}
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["identities"][0], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"train", "val", "test"}
    one = Extraction(frames=3, size=64, max_faces=1)
    extract(tmp_path / "root", tmp_path / "out", extraction=one, replace=True)
    manifest = Manifest.read(tmp_path / "out")
    rows = manifest.table.to_pylist()
    assert len({(row["method"], row["video"], row["track"]) for row in rows}) == len(manifest.videos())
    # Of a genuine clip it is the larger face, of a fake the one that was altered.
    assert {row["track"] for row in rows if not row["label"]} == {0}
    assert not manifest.untouched.any()


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGUSR1", marks=pytest.mark.long)])
def test_a_tool_is_stopped_in_order(name: str, ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    """Status 75, one line, no traceback; and the same command goes on."""
    out = partly_cut(ffpp_crops, tmp_path / "crops")
    command = [sys.executable, "-m", "resgat_pl", "extract", str(ffpp_root), str(out), *OPTIONS]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        while len(list(out.glob("fragments/*.parquet"))) <= 30:
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(getattr(signal, name))
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 75, errors
    assert f"resgat: stopped by {name}; what is finished stays: give the same command again" in errors
    assert "Traceback" not in errors
    assert len(list(out.glob("fragments/*.parquet"))) < 42
    extract(ffpp_root, out, extraction=SMALL)
    assert tree(out) == tree(ffpp_crops)
