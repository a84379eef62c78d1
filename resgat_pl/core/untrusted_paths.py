"""Guards against path traversal: file names read from manifests and indices must stay below their folder.

Names are checked when a file is read, all of them at once; links are only seen when a file is opened.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.storage import is_remote

_OUTSIDE: Final = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|[\x00-\x1f]"
"""An absolute path (of Windows too), one with ``..`` as a part, or one with a control character."""
_PLAIN: Final = re.compile(r"[^/\\\x00-\x1f:]+")


def check_inside(names: pa.ChunkedArray, what: str) -> None:
    """Make sure that names of files are relative and do not climb.

    Args:
        names: Text or null, one per row.
        what: File and column, for the message.

    Raises:
        ManifestError: Names the first other row.
    """
    if not pc.any(pc.match_substring_regex(names, _OUTSIDE)).as_py():
        return
    outside = pc.match_substring_regex(names, _OUTSIDE).fill_null(False).to_numpy()
    row = int(np.argmax(outside))
    raise ManifestError(
        f"{what}: row {row} of {len(names):,} names {names[row].as_py()!r}, which is not below the manifest's own "
        f"folder ({int(outside.sum()):,} rows do). Do not use this manifest unless you know why; names must be "
        "relative, without '..'."
    )


def inside(folder: Path, name: str) -> Path:
    """Path of a file below a folder, links followed as far as they stay below it.

    Raises:
        ManifestError: The name, or a link, leads elsewhere.
    """
    path = folder / name
    if is_remote(path):
        return path  # a store has no links, and ``check_inside`` has seen the name
    root = os.path.realpath(folder)
    if not os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep):
        raise ManifestError(
            f"{path} leads out of {folder}, by '..' or a link. Put the file itself there, or link the whole folder."
        )
    return path


def is_plain_name(name: object) -> bool:
    """Accept names of files without any folder."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None and name not in {".", ".."}
