"""Folders for tests, made and compared, and the settings of the crops that tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

from resgat_pl.data.extraction.settings import Extraction

SMALL = Extraction(frames=3, size=64)
"""The settings of the fixtures ``ffpp_crops`` and ``shard_crops``."""
OPTIONS = ["--extraction.frames", "3", "--extraction.size", "64"]
MEGABYTES = 0.12


def touch(root: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def tree(folder: Path) -> dict[str, bytes]:
    """Files below a folder but for the cache of the manifest, which any reader may leave there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.arrow")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def partly_cut(crops: Path, out: Path, videos: int = 12) -> Path:
    """A copy of crops, in files or not packed yet, as a killed run leaves it: so many videos are not cut."""
    shutil.copytree(crops, out)
    for path in sorted((out / "fragments").glob("*.parquet"))[:videos]:
        path.unlink()
        path.with_suffix(".tar").unlink(missing_ok=True)
    for name in ("manifest.parquet", "summary.json"):
        (out / name).unlink(missing_ok=True)
    return out


def stamps(folder: Path, pattern: str = "*") -> dict[Path, int]:
    """When files below a folder were last written, in ns."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob(pattern) if path.is_file()}
