"""One file in several prescribed splits of a data set: found by size and content, where names make it likely."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from resgat_pl.core.types import VideoRecord

SAME_FILE: Final = "same file "
"""Beginning of an identity that is no person but the content of a file in several splits."""
_WHOLE: Final = 4 * 2**20
"""Bytes up to which a file is read as a whole; of a larger one 64 blocks are, spread evenly over it."""
_BLOCKS: Final = 64


def same_files(records: Iterable[VideoRecord]) -> dict[str, list[VideoRecord]]:
    """Find records of the same content that are prescribed for different splits.

    Args:
        records: Those that may be the same, such as all of one name. Only what is of equal size is opened.

    Returns:
        At least two records by the SHA-256 of their content. What is empty or cannot be read is left out: reading it
        later says so.
    """
    by_size: dict[tuple[int, ...], list[VideoRecord]] = defaultdict(list)
    for record in records:
        sizes = _sizes(record.files)
        if sizes is not None:
            by_size[sizes].append(record)
    found: dict[str, list[VideoRecord]] = defaultdict(list)
    for sizes, alike in by_size.items():
        if len({record.official_split for record in alike}) > 1:
            for record in alike:
                if (digest := _content(record.files, sizes)) is not None:
                    found[digest].append(record)
    return {digest: same for digest, same in found.items() if len({record.official_split for record in same}) > 1}


def _sizes(files: Sequence[Path]) -> tuple[int, ...] | None:
    try:
        sizes = tuple(path.stat().st_size for path in files)
    except OSError:
        return None
    return sizes if all(sizes) else None


def _content(files: Sequence[Path], sizes: Sequence[int]) -> str | None:
    """SHA-256 of the sizes and the content of the first, the middle and the last file."""
    digest = hashlib.sha256(repr(sizes).encode())
    try:
        for place in sorted({0, len(files) // 2, len(files) - 1}):
            with files[place].open("rb") as file:
                if sizes[place] <= _WHOLE:
                    digest.update(file.read())
                    continue
                for block in range(_BLOCKS):
                    file.seek(block * (sizes[place] - _WHOLE // _BLOCKS) // (_BLOCKS - 1))
                    digest.update(file.read(_WHOLE // _BLOCKS))
    except OSError:
        return None
    return digest.hexdigest()
