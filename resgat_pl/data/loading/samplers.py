"""The order in which crops are drawn: for training balanced or in pairs, for evaluation each exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler, SequentialSampler

from resgat_pl.core.errors import SplitError
from resgat_pl.data.loading.dataset import Draw, FaceCrops, assign_ranks

AT_ONCE: Final = 65_536
"""Draws made at a time: as objects, all of a large epoch would take gigabytes."""


Order = Literal["shuffled", "balanced", "paired"]
"""Orders of training crops. ``shuffled``: each once an epoch, as in the paper. ``balanced``: real and fake equally
often, repeating the rarer class. ``paired``: each fake followed by the same frame of its original with the same
augmentation, so that a batch differs in the forgery and in nothing else."""


def original_pairs(faces: FaceCrops) -> NDArray[np.int64]:
    """The pairs of a data set, see ``FaceCrops.pairs``.

    Raises:
        SplitError: There is none.
    """
    pairs = faces.pairs()
    if not len(pairs):
        raise SplitError(
            "data.order is paired, but no fake crop of the training split has its original beside it. "
            "Use --data.order balanced."
        )
    return pairs


def full_batches(draws: int, batch_size: int) -> NDArray[np.int64]:
    """Bounds of full batches in so many draws, or of a single shorter one where there is no other."""
    if draws < batch_size:
        return np.array([0, draws], np.int64)
    return np.arange(draws // batch_size + 1, dtype=np.int64) * batch_size


class TrainSampler(DistributedSampler[Draw]):
    """Shuffled draws with a seed each; every rank gets the same number, and the same share of fakes.

    The order and the seeds depend on (seed, epoch, ranks) alone, not on the number of workers. Within a rank real and
    fake alternate if the order is ``balanced`` or ``paired``. With ``balanced`` every other rank begins with fake, so
    that batches of an odd size, too, hold as many of both over all ranks; with ``paired`` a fake is always first.

    Args:
        dataset: What is drawn from.
        num_replicas: Number of ranks.
        rank: This rank.
        seed: Seed of the order.
        order: See ``Order``.

    Raises:
        SplitError: ``order`` is ``paired`` and no fake has its original in the data set.

    Example:
        >>> from pathlib import Path
        >>> from resgat_pl.data.manifest.table import Manifest, rows_to_table
        >>> table = rows_to_table([{"label": 0}, {"label": 1}, {"label": 0}])
        >>> faces = FaceCrops(Manifest(Path("crops"), table, {}), np.arange(3), 64)
        >>> [int(faces.labels[draw.position]) for draw in TrainSampler(faces, 1, 0, seed=0, order="balanced")]
        [0, 1, 0]
    """

    def __init__(self, dataset: FaceCrops, num_replicas: int, rank: int, seed: int, order: Order) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self.faces = dataset
        self.order = order
        self.pairs = original_pairs(dataset) if order == "paired" else np.zeros((0, 2), np.int64)
        if order == "paired":
            self.num_samples = 2 * -(-len(self.pairs) // num_replicas)
            self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.order == "shuffled":
            return self._shuffled(rng)
        blocks = rng.permutation(self.pairs) if self.order == "paired" else self._balanced(rng)
        count = -(-self.num_samples // 2) * self.num_replicas
        blocks = np.resize(blocks, (count, 2))  # ranks must take equally many steps
        seeds = rng.integers(2**31, size=(count, 1 if self.order == "paired" else 2))  # a pair is augmented alike
        seeds = np.broadcast_to(seeds, blocks.shape)
        mine = slice(self.rank, None, self.num_replicas)
        turn = slice(None, None, -1 if self.order == "balanced" and self.rank % 2 else 1)
        positions, own = (of[mine, turn].ravel()[: self.num_samples] for of in (blocks, seeds))
        return _draws(positions, own)

    def cuts(self, batch_size: int) -> NDArray[np.int64]:
        """Bounds of the batches in the draws, ``(batches + 1,)`` int64 from 0.

        The last, incomplete one is left out unless there is no other: batch norm cannot train on one sample.
        """
        return full_batches(len(self), batch_size)

    def draws(self, first: int = 0) -> Iterator[Draw]:
        """The draws of this rank in the present epoch, without the first ``first``."""
        return islice(iter(self), first, None)

    def _shuffled(self, rng: np.random.Generator) -> Iterator[Draw]:
        positions = np.resize(rng.permutation(len(self.faces)), self.total_size)
        seeds = rng.integers(2**31, size=self.total_size)
        mine = assign_ranks(self.faces.labels[positions], self.num_replicas) == self.rank
        return _draws(positions[mine], seeds[mine])

    def _balanced(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Pairs ``(n, 2)`` of a real and a fake crop, as many as all ranks need."""
        half = -(-self.num_samples // 2) * self.num_replicas
        parts = []
        for label in (0, 1):
            members = np.flatnonzero(self.faces.labels == label)
            rounds = -(-half // len(members))
            parts.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:half])
        return np.stack(parts, axis=1)


