from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from resgat_pl import reproduce as module
from resgat_pl.errors import ConfigError
from resgat_pl.metrics.intervals import Interval
from resgat_pl.reproduce import Result, reproduce, train_and_test

from .runs import TINY, metrics

TABLE = Path(__file__).parent.parent / "experiments" / "table1.yaml"


def test_rows_without_data_are_named_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_resgat", lambda *_: pytest.fail("nothing may be run"))
    text = reproduce(TABLE, out=tmp_path)
    assert text.count("not run: FFPP_ROOT is not set") == 2
    assert text.count("not run: DFDC_ROOT is not set") == 2
    for paper in ("99.68 / 99.90", "99.93 / 99.90", "80.01 / 85.92", "81.72 / 85.96"):
        assert paper in text
    assert (tmp_path / "table_real.md").read_text() == text


def test_rows_are_run_and_failures_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def train(folder: Path, arguments: list[str]) -> Result:
        seen.append((folder.name, arguments[1]))
        if folder.name == "dfdc_gatv1":
            raise ConfigError("out of luck")
        return Result(10, 5, {name: Interval(0.5, 0.4, 0.6) for name in NAMES})

    NAMES = [f"{level}_{name}" for level in ("frame", "video") for name in ("f1_fake", "f1_real", "auroc")]  # noqa: N806
    monkeypatch.setattr(module, "train_and_test", train)
    monkeypatch.setenv("FFPP_ROOT", "/data")
    monkeypatch.setenv("DFDC_ROOT", "/data")
    text = reproduce(TABLE, out=tmp_path)
    assert [name for name, _ in seen] == ["ffpp_gatv1", "ffpp_gatv2", "dfdc_gatv1", "dfdc_gatv2"]
    assert all(Path(config).is_file() for _, config in seen)
    assert "failed: out of luck" in text
    assert text.count("50.00 [40.00, 60.00]") == 3 * 4
    assert len(json.loads((tmp_path / "table_real.json").read_text())) == 4


def test_a_run_is_done_once(ffpp_crops: Path, tmp_path: Path) -> None:
    arguments = ["--config", str(TINY), "--data.crops", str(ffpp_crops)]
    result = train_and_test(tmp_path, arguments)
    assert result.values["video_auroc"].value == pytest.approx(metrics(tmp_path / "version_1")["test/video_auroc"])
    interval = result.values["frame_auroc"]
    assert interval.low <= interval.value <= interval.high
    shutil.rmtree(tmp_path / "version_0")
    assert train_and_test(tmp_path, arguments) == result
    with pytest.raises(ConfigError, match="result of other options"):
        train_and_test(tmp_path, [*arguments, "--net.heads", "1"])


def test_a_table_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no table"):
        reproduce(tmp_path / "absent.yaml")
    (tmp_path / "table.yaml").write_text("rows: [{name: a}]")
    with pytest.raises(ConfigError, match="attention, config, dataset"):
        reproduce(tmp_path / "table.yaml")
