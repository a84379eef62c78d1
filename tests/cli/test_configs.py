from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from resgat_pl.cli.configs import FOLDER, configs, shipped_path
from resgat_pl.cli.main import main
from resgat_pl.cli.options import arrange_trainer
from resgat_pl.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_every_configuration_is_listed_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == NAMES
    assert all(10 < len(about) < 120 for _, about in lines)


@pytest.mark.parametrize("dest", ["my.yaml", ""])
def test_a_copy_is_the_file_and_overwrites_nothing(dest: str, tmp_path: Path) -> None:
    assert main(["configs", "copy", "dfdc_gatv1", str(tmp_path / dest)]) == 0
    copy = tmp_path / (dest or "dfdc_gatv1.yaml")
    assert copy.read_bytes() == (ROOT / "configs" / "dfdc_gatv1.yaml").read_bytes()
    with pytest.raises(ConfigError, match="is there already and is not overwritten"):
        configs("copy", "smoke", copy)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'dfdc_gat1'\. Did you mean dfdc_gatv1\?"):
        configs("copy", "dfdc_gat1")


def test_fit_takes_the_shipped_one_where_there_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = str(FOLDER / "gpu.yaml")
    for given in ("gpu", "gpu.yaml", "configs/gpu.yaml"):
        assert shipped_path(given) == shipped
    assert arrange_trainer(["fit", "--config", "gpu", "--config=gpu"]).words == [
        *("fit", "--config", shipped),
        f"--config={shipped}",
    ]
    assert [shipped_path(other) for other in ("other", "runs/gpu.yaml", "gpu.yml")] == [
        "other",
        "runs/gpu.yaml",
        "gpu.yml",
    ]
    (tmp_path / "gpu.yaml").write_text("model: {}\n")
    assert shipped_path("gpu.yaml") == "gpu.yaml"


@pytest.mark.long
def test_configurations_are_in_the_wheel(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    licence = "resgat_pl/data/layouts/ffpp_splits/LICENSE"
    (tmp_path / licence).parent.mkdir(parents=True)
    (tmp_path / "resgat_pl" / "cli").mkdir()
    for name in ("resgat_pl/__init__.py", "resgat_pl/cli/__init__.py", licence):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "resgat_pl" / "cli" / "shipped").symlink_to("../../configs")
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        for name in NAMES:
            assert yaml.safe_load(wheel.read(f"resgat_pl/cli/shipped/{name}.yaml"))
