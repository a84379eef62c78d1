"""``resgat explain`` with a pool beside the checkpoint: ratios in table, report and console, and reasons."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.data.synth.encode import write_video
from resgat_pl.evaluation.likelihood_pool import LikelihoodPool, likelihood_path
from resgat_pl.evaluation.metrics.likelihood import LikelihoodRatios
from resgat_pl.explain.report.document import read_report
from resgat_pl.explain.report.scores_csv import BINS
from resgat_pl.nn.checkpoint_file import file_fingerprint

from ...helpers.judged_media import ask, drawn, save, table


@pytest.fixture(scope="module")
def calibrated(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copy(checkpoint, tmp_path_factory.mktemp("calibrated") / "a.ckpt"))
    ratios = {
        "frame": LikelihoodRatios(1.0, 9.0, -1.5, 1.5, 40, 40, 0.3, 0.2),  # so that every score is evidence of fake
        "video": LikelihoodRatios(1.0, 1.0, -1.5, 1.5, 40, 40, 0.3, 0.2),
    }
    LikelihoodPool(file_fingerprint(path), ratios, "40 videos", None).write(likelihood_path(path))
    return path


def test_ratios_are_in_table_report_and_console(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    media = tmp_path / "media"
    save(media / "one.png", drawn()[0])
    save(media / "wall.png", np.full((80, 120, 3), 127, np.uint8))
    write_video(media / "dark.mp4", (drawn() // 5).astype(np.uint8))
    write_video(media / "clip.mp4", drawn())
    assert ask("--ckpt_path", calibrated, media, "--out", tmp_path / "out", "--methods", "Contribution") == 0
    said = capsys.readouterr().out
    rows = {Path(name).name: row for name, row in table(tmp_path / "out").items()}
    assert [row["bin"] for row in table(tmp_path / "out").values()] == sorted(row["bin"] for row in rows.values())
    assert rows["wall.png"]["bin"] == BINS[4] and not rows["wall.png"]["log10_lr"]
    for name in ("one.png", "clip.mp4"):
        row, report = rows[name], read_report(tmp_path / "out" / rows[name]["report"] / "report.json")
        found = report["strength"]["likelihood"]
        assert float(row["log10_lr"]) == found["log10_lr"]
        score = report["decision"]["score"]
        line = np.log(score / (1 - score)) + (9 if name == "one.png" else 1)
        assert found["log10_lr"] == pytest.approx(np.clip(line / np.log(10), -1.5, 1.5), abs=1e-3)
        assert row["reasons"].split(" | ") == report["decision"]["reasons"] or not row["reasons"]
        assert (report["verdict"] == "inconclusive") == bool(report["decision"]["reasons"])
        assert row["verdict"] == report["verdict"] and row["leaning"] == report["decision"]["leaning"]
    assert rows["one.png"]["log10_lr"] == "1.5" and "likelihood ratio 32 (moderate support for fake)" in said
    assert "  Inconclusive: The evidence is weak" in said
    # Without explanations the same is said, and 0 never says inconclusive.
    for out, more in (("table", ()), ("never", ("--inconclusive", 0))):
        assert ask("--ckpt_path", calibrated, media, "--out", tmp_path / out, "--no-html", *more) == 0
        again = {Path(name).name: row for name, row in table(tmp_path / out).items()}
        for name, row in again.items():
            same = ("verdict", "reasons", "log10_lr", "bin") if out == "table" else ("leaning", "log10_lr")
            assert {key: row[key] for key in same} == {key: rows[name][key] for key in same}, name
            assert out == "table" or row["verdict"] == row["leaning"]


def test_bad_values_and_pools_are_named(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "one.png", drawn()[0])
    request = ("--ckpt_path", calibrated, tmp_path / "one.png", "--out", tmp_path / "out")
    assert ask(*request, "--inconclusive", 0.5) == 2
    assert "--inconclusive is 0.5" in capsys.readouterr().err
    stored = json.loads(likelihood_path(calibrated).read_text())
    other = Path(shutil.copy(calibrated, tmp_path / "b.ckpt"))
    likelihood_path(other).write_text(json.dumps({**stored, "ratios": {"frame": {"slope": 1}, "video": None}}))
    assert ask("--ckpt_path", other, tmp_path / "one.png", "--out", tmp_path / "out") == 2
    assert "b.likelihood.json holds no likelihood ratios" in capsys.readouterr().err
