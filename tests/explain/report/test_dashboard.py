"""``resgat explain --wandb``: the table and the reports as they are, and nothing without asking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resgat_pl.explain.report import dashboard

from ...helpers.command import wandb_history
from ...helpers.judged_media import ask, drawn, save, table
from ...training.loggers.test_wandb import end


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder with two pictures of people, and one file that is no picture."""
    folder = tmp_path / "media"
    for number in range(2):
        save(folder / f"person {number}.png", drawn(seed=number + 1)[0])
    (folder / "broken.png").write_text("no picture")
    return folder


@pytest.mark.long
def test_the_reports_are_pages_of_one_run(
    faces: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "MOST", 1)
    out = tmp_path / "explained"
    end()
    with pytest.warns(UserWarning, match="the reports of the first 1 of 2 files"):
        assert ask(faces, "--ckpt_path", checkpoint, "--out", out, "--wandb") == 1  # one could not be read
    end()
    (offline,) = (out / "wandb").glob("offline-run-*")
    values = {key: value for step in wandb_history(out) for key, value in step.items()}
    ((key, page),) = [(key, value) for key, value in values.items() if key.startswith("reports/")]
    name = key.removeprefix("reports/")
    assert page["_type"] == "html-file"
    sent = (offline / "files" / page["path"]).read_text(encoding="utf-8")
    assert sent == (out / name / "report.html").read_text(encoding="utf-8")
    scores = json.loads((offline / "files" / values["scores"]["path"]).read_text())
    rows = {row[0]: dict(zip(scores["columns"], row, strict=True)) for row in scores["data"]}
    expected = {Path(file).name: row for file, row in table(out).items()}
    assert set(rows) == set(expected) == {"person 0.png", "person 1.png", "broken.png"}  # no folder of this machine
    assert rows["person 0.png"]["probability"] == pytest.approx(float(expected["person 0.png"]["probability"]))
    assert rows["broken.png"]["probability"] is None


def test_without_asking_nothing_is_logged(faces: Path, checkpoint: Path, tmp_path: Path) -> None:
    (faces / "broken.png").unlink()
    assert ask(faces / "person 0.png", "--ckpt_path", checkpoint, "--out", tmp_path / "explained") == 0
    assert not list(tmp_path.rglob("wandb"))
