"""Features of a frozen encoder, computed once before a training and read from disk in every epoch.

They are found by content: a folder for each encoder, weights, stage, image size and normalisation, and in it an entry
for each crop, by the digest of its file. So what has changed is computed, and what has not is read, also by other
trainings, splits and data sets that share the folder. A run holds the folder's lock while it computes, and leaves whole
parts when it is killed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from resgat_pl.core.disk_full import reporting_full_disk
from resgat_pl.core.errors import ConfigError, ResGATError, StorageError
from resgat_pl.core.folder_lock import folder_lock
from resgat_pl.core.parts import is_ours
from resgat_pl.core.storage import write_changed
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.node_features import FeatureStore, crop_digests
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import EvalSampler
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.lightning_internals import all_ranks, data_module, is_fast_dev_run

FORMAT: Final = 1
"""Raise when the same weights and crops would give other features, or files of another form."""
PART_BYTES: Final = 128 * 2**20
"""Size of a part: so much is lost when a run is killed."""
_LEAST_BATCH: Final = 32
_SPARE: Final = 1 << 26
"""Bytes of the disk that are left free."""

T = TypeVar("T")


class _Plan(NamedTuple):
    """Findings of the first process: digests of all crops, and the positions of those that must be computed."""

    digests: list[bytes]
    missing: NDArray[np.int64]


def require_frozen(train: object) -> None:
    """Refuse to cache what changes with every step.

    Raises:
        ConfigError: ``net.train`` is not ``frozen``.
    """
    if train != "frozen":
        raise ConfigError(
            f"data.features_cache is set, but net.train is {train}: features stay the same only while the encoder is "
            "not trained. Set --net.train frozen, or leave the cache out."
        )


def prepare_features(trainer: Trainer, net: nn.Module, in_format: Callable[[Tensor], Tensor]) -> None:
    """Give the data module the cached features of a training; nothing happens where ``features_cache`` is not set.

    Collective: every rank computes a share of what is missing.

    Args:
        trainer: About to fit; its data module has ``features_cache``.
        net: A network of an encoder and ``forward_nodes``, on its device, with the weights that it is trained from.
        in_format: Memory format of the images.

    Raises:
        ConfigError: The network is not one whose encoder is frozen.
        MediaError: A crop cannot be read.
        StorageError: The disk is full, would be, or is not the same for all machines.
    """
    data = data_module(trainer)
    if data is not None:
        data.features = None  # those of an earlier training may be of another network
    if data is None or data.features_cache is None or is_fast_dev_run(trainer) or data.overfits:
        return
    if not isinstance(net, EncoderNet):
        raise ConfigError(
            f"data.features_cache is set, and net is a {type(net).__name__}, which has no encoder whose features could "
            "be cached: leave the cache out."
        )
    require_frozen(net.config.get("train"))
    shape = _try(net, in_format, data.image_size)
    about = describe(net, data.image_size, shape)
    folder = data.features_cache / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    rows = _rows(data, trainer)
    quiet = not trainer.is_global_zero or trainer.progress_bar_callback is None

    with ExitStack() as held:
        plan = _first_rank(trainer, lambda: _plan(data, rows, folder, shape, about, held, quiet))
        mine = plan.missing[trainer.global_rank :: trainer.world_size]
        _each_rank(trainer, lambda: _compute(data, net, in_format, rows, plan.digests, mine, folder, shape, quiet))
    data.features = _each_rank(trainer, lambda: _opened(data, rows, plan.digests, folder, shape))
    rank_zero_info(
        f"data.features_cache: {len(rows):,} crops are read from {folder}; the encoder does not run in training."
    )


def _try(net: EncoderNet, in_format: Callable[[Tensor], Tensor], image_size: int) -> tuple[int, int]:
    """Nodes and features of a crop; this also fits the grid of a ResGAT.

    Raises:
        ConfigError: The network is more than its nodes, or these change in training.
    """
    kind = type(net).__name__
    if type(net).forward not in {EncoderNet.forward, ResGAT.forward}:
        raise ConfigError(
            f"data.features_cache is set, but {kind} has a forward of its own, which may see more of an image than "
            "encode gives: leave the cache out, or compute it in encode and forward_nodes."
        )
    with torch.enable_grad():
        blank = torch.zeros(1, 3, image_size, image_size, device=net.mean.device)
        found = net.encode(in_format(blank))
    if found.requires_grad:
        raise ConfigError(
            f"data.features_cache is set, but encode of {kind} has parameters that are trained: leave it out, or "
            "compute with them in forward_nodes."
        )
    return found.shape[1], found.shape[2]


def describe(net: EncoderNet, image_size: int, shape: tuple[int, int]) -> dict[str, Any]:
    """All that the features of a crop depend on besides the crop, as plain values."""
    return {
        "format": FORMAT,
        **{name: net.config.get(name) for name in ("encoder", "encoder_stage", "normalize")},
        **({"receptive": net.config["receptive"]} if net.config.get("receptive") else {}),
        "mean": net.mean.flatten().tolist(),
        "std": net.std.flatten().tolist(),
        "image_size": image_size,
        "nodes and features": shape,
        **({"pooling": net.config["pooling"]} if isinstance(net, PooledClassifier) else {}),
        # A class from elsewhere may make other nodes of the same encoder, by its arguments and other frozen tensors.
        "class": None if is_ours(type(net)) else {**net.spec, "tensors": weights_digest(net, but="backbone.")},
        "weights": weights_digest(net.backbone),
    }


def weights_digest(module: nn.Module, but: str | None = None) -> str:
    """SHA-256 of names, types, shapes and values of parameters and buffers, on whatever device.

    Args:
        module: All of it that a state dict holds.
        but: Leave out what is trained, and names that begin so.
    """
    digest = hashlib.sha256()
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    for name, value in sorted(module.state_dict().items()):
        if but is not None and (name in trained or name.startswith(but)):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _rows(data: FaceDataModule, trainer: Trainer) -> NDArray[np.int64]:
    """Rows of the manifest that are trained on, then those that are validated on."""
    validated = [] if trainer.limit_val_batches == 0 else [data.manifest.rows_of("val")]
    of_clips = data.clip_frames is not None  # an altered clip may have frames that were not
    trained = data.manifest.rows_of("train") if of_clips else data.manifest.examples_of("train")
    return np.concatenate([trained, *validated])


def _plan(
    data: FaceDataModule,
    rows: NDArray[np.int64],
    folder: Path,
    shape: tuple[int, int],
    about: dict[str, Any],
    held: ExitStack,
    quiet: bool,
) -> _Plan:
    """Lock the folder, look for what is missing, and make sure that there is space for it."""
    held.enter_context(folder_lock(folder, wait=True))
    with reporting_full_disk(folder):
        for unfinished in folder.glob(".*.tmp"):  # of a run that was killed: nobody else is at work
            unfinished.unlink(missing_ok=True)
        write_changed(folder / "about.json", json.dumps(about, indent=1).encode())
    bar = tqdm(crop_digests(data.manifest, rows), "looking for features", len(rows), unit="crop", disable=quiet)
    digests = list(bar)
    missing = FeatureStore(folder, shape).missing(digests)
    if not len(missing):
        return _Plan(digests, missing)
    needed, free = len(missing) * shape[0] * shape[1] * 4, shutil.disk_usage(folder).free
    size = (
        f"{len(missing):,} of {len(rows):,} crops, {needed / 1e6:,.1f} MB ({shape[0]} nodes of {shape[1]} features, "
        f"float32), in {folder}; {free / 1e6:,.0f} MB are free"
    )
    if needed + _SPARE > free:
        raise StorageError(
            f"data.features_cache: there is no space for the features of {size}. Free some space, name a folder on "
            "another disk, or train without the cache: without it the encoder runs in every epoch."
        )
    rank_zero_info(f"data.features_cache: computing the features of {size}.")
    return _Plan(digests, missing)


@torch.no_grad()
def _compute(
    data: FaceDataModule,
    net: EncoderNet,
    in_format: Callable[[Tensor], Tensor],
    rows: NDArray[np.int64],
    digests: Sequence[bytes],
    positions: NDArray[np.int64],
    folder: Path,
    shape: tuple[int, int],
    quiet: bool,
) -> None:
    """Compute some of the crops, in 32 bits, and write them part by part."""
    if not len(positions):
        return
    store = FeatureStore(folder, shape)
    faces = FaceCrops(data.manifest, rows[positions], data.image_size)
    batch_size = max(_LEAST_BATCH, data.batch_size)
    loader = ResumableLoader(faces, EvalSampler(faces, 1, 0), batch_size, data.num_workers)
    in_part = max(1, PART_BYTES // (4 * shape[0] * shape[1]))
    device = net.mean.device
    done = 0
    pending: list[NDArray[Any]] = []
    with tqdm(total=len(positions), desc="features", unit="crop", disable=quiet) as bar, reporting_full_disk(folder):
        for batch in loader:
            images = in_format(batch["image"].to(device, non_blocking=True).float().div_(255))
            with torch.autocast(device.type, enabled=False):
                pending.extend(net.encode(images).float().cpu().numpy())
            bar.update(len(images))
            if len(pending) >= in_part or done + len(pending) == len(positions):
                chosen = positions[done : done + len(pending)]
                store.add([digests[place] for place in chosen.tolist()], np.stack(pending))
                done, pending = done + len(pending), []


def _opened(
    data: FaceDataModule, rows: NDArray[np.int64], digests: list[bytes], folder: Path, shape: tuple[int, int]
) -> Any:
    store = FeatureStore(folder, shape)
    if len(lost := store.missing(digests)):
        raise StorageError(
            f"data.features_cache: {len(lost):,} crops are not in {folder} that were computed just now. With several "
            "machines the folder must be on a disk that all of them see."
        )
    return store.rows(len(data.manifest), rows, digests)


def _first_rank(trainer: Trainer, work: Callable[[], T]) -> T:
    """The result of the first process, on all of them."""
    found: list[T] = _each_rank(trainer, lambda: [work()] if trainer.is_global_zero else [])
    every = all_ranks(trainer, found)
    return every[0][0]


def _each_rank(trainer: Trainer, work: Callable[[], T]) -> T:
    """Do something on every rank; an error of one is raised on all, which would wait for it."""
    failure: ResGATError | None = None
    result: list[T] = []
    try:
        result.append(work())
    except ResGATError as error:
        failure = error
    first = next((error for error in all_ranks(trainer, failure) if error is not None), None)
    if first is not None:
        raise first
    return result[0]
