"""Splits an extraction into independent jobs (an original and its fakes) and assigns them to parts.

A fake takes frame numbers and boxes of its original, so an original and its fakes are one job: whatever runs the jobs,
in whatever order, the original is there first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import VideoRecord


class Job(NamedTuple):
    """One video, the hash of what is asked of it, and its original."""

    record: VideoRecord
    request: str
    original: VideoRecord | None

    @property
    def reference(self) -> str | None:
        """The original's key."""
        return None if self.original is None else self.original.key


Family = tuple[Job, ...]
"""An original and then its fakes, as far as there is work on them."""


class Part(NamedTuple):
    """One machine's part of the work: number ``number`` (from 1) of ``total``."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_part(text: str) -> Part:
    """Read ``3/50``.

    Raises:
        ConfigError: It is something else.
    """
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    part = Part(int(match[1]), int(match[2])) if match else None
    if part is None or not 1 <= part.number <= part.total:
        raise ConfigError(
            f"--part {text} is not NUMBER/TOTAL with a number from 1 to the total, such as 3/50. In a SLURM array "
            "(--array=1-50): --part $SLURM_ARRAY_TASK_ID/50"
        )
    return part


def reference_key(records: Mapping[str, VideoRecord], record: VideoRecord) -> str | None:
    """Key of the original that a fake is aligned with, where it is in the index."""
    original = records.get(record.original) if record.original is not None else None
    return original.key if original is not None and original.key != record.key and original.original is None else None


def families_of(records: Mapping[str, VideoRecord]) -> dict[str, list[str]]:
    """Keys of the videos by the key of their original, originals first; a video without one is its own."""
    found: dict[str, list[str]] = {}
    for key, record in records.items():
        reference = reference_key(records, record)
        members = found.setdefault(reference or key, [])
        members.insert(0 if reference is None else len(members), key)
    return found


def videos_of_part(families: Mapping[str, list[str]], part: Part) -> set[str]:
    """Keys of the videos in a part; the parts together are everything, each video once.

    Whole families are assigned, the large ones first, in the order of their names' hashes, each to the part that has
    the fewest videos yet. Nothing but the names decides, so that all machines come to the same result.
    """
    order = sorted(families, key=lambda name: (-len(families[name]), _hash(name)))
    loads = [0] * part.total
    mine: set[str] = set()
    for name in order:
        least = min(range(part.total), key=loads.__getitem__)
        loads[least] += len(families[name])
        if least == part.number - 1:
            mine.update(families[name])
    return mine


def jobs_of(
    records: Mapping[str, VideoRecord],
    families: Mapping[str, list[str]],
    requests: Mapping[str, str],
    todo: Iterable[str],
) -> list[Family]:
    """The jobs that ``todo`` needs, the large ones first, so that no worker is left alone with one at the end."""
    wanted = set(todo)
    jobs = [
        tuple(
            Job(records[key], requests[key], records.get(reference_key(records, records[key]) or ""))
            for key in members
            if key in wanted
        )
        for members in families.values()
    ]
    return sorted(filter(None, jobs), key=len, reverse=True)


def requests_of(records: Mapping[str, VideoRecord], spec: Mapping[str, Any]) -> dict[str, str]:
    """Hash of everything that decides a video's crops: settings, files and their sizes, and the original's hash.

    Args:
        records: The videos by key.
        spec: ``Extraction.spec``.
    """
    requests: dict[str, str] = {}

    def request(key: str) -> str:
        if key not in requests:
            record = records[key]
            reference = reference_key(records, record)
            files = [[path.name, _size(path)] for path in record.files]
            mask = None if record.mask is None else _size(record.mask)
            names = [record.official_split, record.part, list(record.identities), record.label, record.pairing]
            origin = None if reference is None else request(reference)
            requests[key] = digest([spec, key, record.kind, files, mask, names, origin])
        return requests[key]

    for key in records:
        request(key)
    return requests


def digest(value: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # named in the index but absent, or unreadable: reading it says which


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
