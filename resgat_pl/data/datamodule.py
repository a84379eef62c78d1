"""The LightningDataModule: extracts when needed, splits, and serves batches on any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.core.errors import ConfigError, ResGATError, SplitError
from resgat_pl.core.storage import locate
from resgat_pl.core.text import printable
from resgat_pl.core.types import FAKE, FaceBatch, Split
from resgat_pl.data.crop_store.reader import shards_of
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.settings import VIDEO_TIMEOUT, Extraction
from resgat_pl.data.layouts.base import Layout
from resgat_pl.data.loading.clips import FaceClips, check_clips
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.node_features import NodeFeatures, cache_folder
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import EvalSampler, Order, SameSampler, TrainSampler
from resgat_pl.data.loading.shard_order import ShardSampler
from resgat_pl.data.loading.workers import first_failure, share_imports
from resgat_pl.data.manifest.class_counts import check_splits, describe_counts, only_class
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.data.self_blends.crops import SelfBlendedCrops
from resgat_pl.data.splits.known_people import statements, unknown_in
from resgat_pl.data.splits.leakage import Leak, declared, judge, manifest_leaks
from resgat_pl.data.splits.protocols import SplitProtocol, divide
from resgat_pl.data.splits.unassigned import unassigned
from resgat_pl.data.transforms import Augmentation, Transform, as_augmentation


def require_data(root: Path | None, crops: str | Path) -> None:
    """Make sure that there is something to train on.

    Raises:
        ConfigError: Neither a data set nor a manifest is named.
    """
    if root is None and not (locate(crops) / MANIFEST_NAME).is_file():
        raise ConfigError(
            f"data.root is not set and there is no manifest in {crops}. Name the data set's folder: --data.root DIR, "
            "or the environment variable of the shipped configs (export FFPP_ROOT=DIR or DFDC_ROOT=DIR). Without any "
            "data set: resgat synth datasets/synthetic"
        )


class FaceDataModule(LightningDataModule):
    """Face crops of FaceForensics++, DFDC, or any folder of real and fake media.

    ``prepare_data`` extracts the crops on one process when the manifest is missing or does not match the data set and
    settings; the others wait. Training on several machines, ``shared_disk`` says whether that is one process of all
    or one on each machine. For a large data set run ``resgat extract`` beforehand.

    Attributes:
        leaks: What the splits share, known after ``setup("fit")``.
        features: Features of the crops that are trained and validated on, set by ``training.feature_cache`` when a
            training with ``features_cache`` starts.

    Args:
        crops: Folder or URL of the crops and the manifest; made when missing.
        root: Folder or URL of the data set as downloaded. Null uses the crops as they are.
        layout: Layout of the data set on disk; null detects it.
        extraction: How faces are cut out.
        split: How videos are divided; null takes the manifest's split.
        augmentation: Changes training crops: an ``Augmentation``, or one transform of albumentations; null for none.
        image_size: Side in px of the network's input.
        batch_size: Crops a step, per process.
        num_workers: Loading processes, per process.
        shuffle_buffer: Crops that are shuffled among themselves where crops are in shards (``resgat extract --store
            shards``), per process, see ``shard_order``. The loading processes share them out and hold them as they are
            stored, say 0.1 MB each.
        order: How training crops are drawn: ``shuffled`` (each once an epoch, as in the paper), ``balanced`` (real
            and fake equally often), or ``paired`` (each fake followed by the same frame of its original).
        predict_split: What ``resgat predict`` scores.
        extract_jobs: Processes for the extraction.
        video_timeout: Seconds that the extraction of one video may take; it is skipped and named after that.
        masks: Whether training batches carry what was manipulated, for ``model.mask_loss_weight``, which sets it.
        landmarks: Whether training batches carry landmarks; set by ``model.losses`` that need them.
        shared_disk: Whether all machines see the same ``crops`` folder, so that one process extracts for all; false if
            each has a separate disk, so that one on each machine does.
        allow_leakage: Accept splits that share videos, people or clips in ways their protocol does not declare.
        seed: Seed of order and augmentation.
        features_cache: Folder, on a disk of this machine, for the features of a frozen encoder (``net.train``): they
            are computed once, and the graph is trained from them, on the crops as they are, without augmentation. Null
            runs the encoder in every epoch. Tests and predictions always run it.
        self_blend: Makes the fakes of the training, new ones at every step, of the genuine crops of the training split;
            fakes there are not used. Null trains on the fakes of the data set. Validate on held-out ones: see
            ``resgat blend``.
        clip_frames: Frames of a clip, for a ``VideoResGAT``: samples are then clips of one face each, of neighbouring
            crops; fewer are repeated (``loading.clips``). Take as many frames in the extraction. Null: single crops.

    Example:
        >>> data = FaceDataModule("datasets/crops/ffpp", batch_size=16)
        >>> data.setup("fit")  # doctest: +SKIP
        >>> next(iter(data.train_dataloader()))["image"].shape  # doctest: +SKIP
        torch.Size([16, 3, 224, 224])
    """

    def __init__(
        self,
        crops: str | Path,
        root: str | Path | None = None,
        layout: Layout | None = None,
        extraction: Extraction | None = None,
        split: SplitProtocol | None = None,
        augmentation: Augmentation | Transform | None = None,
        image_size: int = 224,
        batch_size: int = 8,
        num_workers: int = 2,
        order: Order = "shuffled",
        predict_split: Literal["train", "val", "test", "all"] = "test",
        extract_jobs: int = 2,
        masks: bool = False,
        shared_disk: bool = True,
        allow_leakage: bool = False,
        seed: int = 0,
        shuffle_buffer: int = 2000,
        video_timeout: float = VIDEO_TIMEOUT,
        features_cache: str | Path | None = None,
        self_blend: SelfBlend | None = None,
        landmarks: bool = False,
        clip_frames: int | None = None,
    ) -> None:
        super().__init__()
        check_clips(clip_frames, masks=masks, self_blend=self_blend)
        self.clip_frames = clip_frames
        counts = {"batch_size": batch_size, "extract_jobs": extract_jobs, "shuffle_buffer": shuffle_buffer}
        limits = [(name, value, 1) for name, value in counts.items()]
        limits += [("image_size", image_size, 32), ("num_workers", num_workers, 0), ("seed", seed, 0)]
        for name, value, least in limits:
            if value < least:
                raise ConfigError(f"data.{name} is {value}, must be at least {least}")
        if not video_timeout > 0:
            raise ConfigError(f"data.video_timeout is {video_timeout}, must be more than 0 seconds; inf is no limit")
        self.augmentation = as_augmentation(augmentation)
        self.features_cache = cache_folder(features_cache, self.augmentation, self_blend)
        self.self_blend = self_blend
        self.features: NodeFeatures | None = None
        self.crops = locate(crops)
        self.root = None if root is None else locate(root)
        self.layout = layout
        self.extraction = extraction or Extraction()
        self.split = split
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.order = order
        self.predict_split = predict_split
        self.extract_jobs = extract_jobs
        self.masks = masks
        self.landmarks = landmarks
        self.prepare_data_per_node = not shared_disk  # read by Lightning
        self.allow_leakage = allow_leakage
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer
        self.video_timeout = video_timeout
        self.leaks: list[Leak] = []
        self._manifest: Manifest | None = None
        self._failure: ResGATError | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest with the splits in force; read at the first use."""
        if self._manifest is None:
            manifest = Manifest.read(self.crops)
            if self.split is not None:
                manifest = divide(manifest, self.split)
            self._manifest = manifest
        return self._manifest

    def prepare_data(self) -> None:
        """Extract when the manifest is missing or stale; called by Lightning on one process, see ``shared_disk``."""
        try:
            self._prepare()
        except ResGATError as error:
            if self.trainer is None or self.trainer.world_size == 1:
                raise
            self._failure = error  # raised on all ranks in setup: the others wait there

    def _prepare(self) -> None:
        if self.root is None:
            require_data(self.root, self.crops)
            return
        if not is_current(self.root, self.crops, self.layout, self.extraction):
            summary = extract(
                self.root,
                self.crops,
                self.layout,
                self.extraction,
                jobs=self.extract_jobs,
                video_timeout=self.video_timeout,
            )
            print(printable(str(summary)), flush=True)  # noqa: T201 - what was skipped must be seen, whatever the log level

    def setup(self, stage: str) -> None:
        """Read the manifest and check the splits that ``stage`` needs; before training, look for leaks between them.

        Raises:
            LeakageError: Splits share something that their protocol does not declare.
            SplitError: A split that is needed is empty or has fewer crops than there are ranks, or the training split
                has one class only.
            ConfigError: Masks are needed and no fake of the training split has one.
        """
        failure = self._failure
        if failure is None:
            try:
                self._set_up(stage)
            except ResGATError as error:
                failure = error
        if self.world_size > 1:
            failure = first_failure(failure)
        if failure is not None:
            raise failure

    def _set_up(self, stage: str) -> None:
        needed: dict[str, list[Split]] = {"fit": ["train", "val"], "validate": ["val"], "test": ["test"]}
        if self.overfits or (self.trainer is not None and self.trainer.limit_val_batches == 0):
            needed["fit"] = ["train"]
        if stage == "fit" and self.overfits:
            rank_zero_warn(
                "trainer.overfit_batches is set: every epoch trains on the same batches of the training split, not "
                "augmented, and validates on the same ones. Nothing that this run measures holds for other faces."
            )
        self._check(needed.get(stage, []))
        if stage == "fit":
            for line in filter(None, [unassigned(self.manifest), *statements(unknown_in(self.manifest))]):
                rank_zero_info(f"{self.crops}: {line}.")
            self.leaks = manifest_leaks(self.manifest)
            judge(self.leaks, declared(self.manifest), self.allow_leakage)
            self._check_masks()
            if isinstance(clips := self.faces("train", augmented=True), FaceClips):
                rank_zero_info(f"{self.crops}: {clips.about}, to train on.")
            if self.num_workers and self.augmentation is not None:  # before validation starts the first processes
                share_imports("resgat_pl.data.transform_steps")
        if stage == "predict" and len(self.faces(self.predict_split)) < self.world_size:
            counts = describe_counts(self.manifest.counts())
            raise SplitError(f"data.predict_split={self.predict_split} has no crops. Crops: {counts}.")

    @property
    def world_size(self) -> int:
        """Number of ranks, 1 outside a Trainer."""
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def overfits(self) -> bool:
        """True if every epoch trains on the same few batches, to see if the network can learn at all."""
        return self._fitting and getattr(self.trainer, "overfit_batches", 0) > 0

    def faces(self, split: Literal["train", "val", "test", "all"], augmented: bool = False) -> FaceCrops:
        """The crops of a split, or its clips; for training without the faces of fakes that were not altered."""
        if split == "all":
            rows = np.arange(len(self.manifest))
        elif self.clip_frames is not None:  # an altered clip may have frames that were not
            rows = self.manifest.rows_of(split)
        else:
            rows = self.manifest.examples_of(split) if augmented else self.manifest.rows_of(split)
        augmentation = self.augmentation if augmented else None
        if self.clip_frames is not None:
            return FaceClips(self.manifest, rows, self.image_size, self.clip_frames, augmentation, augmented)
        if augmented and self.self_blend is not None:
            blended = (self.image_size, self.self_blend, augmentation, self.landmarks)
            return SelfBlendedCrops(self.manifest, rows, *blended)
        carried = (self.masks, self.landmarks) if augmented else ()
        return FaceCrops(self.manifest, rows, self.image_size, augmentation, *carried)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented; goes on in the middle of an epoch."""
        if self.overfits:
            return self._same_batches()
        faces = self.faces("train", augmented=True)
        faces.features = self._cached
        sampler = self._shard_sampler(faces, self.order) or TrainSampler(
            faces, self.world_size, self._rank, self.seed, self.order
        )
        return ResumableLoader(faces, sampler, self.batch_size, self.num_workers)

    def val_dataloader(self) -> ResumableLoader:
        """Each crop once, in order; what is trained on where that is to be overfitted."""
        return self._same_batches() if self.overfits else self._eval_loader("val", "val")

    def test_dataloader(self) -> ResumableLoader:
        """Each crop once, in order."""
        return self._eval_loader("test", "test")

    def predict_dataloader(self) -> ResumableLoader:
        """The crops of ``predict_split``, each once, in order."""
        return self._eval_loader(self.predict_split, "predict")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> FaceBatch:
        """Turn uint8 images into float in [0, 1], on the device: a quarter of the bytes to transfer."""
        if "image" in batch:
            batch["image"] = batch["image"].float().div_(255)
        batch["label"] = batch["label"].float()
        if "mask" in batch:
            batch["mask"] = batch["mask"].float().div_(255)
        return cast("FaceBatch", batch)

    def _cached(self) -> NodeFeatures | None:
        return self.features

    @property
    def _fitting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == "fit"

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    def _eval_loader(self, split: Literal["train", "val", "test", "all"], stage: str) -> ResumableLoader:
        faces = self.faces(split)
        # A mask head is scored, and its threshold chosen, where there are masks.
        net = getattr(getattr(self.trainer, "lightning_module", None), "net", None)
        faces.masks = stage != "predict" and getattr(net, "node_gate", None) is not None
        if split == "val" and self._fitting:
            faces.features = self._cached
        sampler = None
        if self._limited(stage, len(faces)):  # the first crops of a manifest, or of shards, are of one class
            faces.rows = np.random.default_rng(self.seed).permutation(faces.rows)
        else:
            sampler = self._shard_sampler(faces, None)
        loaded = sampler or EvalSampler(faces, self.world_size, self._rank)
        return ResumableLoader(faces, loaded, self.batch_size, self.num_workers)

    def _same_batches(self) -> ResumableLoader:
        """The batches of the first epoch, from whichever store; Lightning takes the first of them."""
        faces = self.faces("train", augmented=True)
        faces.augmentation = None
        sampler = SameSampler(TrainSampler(faces, self.world_size, self._rank, self.seed, self.order))
        return ResumableLoader(faces, sampler, self.batch_size, self.num_workers)

    def _shard_sampler(self, faces: FaceCrops, order: Order | None) -> ShardSampler | None:
        """Draws in the order of the shards, ``None`` where crops are files; frames of clips are read one by one."""
        if self.clip_frames is not None or (shards := shards_of(self.manifest)) is None:
            return None
        return ShardSampler(
            faces, shards, self.world_size, self._rank, self.batch_size, self.seed, order, self.shuffle_buffer
        )

    def _limited(self, stage: str, crops: int) -> bool:
        """True if only some batches are looked at in ``val``, ``test`` or ``predict``."""
        limit: float = 1.0 if self.trainer is None else getattr(self.trainer, f"limit_{stage}_batches", 1.0)
        batches = -(-crops // (self.batch_size * self.world_size))
        return limit < 1 if isinstance(limit, float) else limit < batches

    def _check_masks(self) -> None:
        if not self.masks or self.self_blend is not None:
            return
        rows = self.manifest.examples_of("train")
        masks = self.manifest.take(rows[self.manifest.column("label")[rows] == FAKE], ["mask_path"]).column("mask_path")
        if masks.null_count == len(masks):
            raise ConfigError(
                "The training uses masks (model.mask_loss_weight, or a loss in model.losses such as NodeMask or "
                f"Regions), but no fake of the training split in {self.crops} has a mask. Take a data set with masks "
                "(FaceForensics++ with its masks downloaded, or resgat synth --layout ffpp), or leave these losses out."
            )
        if self.landmarks and self.manifest.take(rows, ["landmarks"]).column("landmarks").null_count == len(rows):
            raise ConfigError(
                f"model.losses has one of regions, but no training crop in {self.crops} has landmarks: leave it out."
            )

    def _check_genuine(self) -> None:
        """Say what self-blends are made of.

        Raises:
            ConfigError: There is nothing.
        """
        faces = cast("SelfBlendedCrops", self.faces("train", augmented=True))
        half = len(np.unique(faces.rows))
        left_out = f" ({faces.without_landmarks:,} without landmarks left out)" if faces.without_landmarks else ""
        rank_zero_info(f"{self.crops}: self-blends of {half:,} genuine crops{left_out}, others at every step.")
        if half < self.world_size:
            raise SplitError(f"There are {half} genuine crops for {self.world_size} processes. Use fewer devices.")

    def _check(self, needed: list[Split]) -> None:
        counts = self.manifest.counts()
        if self.self_blend is not None and "train" in needed:
            self._check_genuine()
            needed = [split for split in needed if split != "train"]
        lone: list[Split] = [split for split in needed if split != "train" and only_class(counts[split])]
        for split in lone:  # cannot train, but can be scored as far as one class goes
            rank_zero_warn(
                f"The split {split!r} holds only {only_class(counts[split])} faces ({sum(counts[split]):,} crops): "
                "AUROC, EER and balanced accuracy are undefined there."
            )
        try:
            check_splits(counts, [split for split in needed if split not in lone])
        except SplitError as error:
            left_out = unassigned(self.manifest)
            raise SplitError(f"{self.crops}: {error}" + (f" Note: {left_out}." if left_out else "")) from None
        for split in needed:
            if sum(counts[split]) < self.world_size:
                raise SplitError(
                    f"The {split} split has {sum(counts[split])} crops for {self.world_size} processes. "
                    "Use fewer devices."
                )
