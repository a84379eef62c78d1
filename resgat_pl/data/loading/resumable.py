"""The loader of batches that counts them, so that a training resumes at the very batch.

Lightning stores the state of every loader that has ``state_dict``. A batch counts as taken when the loop asks for it,
not when a loading process has it ready.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Sampler

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.loading.crop_loader import CropRequest
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.samplers import EvalSampler, SameSampler, TrainSampler
from resgat_pl.data.loading.shard_order import ShardSampler
from resgat_pl.data.loading.shard_reads import RunCache
from resgat_pl.data.loading.workers import loading

DEALT: Final = "classes"
"""Key of an order in which real and fake are shared evenly over ranks or lanes."""
_WORKERS: Final = "data.num_workers"
"""Key of an order of shards in older versions, which depended on it."""


CropSampler = TrainSampler | SameSampler | EvalSampler | ShardSampler


class _Batches(Sampler[list[CropRequest]]):
    """Batches of a sampler after the first ``skip``, looked up in the manifest."""

    def __init__(self, faces: FaceCrops, sampler: CropSampler, batch_size: int) -> None:
        self.faces = faces
        self.sampler = sampler
        self.cuts = sampler.cuts(batch_size).tolist()
        self.skip = 0

    def __iter__(self) -> Iterator[list[CropRequest]]:
        cuts = self.cuts[self.skip :]
        draws = self.sampler.draws(cuts[0]) if cuts else iter(())
        for first, last in pairwise(cuts):
            yield [self.faces.request(draw) for draw in islice(draws, last - first)]

    def __len__(self) -> int:
        return max(0, len(self.cuts) - 1 - self.skip)


class ResumableLoader:
    """Batches of crops in the order of a sampler; counts those that were taken, and leaves them out on a restart.

    It is no ``DataLoader``, so that Lightning does not replace its sampler: ranks have their shares already.

    Args:
        faces: The crops, and what is done to them.
        sampler: Draws those of this rank; one for shards checks that they are there.
        batch_size: Crops a batch.
        workers: Loading processes; 0 loads in the caller's.

    Raises:
        MediaError: A shard is missing or cut off.
    """

    def __init__(self, faces: FaceCrops, sampler: CropSampler, batch_size: int, workers: int) -> None:
        self.faces = faces
        self.sampler = sampler  # Lightning sets its epoch
        self.batch_sampler = None  # Lightning asks for it where there is a sampler
        self.batch_size = batch_size
        self.workers = workers
        self._batches = _Batches(faces, sampler, batch_size)
        self._taken = 0
        self._running = 0
        self._resume: dict[str, Any] | None = None
        if isinstance(sampler, ShardSampler):
            for shard in sampler.used:
                shard.check()
            faces.runs = sampler.runs

    def __len__(self) -> int:
        return len(self._batches.cuts) - 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # A generator: the epoch is read when the first batch is asked for, since Lightning makes the first iterator
        # before it sets the epoch.
        self._running = int(self.sampler.epoch)
        self._taken = self._batches.skip = self._skipped()
        for batch in self._loader:
            self._taken += 1  # before it is given out: a checkpoint is written while the caller holds it
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches of it that were taken, and all that the order depends on; the same on all ranks."""
        return {"epoch": self._running, "batches": self._taken, "order": self._order()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that were taken, if the next epoch is the same."""
        self._resume = state

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        sampler = self.sampler
        cache = RunCache(sampler.cached(self.workers)) if isinstance(sampler, ShardSampler) else None
        return DataLoader(
            self.faces.loader(cache),
            batch_sampler=self._batches,
            **loading(self.workers),
            generator=torch.Generator(),  # a separate one: making an iterator must not draw from the training's
        )

    def _skipped(self) -> int:
        """Batches of the next epoch that were taken before a restart.

        Raises:
            ConfigError: The order of the epoch depends on something that has changed since.
        """
        state, self._resume = self._resume, None
        epoch = int(self.sampler.epoch)
        if state is None or state["epoch"] != epoch:
            return 0
        taken, mine, theirs = int(state["batches"]), self._order(), state["order"]

        # What older versions stored
        older = theirs.get("store") == mine["store"] == "shards" and _WORKERS in theirs
        if older:
            mine = {name: value for name, value in mine.items() if name in theirs and name != "crops"}
            theirs = {name: theirs[name] for name in mine}
        if mine["store"] != theirs.get("store", mine["store"]):
            theirs, mine = ({"store": order["store"]} for order in (theirs, mine))
        elif DEALT in mine and DEALT not in theirs and mine["devices"] == theirs.get("devices"):
            theirs, mine = {DEALT: "left to chance, by an older version"}, {DEALT: mine[DEALT]}

        # Go on only if all else is the same
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
        if older:
            rank_zero_warn(
                f"The checkpoint is from the middle of epoch {epoch} of a version that drew crops from shards in "
                f"another order. The training goes on after batch {taken} of the present order: in this epoch some "
                "crops come twice and as many not at all. Later epochs are whole."
            )
        return min(taken, len(self))

    def _order(self) -> dict[str, Any]:
        """By option: all that the order of an epoch depends on."""
        sampler = self.sampler
        order = {
            "store": "files",
            "devices": sampler.num_replicas,
            **({DEALT: "dealt evenly"} if sampler.num_replicas > 1 and sampler.order != "paired" else {}),
            "data.batch_size": self.batch_size,
            "data.order": sampler.order,
            "data.seed": sampler.seed,
        }
        if isinstance(sampler, ShardSampler):
            of_shards = {DEALT: "dealt evenly", "data.shuffle_buffer": sampler.buffer, "lanes": sampler.lanes.each}
            return {**order, "store": "shards", **of_shards, "crops": sampler.digest}
        return {**order, "crops": self._digest}

    @cached_property
    def _digest(self) -> str:
        rows = np.ascontiguousarray(self.faces.rows).tobytes()
        return hashlib.sha256(self.faces.manifest.fingerprint().encode() + rows).hexdigest()[:16]
