"""Training and testing from shards: each is read from its begin to its end, once an epoch.

Which crop comes when is planned from the index before a byte is read, and is a pure function of (seed, epoch, ranks,
workers, batch and buffer size). An epoch lays the shards in a new order, joins the crops wanted of them, and cuts this
sequence into equally long stretches, one for each loading process of each rank: no crop is seen twice or left out, and
all ranks take the same number of steps. A shard at a cut is read by two. Within a stretch crops are drawn from a buffer
as WebDataset does; since that, too, is planned, a run resumes at the very batch.

Shards are written video by video, so that a whole one can be of one class. For training there is therefore a sequence
of the real and one of the fake crops: each is cut into stretches, and a process reads one stretch of either, in
proportion. All ranks, processes and batches so get the same share of fakes; bytes of the other class are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.crop_store.reader import Shard, Shards, crop_of, stored_picture
from resgat_pl.data.loading.dataset import FaceCrops, FaceSample
from resgat_pl.data.loading.resumable import DEALT, ResumableLoader
from resgat_pl.data.loading.workers import loading

GAP = 1 << 16
"""Bytes between two wanted members that are read rather than skipped: a seek costs as much as reading them."""
RUN = 1 << 22
"""Bytes to read at once at most."""


class Streams(NamedTuple):
    """How an epoch is shared out.

    Attributes:
        ranks: Number of ranks.
        workers: Loading processes of each rank; 0 loads in the rank's own.
        batch_size: Crops a batch at most.
        even: Whether all streams have the same number of batches (training), or whatever their crops need.
    """

    ranks: int
    workers: int
    batch_size: int
    even: bool

    @property
    def each(self) -> int:
        """Streams a rank."""
        return max(1, self.workers)

    def lengths(self, counts: Sequence[int]) -> NDArray[np.int64]:
        """How many crops of each kind every stream gets, ``(kinds, streams)`` int64, from how many there are of each.

        Of each kind, and of all together, no stream and no rank gets two more than another.
        """
        count = self.ranks * self.each
        number = np.arange(count)
        place = number % self.each * self.ranks + number // self.each  # of what is left over, ranks get one in turn
        found, first = [], 0
        for total in counts:
            found.append(total // count + ((place - first) % count < total % count))
            first = (first + total) % count  # where one kind stops the next goes on
        return np.stack(found).astype(np.int64)

    def batches(self, lengths: NDArray[np.int64], stream: int) -> NDArray[np.int64]:
        """Where a stream is cut into batches, ``(batches + 1,)`` int64 from 0 to its length, as evenly as can be.

        Args:
            lengths: ``(streams,)`` int64, crops of each stream.
            stream: Which one.
        """
        longest, shortest = (int(lengths.max()), int(lengths.min())) if self.even else (int(lengths[stream]),) * 2
        # No batch may be empty: single crops in streams of different lengths leave one batch of two.
        count = min(-(-longest // self.batch_size), shortest)
        return np.arange(count + 1, dtype=np.int64) * int(lengths[stream]) // max(1, count)

    def steps(self, lengths: NDArray[np.int64], rank: int) -> int:
        """Batches of a rank, from the crops of each stream."""
        mine = range(rank * self.each, (rank + 1) * self.each)
        return sum(len(self.batches(lengths, stream)) - 1 for stream in mine)


def spread(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """A sequence of kinds ``(sum of counts,)`` int64 with so many of each, every kind evenly spread over it."""
    kinds = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([(np.arange(count) + 0.5) / max(1, count) for count in counts.tolist()])
    return kinds[np.argsort(places, kind="stable")]


def draw(count: int, buffer: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The order in which a shuffle buffer gives out a sequence: ``(count,)`` int64, its positions.

    The buffer is filled with the first ``buffer`` items; each draw takes one of them and puts the next in its place.
    """
    held = list(range(min(buffer, count)))
    waiting = iter(range(len(held), count))
    order = np.empty(count, np.int64)
    for step, chance in enumerate(rng.random(count).tolist()):
        place = int(chance * len(held))
        order[step] = held[place]
        coming = next(waiting, None)
        if coming is None:
            held[place] = held[-1]
            held.pop()
        else:
            held[place] = coming
    return order