class SameSampler(SequentialSampler):
    """The draws of a training's first epoch in every epoch, not augmented: for ``trainer.overfit_batches``.

    Being a ``SequentialSampler``, it is left alone by Lightning.

    Args:
        sampler: Draws for the training.
    """

    def __init__(self, sampler: TrainSampler) -> None:
        super().__init__(sampler.faces)
        self.first = sampler
        self.num_replicas, self.seed, self.order = sampler.num_replicas, sampler.seed, sampler.order
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Note the epoch, which changes nothing."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]  # typed for int alone
        return self.draws()

    def __len__(self) -> int:
        return len(self.first)

    def cuts(self, batch_size: int) -> NDArray[np.int64]:
        """See ``TrainSampler.cuts``."""
        return self.first.cuts(batch_size)

    def draws(self, first: int = 0) -> Iterator[Draw]:
        """See ``TrainSampler.draws``."""
        self.first.set_epoch(0)
        return (Draw(draw.position) for draw in self.first.draws(first))


def _draws(positions: NDArray[np.int64], seeds: NDArray[np.int64]) -> Iterator[Draw]:
    for start in range(0, len(positions), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        yield from map(Draw, positions[part].tolist(), seeds[part].tolist())


class EvalSampler(DistributedSampler[Draw]):
    """Each crop exactly once over all ranks, in order; its row is its seed, should something be done to it.

    ``DistributedSampler`` repeats samples until ranks are even, which makes metrics wrong; here ranks may differ by
    one.

    Example:
        >>> from pathlib import Path
        >>> from resgat_pl.data.manifest.table import Manifest, rows_to_table
        >>> faces = FaceCrops(Manifest(Path("crops"), rows_to_table([{}] * 5), {}), np.arange(5), 64)
        >>> list(EvalSampler(faces, num_replicas=2, rank=1))
        [Draw(position=1, seed=1), Draw(position=3, seed=3)]
    """

    order = None

    def __init__(self, faces: FaceCrops, num_replicas: int, rank: int) -> None:
        super().__init__(faces, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.faces = faces

    def __iter__(self) -> Iterator[Draw]:
        return self.draws()

    def __len__(self) -> int:
        return len(range(self.rank, len(self.faces), self.num_replicas))

    def cuts(self, batch_size: int) -> NDArray[np.int64]:
        """Bounds of the batches in the draws, ``(batches + 1,)`` int64 from 0; the last one need not be full."""
        return np.append(np.arange(0, len(self), batch_size, dtype=np.int64), len(self))

    def draws(self, first: int = 0) -> Iterator[Draw]:
        """The draws of this rank without the first ``first``."""
        places = range(self.rank, len(self.faces), self.num_replicas)[first:]
        return (Draw(place, int(self.faces.rows[place])) for place in places)
