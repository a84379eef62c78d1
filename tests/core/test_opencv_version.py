"""Which OpenCV is refused, in one message with the command that repairs it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from resgat_pl.core import opencv_version as opencv
from resgat_pl.core.errors import ConfigError

INSTALL = "pip install 'opencv-python-headless>=5.0,<5.1'"


@pytest.fixture(autouse=True)
def _look_again() -> Iterator[None]:
    opencv.require.cache_clear()
    yield
    opencv.require.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages in the place of all others."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    return tmp_path


def package(site: Path, name: str, number: str, files: bool = True, installer: str = "pip") -> None:
    """Leave what installing a package of OpenCV leaves."""
    info = site / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    (info / "INSTALLER").write_text(f"{installer}\n")
    if files:
        (site / "cv2").mkdir(exist_ok=True)
        (site / "cv2" / "__init__.py").write_text("")
        (site / "cv2" / "version.py").write_text(f'opencv_version = "{number}"\nheadless = True\n')


@pytest.mark.parametrize("name", opencv.PACKAGES)
def test_one_of_the_tested_range_is_fine(site: Path, name: str) -> None:
    package(site, name, "5.0.0.93")
    opencv.require()


def test_what_is_here_is_fine() -> None:
    opencv.require()


@pytest.mark.parametrize("number", ["4.10.0.84", "4.14.0.94", "5.1.0.1", "6.0.0", "rolling"])
def test_outside_the_tested_range(site: Path, number: str) -> None:
    package(site, "opencv-python-headless", number)
    with pytest.raises(ConfigError, match=re.escape(f"OpenCV {number} is installed, and 5.0 up to")) as caught:
        opencv.require()
    assert str(caught.value).endswith(f" pip uninstall -y opencv-python-headless && {INSTALL}")


@pytest.mark.parametrize("other", opencv.PACKAGES[1:])
def test_two_packages_in_one_folder(site: Path, other: str) -> None:
    package(site, "opencv-python-headless", "5.0.0.93")
    package(site, other, "5.0.0.93")
    with pytest.raises(ConfigError, match="Several packages of OpenCV are installed") as caught:
        opencv.require()
    assert f"opencv-python-headless 5.0.0.93 and {other} 5.0.0.93" in str(caught.value)
    assert str(caught.value).endswith(f" pip uninstall -y opencv-python-headless {other} && {INSTALL}")


def test_one_library_of_conda_under_two_names(site: Path) -> None:
    for name in opencv.PACKAGES[:2]:
        package(site, name, "5.0.0", installer="conda")
    opencv.require()


def test_files_of_another_version_than_the_listed_one(site: Path) -> None:
    package(site, "opencv-python", "4.10.0.84")
    package(site, "opencv-python-headless", "5.0.0.93", files=False)
    (site / "opencv_python-4.10.0.84.dist-info").rename(site / "gone")
    with pytest.raises(ConfigError, match=re.escape("OpenCV 4.10.0.84 (opencv-python-headless 5.0.0.93) is installed")):
        opencv.require()


@pytest.mark.parametrize("listed", [False, True])
def test_missing(site: Path, listed: bool) -> None:
    if listed:  # the other package was removed, and its files are those of this one
        package(site, "opencv-python-headless", "5.0.0.93", files=False)
        (site / "cv2").mkdir()
    with pytest.raises(ConfigError, match="OpenCV is not installed") as caught:
        opencv.require()
    assert ("its files in cv2/ are gone" in str(caught.value)) == listed
    assert str(caught.value).endswith(INSTALL)


def test_a_command_and_an_import_say_so_once(tmp_path: Path) -> None:
    package(tmp_path, "opencv-python", "4.10.0.84", files=False)
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    command = start + "from resgat_pl.cli.main import main; sys.exit(main(['explain', 'a.ckpt', 'b.mp4']))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("resgat: error: Several packages of OpenCV are installed: ")
    helped = start + "from resgat_pl.cli.main import main; sys.exit(main(['--help']))"
    assert subprocess.run([sys.executable, "-c", helped], capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", f"{start} import resgat_pl.data.media.frames"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigError: Several packages of OpenCV are installed: " in done.stderr


def test_the_range_is_that_of_the_package() -> None:
    path = Path(__file__).parents[2] / "pyproject.toml"
    needed = tomllib.loads(path.read_text())["project"]["dependencies"]
    (bound,) = [line for line in needed if line.startswith("opencv")]
    lower, upper = re.fullmatch(r"opencv-python-headless>=([\d.]+),<([\d.]+)", bound).groups()  # type: ignore[union-attr]
    padded = [tuple(map(int, f"{number}.0".split(".")))[:2] for number in (lower, upper)]
    assert padded == [opencv.FROM, opencv.BELOW]