class Wanted:
    """Crops of a data set in the order in which they lie in the shards.

    Args:
        faces: The data set.
        shards: Where its crops lie.
        members: Positions in the data set of those that are meant, ``(crops,)`` int64.

    Attributes:
        shards: Those that hold at least one.
        starts: ``(shards + 1,)`` int64, where each one's crops begin below.
        position: ``(crops,)`` int64 positions in the data set.
        digest: Hash of all that.
        place: ``(crops, 4)`` int64: offset and size in bytes of the crop, and of its mask (-1 where there is none).
    """

    def __init__(self, faces: FaceCrops, shards: Shards, members: NDArray[np.int64]) -> None:
        rows = faces.rows[members]
        number, offset = shards.shard[rows], shards.offset[rows]
        order = np.lexsort((offset, number))
        used, starts = np.unique(number[order], return_index=True)
        self.shards = [shards.shards[shard] for shard in used.tolist()]
        self.starts = np.append(starts, len(order)).astype(np.int64)
        rows = rows[order]
        columns = (shards.offset, shards.size, shards.mask_offset, shards.mask_size)
        place = np.stack([column[rows].astype(np.int64) for column in columns], axis=1)
        # Tensors in shared memory: the loading processes map them instead of holding a copy each.
        self._position = _shared(members[order].astype(np.int64))
        self._place = _shared(place)
        self.digest = hashlib.sha256(self.starts.tobytes() + place.tobytes()).hexdigest()[:16]

    @property
    def position(self) -> NDArray[np.int64]:
        """See class."""
        return cast("NDArray[np.int64]", self._position.numpy())

    @property
    def place(self) -> NDArray[np.int64]:
        """See class."""
        return cast("NDArray[np.int64]", self._place.numpy())

    def stretch(self, order: NDArray[np.int64], begin: int, end: int) -> Iterator[tuple[Shard, slice]]:
        """The part of the sequence of shards in ``order`` from ``begin`` to ``end``: shards, and which crops."""
        ends = np.cumsum(np.diff(self.starts)[order])
        first = int(np.searchsorted(ends, begin, "right"))
        for number in range(first, len(order)):
            shard, stop = int(order[number]), int(ends[number])
            start = stop - int(self.starts[shard + 1] - self.starts[shard])
            if start >= end:
                return
            base = int(self.starts[shard]) - start
            yield self.shards[shard], slice(base + max(start, begin), base + min(stop, end))


