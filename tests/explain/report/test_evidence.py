"""The evidence sheet: its measurements on pictures whose noise and spectrum are known, and the sheet itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, REGIONS
from resgat_pl.explain.report.command import explain
from resgat_pl.explain.report.document import Document, read_report
from resgat_pl.explain.report.evidence import (
    CAPTION,
    Reference,
    centre_of,
    evidence_of,
    noise_level,
    patch_at,
    residual,
    side_of,
    spectrum,
)
from resgat_pl.explain.report.genuine import genuine_faces
from resgat_pl.nn.pooled import PooledClassifier

from ...helpers.tiny_runs import untrained

if TYPE_CHECKING:
    from playwright.sync_api import Page

LANDMARKS = AVERAGE_LANDMARKS.numpy()


def face(noise: float = 2.0, seed: int = 0, size: int = 224) -> Any:
    """Smooth shading with noise, ``(S, S, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, size)
    shade = 120 + 40 * x[:, None] + 20 * x
    grey = np.clip(shade + rng.normal(0, noise, (size, size)), 0, 255).astype(np.uint8)
    return grey[..., None].repeat(3, axis=2)


def changed(image: Any, region: str, change: Callable[[Any], Any]) -> Any:
    """The square of a region replaced."""
    side = side_of(LANDMARKS, region, image.shape[0])
    x0, y0, x1, y1 = patch_at(image, centre_of(LANDMARKS, region), side).box
    image = image.copy()
    image[y0:y1, x0:x1] = change(image[y0:y1, x0:x1])
    return image


@pytest.mark.parametrize("noise", [1.0, 4.0, 9.0])
def test_noise_is_measured_in_grey_levels(noise: float) -> None:
    assert noise_level(face(noise)[..., 0].astype(np.float64)) == pytest.approx(noise, rel=0.06)


def test_the_spectrum_finds_a_frequency_in_any_direction() -> None:
    x = np.arange(64)
    for angle in (0.0, 0.6, np.pi / 2):
        wave = np.sin(2 * np.pi * 12 / 64 * (np.cos(angle) * x[:, None] + np.sin(angle) * x))
        assert spectrum(wave).argmax() in {11, 12}
    assert spectrum(np.full((64, 64), 7.0)).max() < 1e-20


def test_blur_lowers_the_high_frequencies_and_the_noise() -> None:
    image = face(6.0)
    soft = cv2.GaussianBlur(image, (0, 0), 1.5)
    one, other = (patch_at(each, (0.5, 0.5), 64) for each in (image, soft))
    assert other.high < one.high - 10
    assert other.noise < one.noise / 5
    assert abs(residual(soft).astype(int) - 128).mean() < abs(residual(image).astype(int) - 128).mean() / 2


def test_a_smoothed_region_stands_out_beside_an_untouched_one() -> None:
    image = changed(face(5.0), "mouth", lambda patch: cv2.GaussianBlur(patch, (0, 0), 2.0))
    regions = dict.fromkeys(REGIONS, 0.1) | {"mouth": 2.0, "forehead": 0.01, "background": 5.0}
    records, sheet = evidence_of(image, LANDMARKS, regions, ["background", "mouth"], 7)
    (record,) = records
    assert (record.region, record.beside, record.frame) == ("mouth", "forehead", 7)
    assert record.noise < 0.4 * record.noise_beside
    assert record.high < record.high_beside - 5
    assert record.noise_percentile is None
    x0, y0, x1, y1 = record.box
    assert 0 <= x0 < x1 <= 224
    assert x1 - x0 == y1 - y0 == side_of(LANDMARKS, "mouth", 224)
    picture = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 5 * 150


def test_percentiles_are_those_of_the_genuine_faces() -> None:
    noises = np.linspace(1, 10, 19)
    genuine = [(face(noise, seed), LANDMARKS) for seed, noise in enumerate(noises)]
    reference = Reference(lambda: genuine)
    for noise, expected in ((0.2, 0.0), (5.6, 10 / 19), (20.0, 1.0)):
        records, _ = evidence_of(face(noise, 99), LANDMARKS, {"nose": 1.0}, ["nose"], 0, reference)
        assert records[0].noise_percentile == pytest.approx(expected, abs=0.06)
    assert len(reference.known) == 1  # the reference is measured once


def test_without_a_named_region_of_the_face_there_is_no_sheet() -> None:
    assert evidence_of(face(), LANDMARKS, {"background": 1.0}, ["background"], 0) == ([], b"")


def test_a_sheet_takes_less_than_two_seconds() -> None:
    regions = dict.fromkeys(REGIONS, 1.0)
    evidence_of(face(), LANDMARKS, regions, ["mouth"], 0)  # imports and fonts
    started = time.process_time()
    evidence_of(face(), LANDMARKS, regions, ["left eye", "mouth", "nose"], 0)
    assert time.process_time() - started < 2


@pytest.mark.long
def test_the_command_writes_it_and_compares_it(checkpoint: Path, media: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    explain([str(media / "one.mp4")], checkpoint, tmp_path / "out", frames=3, evidence=True, reference=ffpp_crops)
    (folder,) = [path.parent for path in (tmp_path / "out").rglob("report.json")]
    track = read_report(folder / "report.json")["tracks"][0]
    assert track["evidence"]
    for record in track["evidence"]:
        assert 0 <= record["noise_percentile"] <= 1
        assert record["frame"] in {frame["index"] for frame in track["frames"]}
    assert (folder / "evidence_face1.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert "not known to be untouched" in page
    assert "evidence_png" not in (folder / "report.json").read_text()
    with pytest.raises(ConfigError, match="--evidence true"):
        explain([str(media / "one.mp4")], checkpoint, tmp_path / "no", reference=ffpp_crops)
    with pytest.raises(ConfigError, match="--html is false"):
        explain([str(media / "one.mp4")], checkpoint, tmp_path / "no", evidence=True, html=False)
    # continued with other genuine faces, percentiles of two kinds would stand in one folder
    with pytest.raises(ConfigError, match="reference"):
        explain([str(media / "one.mp4")], checkpoint, tmp_path / "out", frames=3, evidence=True)
    # a black box names no region
    black = untrained(tmp_path / "black.ckpt", ffpp_crops, made=PooledClassifier("resnet18", image_size=64))
    explain([str(media / "one.mp4")], black, tmp_path / "black", frames=2, evidence=True)
    (report,) = (tmp_path / "black").rglob("report.json")
    assert any(note.startswith("There is no evidence sheet") for note in read_report(report)["notes"])


def test_too_few_genuine_faces_are_no_reference(ffpp_crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resgat_pl.explain.report.genuine._FEWEST", 10_000)
    with pytest.raises(ConfigError, match="genuine faces with landmarks; percentiles need 10000"):
        genuine_faces(ffpp_crops, 64)


def test_the_page_shows_sheet_numbers_and_caption(
    document: Callable[..., Document], visit: Callable[..., Page]
) -> None:
    given = document(frames=0)
    records, sheet = evidence_of(face(), LANDMARKS, {"mouth": 0.5, "nose": 0.01}, ["mouth"], 0)
    page = visit(replace(given, tracks=[replace(given.tracks[0], evidence=records, evidence_png=sheet)]))
    assert page.locator("#evidence-sheet").evaluate("image => image.naturalWidth") > 700
    assert "The mouth (+0.50 logit): noise" in page.locator("#evidence-words").inner_text()
    assert page.locator("#evidence-caption").inner_text() == CAPTION
    assert not visit(given).locator("#evidence").is_visible()
