"""Loaders of training batches that know where they are, so that a run goes on at the very batch.

Lightning keeps the state of every loader that has ``state_dict``. A batch counts as taken when the loop asks for it,
not when a loading process has it ready.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.samplers import TrainSampler
from resgat_pl.data.loading.workers import loading

DEALT: Final = "classes"
"""Key of an order in which real and fake are dealt evenly over ranks or streams."""


class ResumableLoader(ABC):
    """Counts the batches of an epoch that were taken, and on a restart leaves them out."""

    def __init__(self) -> None:
        self.batch_sampler = None  # Lightning asks for it where there is a sampler
        self._taken = 0
        self._running = 0
        self._resume: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # A generator: the epoch is read when the first batch is asked for, since Lightning makes the first iterator
        # before it tells the epoch.
        self._running = self._next_epoch()
        self._taken = self._skipped()
        for batch in self._batches(self._running, self._taken):
            self._taken += 1  # before it is given out: a checkpoint is written while the caller holds it
            yield batch

    @abstractmethod
    def __len__(self) -> int:
        """Batches of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches of it that were taken, and all that the order depends on; the same on all ranks."""
        return {"epoch": self._running, "batches": self._taken, "order": self._order()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that were taken, if the next epoch is the same."""
        self._resume = state

    @abstractmethod
    def _next_epoch(self) -> int:
        """The epoch whose batches come next."""

    @abstractmethod
    def _batches(self, epoch: int, taken: int) -> Iterator[dict[str, Any]]:
        """Batches of an epoch after the first ``taken``."""

    @abstractmethod
    def _order(self) -> dict[str, Any]:
        """By option: all that the order of an epoch depends on."""

    def _skipped(self) -> int:
        state, self._resume = self._resume, None
        epoch = self._next_epoch()
        if state is None or state["epoch"] != epoch:
            return 0
        mine, theirs = self._order(), state["order"]
        if mine["store"] != theirs.get("store", mine["store"]):
            theirs, mine = ({"store": order["store"]} for order in (theirs, mine))
        elif DEALT in mine and DEALT not in theirs and mine["devices"] == theirs.get("devices"):
            theirs, mine = {DEALT: "left to chance, by an older version"}, {DEALT: mine[DEALT]}
        if changed := [
            f"{name}: {theirs.get(name)} then, {mine[name]} now"
            for name in mine
            if mine[name] != theirs.get(name, mine[name] if name == "store" else None)
        ]:
            raise ConfigError(
                f"The checkpoint is from the middle of epoch {epoch}, and the rest of that epoch depends on "
                f"what has changed since ({'; '.join(changed)}). Resume with the "
                "same, or from a checkpoint of an epoch's end."
            )
        return int(state["batches"])


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
        self.first.set_epoch(0)
        return (Draw(draw.position) for draw in self.first)

    def __len__(self) -> int:
        return len(self.first)


class _Rest(Sampler[list[Draw]]):
    """Batches of a sampler after the first ``skip``."""

    def __init__(self, sampler: TrainSampler | SameSampler, batch_size: int, drop_last: bool) -> None:
        self.whole = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]  # typed for int alone
        self.skip = 0

    def __iter__(self) -> Iterator[list[Draw]]:
        return islice(iter(self.whole), self.skip, None)  # type: ignore[arg-type]  # torch types all batches as of int

    def __len__(self) -> int:
        return max(0, len(self.whole) - self.skip)


class FileLoader(ResumableLoader):
    """Training batches of crops that are files of their own.

    The order is a function of (seed, epoch, ranks, batch size), whatever the number of loading processes.

    Args:
        faces: The crops, and what is done to them.
        sampler: Draws those of this rank.
        batch_size: Crops a batch. The last, incomplete one is left out unless there is no other: batch norm cannot
            train on one sample.
        workers: Loading processes; 0 loads in the caller's own.
    """

    def __init__(self, faces: FaceCrops, sampler: TrainSampler | SameSampler, batch_size: int, workers: int) -> None:
        super().__init__()
        self.faces = faces
        self.sampler = sampler  # Lightning tells it the epoch
        self.batch_size = batch_size
        self.workers = workers
        self._rest = _Rest(sampler, batch_size, drop_last=len(sampler) > batch_size)

    def __len__(self) -> int:
        return len(self._rest.whole)

    def _next_epoch(self) -> int:
        return int(self.sampler.epoch)

    def _batches(self, epoch: int, taken: int) -> Iterator[dict[str, Any]]:
        self._rest.skip = taken
        yield from self._loader

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            self.faces,
            batch_sampler=self._rest,
            **loading(self.workers),
            generator=torch.Generator(),  # of its own: making an iterator must not draw from the training's
        )

    @cached_property
    def _digest(self) -> str:
        rows = np.ascontiguousarray(self.faces.rows).tobytes()
        return hashlib.sha256(self.faces.manifest.fingerprint().encode() + rows).hexdigest()[:16]

    def _order(self) -> dict[str, Any]:
        ranks = self.sampler.num_replicas
        return {
            "store": "files",
            "devices": ranks,
            **({DEALT: "dealt evenly"} if ranks > 1 and self.sampler.order != "paired" else {}),
            "data.batch_size": self.batch_size,
            "data.order": self.sampler.order,
            "data.seed": self.sampler.seed,
            "crops": self._digest,
        }