class FaceStream(IterableDataset[dict[str, Any]]):
    """Batches of one rank, read from shards one after the other.

    Args:
        faces: The crops, and what is done to them.
        shards: Where they lie.
        streams: How an epoch is shared out.
        rank: This rank.
        seed: Seed of order and augmentation.
        buffer: Crops in the shuffle buffer of each loading process; 0 keeps the order of the shards, without
            augmentation, as evaluation does.
    """

    def __init__(
        self, faces: FaceCrops, shards: Shards, streams: Streams, rank: int, seed: int = 0, buffer: int = 0
    ) -> None:
        self.faces = faces
        self.streams = streams
        self.rank = rank
        self.seed = seed
        self.buffer = buffer
        everything = [np.arange(len(faces))]
        kinds = [np.flatnonzero(faces.labels == label) for label in (REAL, FAKE)] if buffer else everything
        self.wanted = [Wanted(faces, shards, members) for members in kinds]
        self.lengths = streams.lengths([len(members) for members in kinds])
        # Epoch, and batches of it that were taken before a restart. Shared memory: it must reach workers that live on.
        self.start = _shared(np.zeros(2, np.int64))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, taken = self.start.tolist()
        info = get_worker_info()
        # Batches are taken of the workers in turn, and the turn goes on where it stopped.
        mine = ((0 if info is None else info.id) + taken) % self.streams.each
        yield from self.batches(epoch, mine, len(range(mine, taken, self.streams.each)))

    def batches(self, epoch: int, worker: int, skipped: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of one worker in an epoch, without the first ``skipped``."""
        stream = self.rank * self.streams.each + worker
        cuts = self.streams.batches(self.lengths.sum(axis=0), stream)[skipped:].tolist()
        order = np.arange(self.lengths[:, stream].sum())
        if self.buffer:
            order = draw(len(order), self.buffer, np.random.default_rng([self.seed, epoch, stream]))
        samples = self._samples(epoch, stream, order, cuts[0] if cuts else 0)
        for one, other in pairwise(cuts):
            yield default_collate([next(samples) for _ in range(other - one)])

    def _samples(self, epoch: int, stream: int, order: NDArray[np.int64], first: int) -> Iterator[FaceSample]:
        """The samples of a stream in the order of drawing, without the first ``first``."""
        left = np.ones(len(order), bool)
        left[order[:first]] = False
        kinds = spread(self.lengths[:, stream])
        ahead = [self._read(epoch, stream, kind, left[kinds == kind]) for kind in range(len(self.wanted))]
        coming = iter(np.flatnonzero(left).tolist())
        held: dict[int, tuple[int, bytes, bytes | None]] = {}
        for place in order[first:].tolist():
            while place not in held:
                number = next(coming)
                held[number] = next(ahead[kinds[number]])
            index, crop, mask = held.pop(place)
            yield self._sample(epoch, index, crop, mask)

    def _read(
        self, epoch: int, stream: int, kind: int, left: NDArray[np.bool_]
    ) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Position in the data set, crop and mask of those of a stream's crops of a kind that are left, in turn."""
        wanted = self.wanted[kind]
        shards = np.arange(len(wanted.shards))
        if self.buffer:
            shards = np.random.default_rng([self.seed, epoch, kind]).permutation(shards)
        first = int(self.lengths[kind, :stream].sum())
        begin = 0
        for shard, part in wanted.stretch(shards, first, first + len(left)):
            chosen = np.flatnonzero(left[begin : begin + part.stop - part.start])
            place, position = wanted.place[part][chosen], wanted.position[part][chosen]
            begin += part.stop - part.start
            if len(chosen):
                pairs = read_members(shard, place if self.faces.masks else place[:, :2])
                for index, (crop, mask) in zip(position.tolist(), pairs, strict=True):
                    yield index, crop, mask

    def _sample(self, epoch: int, index: int, crop: bytes, mask: bytes | None) -> FaceSample:
        row = int(self.faces.rows[index])
        name = crop_of(self.faces.manifest, row)
        seed = None
        if self.buffer:
            seed = int(np.random.SeedSequence([self.seed, epoch, row]).generate_state(1)[0] >> 1)
        known = None if mask is None else stored_picture(mask, name)[:, :, 0]
        return self.faces.sample(index, stored_picture(crop, name), known, seed)


def _shared(values: NDArray[np.int64]) -> torch.Tensor:
    return cast("torch.Tensor", torch.from_numpy(values).share_memory_())  # type: ignore[no-untyped-call] # torch's


def read_members(shard: Shard, place: NDArray[np.int64]) -> Iterator[tuple[bytes, bytes | None]]:
    """Read crops and masks of a shard in one forward pass.

    Args:
        shard: The shard.
        place: ``(n, 4)`` or ``(n, 2)`` int64 as in ``Wanted``, ascending; with two columns masks are left out.

    Raises:
        MediaError: The shard is missing or cut off.
    """
    shard.check()
    starts = place[:, 0]
    ends = starts + place[:, 1]
    if place.shape[1] == 4:
        ends = np.where(place[:, 2] < 0, ends, place[:, 2] + place[:, 3])
    try:
        with shard.path.open("rb") as file:
            first = 0
            while first < len(place):
                last = first + 1
                while last < len(place) and starts[last] - ends[last - 1] <= GAP and ends[last] - starts[first] <= RUN:
                    last += 1
                begin = int(starts[first])
                file.seek(begin)
                data = file.read(int(ends[last - 1]) - begin)
                if len(data) != ends[last - 1] - begin:
                    raise shard.error(f"ends at byte {begin + len(data):,}")
                for offset, size, *mask in (place[first:last]).tolist():
                    at = offset - begin
                    covered = None
                    if mask and mask[0] >= 0:
                        covered = data[mask[0] - begin : mask[0] - begin + mask[1]]
                    yield data[at : at + size], covered
                first = last
    except OSError as error:
        raise shard.error(f"cannot be read ({error.strerror or error})") from None


class ShardLoader(ResumableLoader):
    """What a Trainer takes batches from: as a ``DataLoader``, but it knows where it is and goes on there.

    It is no ``DataLoader``, so that Lightning neither replaces a sampler nor warns of an ``IterableDataset`` with a
    length: ranks are dealt with already.

    Attributes:
        epoch: Epoch whose batches come next.

    Args:
        stream: The batches of this rank.

    Raises:
        ConfigError: There are fewer shards than loading processes to train with.
        MediaError: A shard is missing or cut off.
    """

    def __init__(self, stream: FaceStream) -> None:
        streams = stream.streams
        shards = {shard.path: shard for wanted in stream.wanted for shard in wanted.shards}
        count = streams.ranks * streams.each
        if streams.even and len(shards) < count:
            raise ConfigError(
                f"The training crops lie in {len(shards)} shards, fewer than the {count} streams that read them "
                f"({streams.ranks} processes × {streams.each} loading). Load with fewer (--data.num_workers), or make "
                "smaller shards: resgat extract ROOT OTHER_FOLDER --store shards --shard_megabytes N"
            )
        for shard in shards.values():
            shard.check()
        super().__init__()
        self.stream = stream
        self.epoch = 0

    @cached_property
    def _loader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(
            self.stream,
            batch_size=None,
            **loading(self.stream.streams.workers),
            generator=torch.Generator(),  # of its own: order and augmentation do not depend on torch's
        )

    def __len__(self) -> int:
        return self.stream.streams.steps(self.stream.lengths.sum(axis=0), self.stream.rank)

    def _next_epoch(self) -> int:
        return self.epoch

    def _batches(self, epoch: int, taken: int) -> Iterator[dict[str, Any]]:
        self.stream.start[:] = torch.tensor([epoch, taken])
        yield from self._loader

    @property
    def sampler(self) -> Self:
        """Itself: Lightning tells samplers the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def _order(self) -> dict[str, Any]:
        streams = self.stream.streams
        return {
            "store": "shards",
            "devices": streams.ranks,
            "data.num_workers": streams.workers,
            "data.batch_size": streams.batch_size,
            "data.shuffle_buffer": self.stream.buffer,
            "data.seed": self.stream.seed,
            "crops": "-".join(wanted.digest for wanted in self.stream.wanted),
            DEALT: "dealt evenly",
        }
