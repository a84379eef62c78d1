"""Check of the installed OpenCV: another version gives other boxes and pixels, and so other scores."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from resgat_pl.core.errors import ConfigError

FROM: Final = (5, 0)
BELOW: Final = (5, 1)
"""The range that was tested, also that of ``pyproject.toml``. Before 5.0 MTCNN in ``cv2.dnn`` gives other boxes, and
``warpAffine`` and ``remap`` other pixels: the same video, the same detector, another score; 4.10 reads no picture."""
PACKAGES: Final = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "opencv-python-headless-rolling",
    "opencv-python-rolling",
    "opencv-contrib-python-headless-rolling",
    "opencv-contrib-python-rolling",
    "opencv-python-inference-engine",
)
"""Packages that all write into the same folder ``cv2``: the last one installed overwrites the others in part."""
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")
_FILE: Final = re.compile(r"opencv_version\s*=\s*[\"']([^\"']+)")


def installed() -> dict[str, str]:
    """Version by package of ``PACKAGES``, of those that are installed; conda's one library under all its names once."""
    found, of_conda = {}, False
    for name in PACKAGES:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if (package.read_text("INSTALLER") or "").strip() == "conda":
            if of_conda:
                continue
            of_conda = True
        found[name] = package.version
    return found


@cache
def require() -> None:
    """Make sure that there is one OpenCV, of the range that was tested, without importing it.

    Raises:
        ConfigError: There is none, another, or several; with the command that repairs it.
    """
    found = installed()
    named = " and ".join(f"{name} {number}" for name, number in found.items())
    right = f"{FROM[0]}.{FROM[1]} up to, not including, {BELOW[0]}.{BELOW[1]}"
    # Removing one of several takes files away from the one that stays, so all go.
    remove = f"pip uninstall -y {' '.join(found)} && " if found else ""
    remedy = f"{remove}pip install 'opencv-python-headless>={FROM[0]}.{FROM[1]},<{BELOW[0]}.{BELOW[1]}'"
    if len(found) > 1:
        raise ConfigError(
            f"Several packages of OpenCV are installed: {named}. They overwrite each other's files in cv2/, so that "
            f"what runs is a mixture. Keep one: {remedy}"
        )
    here = _imported()
    if here is None:
        broken = f" ({named} is listed, but its files in cv2/ are gone)" if found else ""
        raise ConfigError(f"OpenCV is not installed{broken}: {remedy}")
    number = here or next(iter(found.values()), "")
    match = _NUMBERS.match(number)
    if match is None or not FROM <= (int(match[1]), int(match[2])) < BELOW:
        listed = f" ({named})" if named and named.rpartition(" ")[2] != number else ""
        raise ConfigError(
            f"OpenCV {number or 'of an unknown version'}{listed} is installed, and {right} is needed: with another one "
            f"boxes, crops and scores differ from those that a detector was trained and tested with. {remedy}"
        )


def _imported() -> str | None:
    """Version that ``import cv2`` would import, from its file; empty if it is not there, None without an OpenCV."""
    try:
        spec = importlib.util.find_spec("cv2")
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:  # a folder without files is a package to Python
        return None
    try:
        match = _FILE.search(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        match = None
    if match is not None:
        return match[1]
    try:  # built from source: only the library itself knows
        import cv2
    except ImportError:
        return None
    return str(getattr(cv2, "__version__", ""))
