"""The record that ``resgat synth`` leaves beside its videos, and reading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from resgat_pl.core.storage import is_remote

RECORD: Final = "synth.json"
UNFINISHED: Final = "synth.unfinished.json"
_ABOVE: Final = 2
"""A part of a set, such as one folder of DFDC's, lies so many folders below the record at most."""


def made_by_synth(root: Path) -> Literal["drawn", "portraits", "no"]:
    """People in the videos below a folder: drawn, altered portraits, or nothing says that they are made."""
    folders = [root] if is_remote(root) else [root, *list(root.parents)[:_ABOVE]]
    for folder in folders:
        for name in (RECORD, UNFINISHED):
            try:
                request = json.loads((folder / name).read_text(encoding="utf-8"))["request"]
                return "drawn" if request["faces"] is None else "portraits"
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return "no"
