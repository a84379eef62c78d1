"""Folders of crops in shards for tests: made, looked into, and interrupted while being made."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.data.crop_store.reader import FOLDER, crop_of, mask_of
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.manifest.table import Manifest

from ...helpers.folders import MEGABYTES, SMALL


def again(root: Path, out: Path, **options: Any) -> Manifest:
    extract(root, out, extraction=SMALL, **{"store": "shards", "shard_megabytes": MEGABYTES, **options})
    return Manifest.read(out)


def tars(out: Path) -> list[Path]:
    return sorted((out / FOLDER).glob("*.tar"))


def names_in(out: Path) -> list[str]:
    names = []
    for path in tars(out):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    return names


def content(manifest: Manifest) -> list[tuple[bytes, bytes | None]]:
    masks = [mask_of(manifest, row) for row in range(len(manifest))]
    crops = [crop_of(manifest, row).read_bytes() for row in range(len(manifest))]
    return [(crop, None if mask is None else mask.read_bytes()) for crop, mask in zip(crops, masks, strict=True)]


class Killed(BaseException):
    """Stands for a kill: nothing catches it on purpose."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int, *places: tuple[Any, str]) -> None:
    """Let the process die just before its ``step``-th change of the disk."""
    steps = count()

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if next(steps) == step:
                raise Killed
            return original(*arguments, **options)

        return run

    for owner, name in places:
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
