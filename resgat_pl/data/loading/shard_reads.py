"""Reading of crops in shards by the megabyte: network disks and buckets answer that as fast as a request for one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.storage import read_range
from resgat_pl.data.crop_store.reader import Member, Shard, Shards

GAP = 1 << 16
"""Bytes between two wanted members that are read rather than skipped: a request costs as much as reading them."""
RUN = 1 << 22
"""Bytes to read at once at most, but for a larger member."""


class ShardReads:
    """Neighbouring crops of shards, read together and held until the space is needed.

    Each loading process has a cache for itself; the places are in memory that all of them share.

    Args:
        shards: Where crops lie.
        rows: ``(n,)`` int64, the rows of the manifest that are wanted.
        kinds: ``(n,)`` int64, of the crops that are wanted at the same time; those of others are not read with them.
        masks: Whether their masks are wanted too.
        crops: How many crops a process holds. It needs as many as a window has, of each lane that it reads.
    """

    def __init__(
        self, shards: Shards, rows: NDArray[np.int64], kinds: NDArray[np.int64], masks: bool, crops: int
    ) -> None:
        begin = shards.offset[rows].astype(np.int64)
        end = begin + shards.size[rows]
        if masks:
            known = shards.mask_offset[rows] >= 0
            end = np.where(known, shards.mask_offset[rows] + shards.mask_size[rows].astype(np.int64), end)
        run, places = join(shards.shard[rows] * (int(kinds.max(initial=0)) + 1) + kinds, begin, end)
        # Tensors in shared memory: the loading processes map them instead of holding a copy each.
        self._run, self._places = _shared(run), _shared(places)
        wanted = int((places[:, 1]).sum() / max(1, len(rows)) * min(crops, len(rows)))
        self.capacity = int(1.25 * wanted) + 16 * RUN
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_held": OrderedDict(), "_size": 0}

    def read(self, index: int, member: Member) -> bytes:
        """The content of the crop or mask at position ``index`` of ``rows``.

        Raises:
            MediaError: The shard is missing or cut off.
        """
        number = int(self._run[index])
        begin, size = self._places[number].tolist()
        data = self._held.get(number)
        if data is None:
            data = self._held[number] = read_run(member.shard, begin, size)
            self._size += len(data)
            while self._size > self.capacity and len(self._held) > 1:
                self._size -= len(self._held.popitem(last=False)[1])
        else:
            self._held.move_to_end(number)
        at = member.offset - begin
        return data[at : at + member.size]


def read_run(shard: Shard, begin: int, size: int) -> bytes:
    """Read consecutive members of a shard at once.

    Raises:
        MediaError: The shard is missing or cut off.
    """
    try:
        data = read_range(shard.path, begin, size)
    except OSError as error:
        raise shard.error(shard.problem() or f"cannot be read ({error.strerror or error})") from None
    if len(data) != size:
        raise shard.error(shard.problem() or f"ends at byte {begin + len(data):,}")
    return data


def join(
    group: NDArray[Any], begin: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join members of shards to runs that are read at once.

    Args:
        group: ``(n,)`` int, members of other shards or kinds have another one.
        begin: ``(n,)`` int64, its first byte.
        end: ``(n,)`` int64, the byte after its last.

    Returns:
        ``(n,)`` int64, the run of each member, and ``(runs, 2)`` int64, the first byte of each and its bytes.
    """
    order = np.lexsort((begin, group))
    group, begin, end = group[order], begin[order], end[order]
    # A stretch ends with its group and at a gap; it is divided where it grows longer than a run.
    apart = np.ones(len(order), bool)
    apart[1:] = (group[1:] != group[:-1]) | (begin[1:] - end[:-1] > GAP)
    stretch = np.cumsum(apart) - 1
    piece = (end - begin[apart][stretch] - 1) // RUN
    first = apart.copy()
    first[1:] |= piece[1:] != piece[:-1]
    number = np.cumsum(first) - 1
    run = np.empty(len(order), np.int64)
    run[order] = number
    last = np.maximum.reduceat(end, np.flatnonzero(first)) if len(order) else end
    return run, np.stack([begin[first], last - begin[first]], axis=1)


def _shared(values: NDArray[np.int64]) -> torch.Tensor:
    return cast("torch.Tensor", torch.from_numpy(values).share_memory_())  # type: ignore[no-untyped-call] # torch's
