"""Reading of crops in shards by the megabyte: network disks and buckets answer that as fast as a request for one."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.storage import read_range
from resgat_pl.data.crop_store.reader import Member, Shard, Shards

GAP = 1 << 16
"""Bytes between two wanted members that are read rather than skipped: a request costs as much as reading them."""
RUN = 1 << 22
"""Bytes to read at once at most, but for a larger member."""


class Run(NamedTuple):
    """Consecutive bytes of a shard that are read at once: the first one, and how many."""

    begin: int
    size: int


class Runs:
    """Neighbouring crops of shards that are read together.

    Args:
        shards: The places of crops.
        rows: ``(n,)`` int64, the rows of the manifest that are wanted.
        groups: ``(n,)`` int64; crops of different groups are not read together.
        masks: Whether their masks are wanted too.
        most: Crops of a run at most; ``RUN`` is a limit, too.

    Attributes:
        number: ``(n,)`` int64, the run of each row.
        mean: Bytes that are read per crop.
        longest: Bytes of the longest run.
    """

    def __init__(
        self, shards: Shards, rows: NDArray[np.int64], groups: NDArray[np.int64], masks: bool, most: int
    ) -> None:
        begin = shards.offset[rows].astype(np.int64)
        end = begin + shards.size[rows]
        if masks:
            known = shards.mask_offset[rows] >= 0
            end = np.where(known, shards.mask_offset[rows] + shards.mask_size[rows].astype(np.int64), end)
        group = shards.shard[rows].astype(np.int64) * (int(groups.max(initial=0)) + 1) + groups
        self.number, self._places = join(group, begin, end, most)
        sizes = self._places[:, 1]
        self.mean, self.longest = int(sizes.sum()) // max(1, len(rows)), int(sizes.max(initial=0))

    def of(self, index: int) -> Run:
        """The run of the crop at a position of ``rows``."""
        return Run(*self._places[self.number[index]].tolist())


class RunCache:
    """Runs that were read, until the space is needed; each loading process fills one cache.

    Args:
        capacity: Bytes.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._size = 0

    def read(self, member: Member, run: Run) -> bytes:
        """The content of a crop or mask in a run.

        Raises:
            MediaError: The shard is missing or cut off.
        """
        key = member.shard.path, run.begin
        data = self._held.pop(key, None)
        if data is None:
            data = read_run(member.shard, run)
            self._size += len(data)
        self._held[key] = data  # as the newest
        while self._size > self.capacity and len(self._held) > 1:
            self._size -= len(self._held.popitem(last=False)[1])
        at = member.offset - run.begin
        return data[at : at + member.size]


def read_run(shard: Shard, run: Run) -> bytes:
    """Read a run of a shard.

    Raises:
        MediaError: The shard is missing or cut off.
    """
    try:
        data = read_range(shard.path, *run)
    except OSError as error:
        raise shard.error(shard.problem() or f"cannot be read ({error.strerror or error})") from None
    if len(data) != run.size:
        raise shard.error(shard.problem() or f"ends at byte {run.begin + len(data):,}")
    return data


def join(
    group: NDArray[Any], begin: NDArray[np.int64], end: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join members of shards to runs that are read at once.

    Args:
        group: ``(n,)`` int, members of other shards or kinds have another one.
        begin: ``(n,)`` int64, its first byte.
        end: ``(n,)`` int64, the byte after its last.
        most: Members of a run at most.

    Returns:
        ``(n,)`` int64, the run of each member, and ``(runs, 2)`` int64, the first byte of each and its bytes.
    """
    order = np.lexsort((begin, group))
    group, begin, end = group[order], begin[order], end[order]
    # A stretch ends with its group and at a gap; it is divided where it grows longer than a run.
    first = np.ones(len(order), bool)
    first[1:] = (group[1:] != group[:-1]) | (begin[1:] - end[:-1] > GAP)
    piece = (end - begin[first][np.cumsum(first) - 1] - 1) // RUN
    first[1:] |= piece[1:] != piece[:-1]
    place = np.arange(len(order))
    first |= (place - np.maximum.accumulate(np.where(first, place, 0))) % most == 0
    number = np.cumsum(first) - 1
    run = np.empty(len(order), np.int64)
    run[order] = number
    last = np.maximum.reduceat(end, np.flatnonzero(first)) if len(order) else end
    return run, np.stack([begin[first], last - begin[first]], axis=1)
