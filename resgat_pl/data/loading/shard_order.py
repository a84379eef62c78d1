"""The order of crops in shards: shuffled, yet read once and many at a time.

Shards are cut into runs, each read at once (``shard_reads``). An epoch lays the runs in a new order and joins their
crops. This sequence is cut into lanes, ``LANES`` for each rank where there are crops enough; a lane is shuffled in
windows; and batches are taken of the lanes of a rank in turn. A loading process takes every n-th batch of its rank, so
that each lane, and each byte, is read by one process only where their number divides ``LANES``; the order itself does
not depend on it.

All lanes of a rank together have windows of ``buffer`` crops, for a single loading process has to hold all of them.
Runs are therefore short enough for a window to hold ``RUNS`` of them, from anywhere in the data set.

Shards are written video by video, so that a whole one can be of one class. There is therefore a sequence of the real
and one of the fake crops: a lane is a stretch of either, in proportion, so that all ranks, lanes and batches get the
same share of fakes.

```
runs in a new order     [7][2][5][0][3][6][1][4]...
lanes                   [rank 0: 0 | 1 | 2 | 3 |rank 1: 0 | 1 | 2 | 3]
windows of a lane       [shuffled][shuffled][shuffled]
batches of rank 0       lane 0, lane 1, lane 2, lane 3, lane 0, ...
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import gcd
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.crop_store.reader import Shards
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.samplers import AT_ONCE, Order, original_pairs
from resgat_pl.data.loading.shard_reads import Runs

Ints = NDArray[np.int64]

LANES: Final = 4
"""Lanes of a rank: as many loading processes as the shipped configurations use."""
RUNS: Final = 24
"""Runs of a window: as many videos meet in it as in a window four times as long of whole shards."""
_BATCHES: Final = 8
"""Batches of a lane at least; of fewer, those that are not full would count."""


class Lanes(NamedTuple):
    """The division of an epoch among ranks and lanes.

    Attributes:
        ranks: Number of ranks.
        each: Lanes of each rank.
        batch_size: Crops a batch at most.
        even: Whether all lanes have the same number of batches (training), or whatever their crops need.
    """

    ranks: int
    each: int
    batch_size: int
    even: bool

    def lengths(self, counts: Sequence[int]) -> Ints:
        """Number of crops of each kind in every lane, ``(kinds, lanes)`` int64, from the total of each kind.

        Of each kind, and of all together, no lane and no rank gets two more than another.
        """
        count = self.ranks * self.each
        number = np.arange(count)
        place = number % self.each * self.ranks + number // self.each  # of what is left over, ranks get one in turn
        found, first = [], 0
        for total in counts:
            found.append(total // count + ((place - first) % count < total % count))
            first = (first + total) % count  # where one kind stops the next goes on
        return np.stack(found).astype(np.int64)

    def batches(self, lengths: Ints, lane: int) -> Ints:
        """Bounds of the batches of a lane, ``(batches + 1,)`` int64 from 0 to its length, as evenly as can be.

        Args:
            lengths: ``(lanes,)`` int64, crops of each lane.
            lane: Which one.
        """
        longest, shortest = (int(lengths.max()), int(lengths.min())) if self.even else (int(lengths[lane]),) * 2
        # No batch may be empty: single crops in lanes of different lengths leave one batch of two.
        count = min(-(-longest // self.batch_size), shortest)
        return np.arange(count + 1, dtype=np.int64) * int(lengths[lane]) // max(1, count)


def spread(counts: Ints) -> Ints:
    """A sequence of kinds ``(sum of counts,)`` int64 with so many of each, every kind evenly spread over it."""
    kinds = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([(np.arange(count) + 0.5) / max(1, count) for count in counts.tolist()])
    return kinds[np.argsort(places, kind="stable")]


def shuffle_windows(count: int, window: int, rng: np.random.Generator) -> Ints:
    """A permutation ``(count,)`` int64 that shuffles each ``window`` items among themselves."""
    return np.lexsort((rng.random(count), np.arange(count) // window))


class ShardSampler(DistributedSampler[Draw]):
    """Draws of one rank from crops in shards; see the module for the order.

    The order depends on (seed, epoch, ranks, batch size, window) alone, not on the number of loading processes. Each
    crop comes once an epoch over all ranks if ``order`` is ``shuffled`` or None, in batches that differ by one crop.

    Args:
        faces: What is drawn from.
        shards: The places of its crops.
        num_replicas: Number of ranks.
        rank: This rank.
        batch_size: Crops a batch at most; two at least if crops come in pairs.
        seed: Seed of order and augmentation.
        order: See ``Order``; None evaluates: each crop once, not shuffled, not augmented.
        buffer: Crops of the windows of all lanes of a rank together.
        lanes: Lanes of each rank; None: ``LANES``, fewer where there are few crops.

    Raises:
        SplitError: ``order`` is ``paired`` and no fake has its original in the data set.
    """

    def __init__(
        self,
        faces: FaceCrops,
        shards: Shards,
        num_replicas: int,
        rank: int,
        batch_size: int,
        seed: int = 0,
        order: Order | None = "shuffled",
        buffer: int = 2000,
        lanes: int | None = None,
    ) -> None:
        super().__init__(faces, num_replicas=num_replicas, rank=rank, shuffle=order is not None, seed=seed)
        self.faces = faces
        self.order = order
        self.buffer = buffer
        self.batch_size = batch_size
        self.shard = shards.shard[faces.rows]
        self.offset = shards.offset[faces.rows]
        self.used = [shards.shards[shard] for shard in np.unique(self.shard).tolist()]
        by_place = np.lexsort((self.offset, self.shard))

        # The sequences in which an epoch lays out its crops: (crops, 1), or (pairs, 2) of fake and original
        if order == "paired":
            place = np.empty(len(faces), np.int64)
            place[by_place] = np.arange(len(faces))
            pairs = original_pairs(faces)
            self._sequences = [pairs[np.argsort(place[pairs[:, 0]], kind="stable")]]
        elif order is None:
            self._sequences = [by_place[:, None]]
        else:
            labels = faces.labels[by_place]
            self._sequences = [by_place[labels == label][:, None] for label in (REAL, FAKE)]

        # How many of them each lane of each rank gets
        counts = [len(sequence) for sequence in self._sequences]
        if order in {"balanced", "paired"}:
            width = 2
            total = sum(counts) / 2 if order == "balanced" else counts[0]
            counts = [-(-int(np.ceil(total)) // num_replicas) * num_replicas]  # ranks must take equally many steps
        else:
            width = 1
        batch = max(1, batch_size // width)
        if lanes is None:
            lanes = min(LANES, max(1, sum(counts) // (num_replicas * batch * _BATCHES)))
        self.lanes = Lanes(num_replicas, lanes, batch, even=order is not None)
        self.lengths = self.lanes.lengths(counts)
        mine = range(rank * lanes, (rank + 1) * lanes)
        cuts = [self.lanes.batches(self.lengths.sum(axis=0), lane) for lane in mine]
        turns = [(number, lane) for lane, ends in enumerate(cuts) for number in range(len(ends) - 1)]
        # Batches of the lanes in turn: (lane, first, last) of each
        self._turns = [(lane, int(cuts[lane][number]), int(cuts[lane][number + 1])) for number, lane in sorted(turns)]
        self._width = width

        # What is read at once, which is also what is laid in a new order in each epoch. A run of one video has the
        # same frames in a fake as in its original, so that all that is read of either is drawn.
        self._window = 0 if order is None else max(width, buffer // lanes)
        groups = np.zeros(len(faces), np.int64) if order is None else faces.labels
        if order == "paired":
            groups = faces.manifest.video_codes[faces.rows]
        self.runs = Runs(shards, faces.rows, groups, faces.masks, max(1, self._window // RUNS) if order else len(faces))

    def __len__(self) -> int:
        return int(self.cuts(self.batch_size)[-1])

    def __iter__(self) -> Iterator[Draw]:
        return self.draws()

    def cuts(self, batch_size: int) -> Ints:
        """Bounds of the batches in the draws, ``(batches + 1,)`` int64 from 0 to their number."""
        sizes = [self._width * (last - first) for _, first, last in self._turns]
        return np.cumsum([0, *sizes], dtype=np.int64)

    def draws(self, first: int = 0) -> Iterator[Draw]:
        """The draws of this rank in the present epoch, without the first ``first``."""
        lanes = self._lanes()
        positions = np.concatenate([lanes[lane][begin:end].ravel() for lane, begin, end in self._turns])
        if self.order is None:
            yield from map(Draw, positions[first:].tolist())
            return
        repeats = self.order != "shuffled"
        seeds = np.random.default_rng([self.seed, self.epoch, self.rank]).integers(2**31, size=len(positions))
        if self.order == "paired":
            seeds[1::2] = seeds[::2]  # a pair is augmented alike
        for start in range(first, len(positions), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            for position, seed in zip(positions[part].tolist(), seeds[part].tolist(), strict=True):
                yield Draw(position, seed if repeats else self._seed_of(position))

    def cached(self, workers: int) -> int:
        """Bytes that each of so many loading processes holds: the windows of the lanes that it gets batches of."""
        lanes = self.lanes.each // gcd(self.lanes.each, max(1, workers))
        return lanes * (int(1.25 * self._window * self.runs.mean) + 4 * self.runs.longest)

    @cached_property
    def digest(self) -> str:
        """Hash of the crops, their places and their runs."""
        held = (np.ascontiguousarray(self.faces.rows, np.int64), self.shard, self.offset, self.runs.number)
        return hashlib.sha256(b"".join(values.tobytes() for values in held)).hexdigest()[:16]

    def _seed_of(self, position: int) -> int:
        """Seed of the augmentation of a crop in this epoch, whichever rank draws it."""
        words = np.random.SeedSequence([self.seed, self.epoch, int(self.faces.rows[position])]).generate_state(1)
        return int(words[0] >> 1)

    def _lanes(self) -> list[Ints]:
        """By lane of this rank: positions ``(n, 1)``, or ``(n, 2)`` of crops that come together, in order."""
        columns = [self._laid_out(sequence, kind) for kind, sequence in enumerate(self._sequences)]
        if self.order == "balanced":
            columns = [np.resize(column, (int(self.lengths.sum()), 1)) for column in columns]
        elif self.order == "paired":
            columns = [np.resize(columns[0], (int(self.lengths.sum()), 2))]
        return [self._lane(columns, self.rank * self.lanes.each + lane) for lane in range(self.lanes.each)]

    def _lane(self, columns: list[Ints], lane: int) -> Ints:
        """One lane: its stretches of the sequences, joined, and shuffled in windows."""
        rng = np.random.default_rng([self.seed, self.epoch, lane, 1])
        ends = np.cumsum(self.lengths, axis=1)[:, lane]
        parts = [slice(int(end - length), int(end)) for end, length in zip(ends, self.lengths[:, lane], strict=True)]
        if self.order == "balanced":  # real and fake are shuffled each for itself, and then alternate
            both = [column[parts[0]] for column in columns]
            both = [part[shuffle_windows(len(part), self._window // 2, rng)] for part in both]
            return np.concatenate(both[:: -1 if self.rank % 2 else 1], axis=1)
        kinds = spread(self.lengths[:, lane])
        joined = np.empty((len(kinds), columns[0].shape[1]), np.int64)
        for kind, (column, part) in enumerate(zip(columns, parts, strict=True)):
            joined[kinds == kind] = column[part]
        if self.order is None:
            return joined
        return joined[shuffle_windows(len(joined), self._window // self._width, rng)]

    def _laid_out(self, sequence: Ints, kind: int) -> Ints:
        """A sequence with its runs in the order of this epoch."""
        if self.order is None:
            return sequence
        runs = self.runs.number[sequence[:, 0]]
        turn = np.random.default_rng([self.seed, self.epoch, kind]).permutation(int(self.runs.number.max()) + 1)
        return sequence[np.argsort(turn[runs], kind="stable")]
