"""Face crops of a manifest as a PyTorch data set, and the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, NotRequired, TypedDict

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from resgat_pl.data.manifest import Manifest
from resgat_pl.data.shards import crop_of, mask_of, picture
from resgat_pl.data.transforms import Augmentation
from resgat_pl.errors import SplitError
from resgat_pl.types import REAL, video_key

Change = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""(image ``(H, W, 3)`` uint8 RGB, seed) → changed image, the same for the same arguments."""


class Draw(NamedTuple):
    """What a sampler asks the data set for.

    Attributes:
        position: Position in the data set.
        seed: Seed of the augmentation; None means no augmentation.
    """

    position: int
    seed: int | None = None


class FaceSample(TypedDict):
    """One crop: ``image`` ``(3, S, S)`` uint8 RGB; label (1 = fake) and codes as in ``types.FaceBatch``.

    With masks also ``mask`` ``(S, S)`` uint8, 0 to 255, and whether it is known.
    """

    image: Tensor
    label: float
    row: int
    video: int
    track: int
    mask: NotRequired[Tensor]
    mask_known: NotRequired[bool]


class FaceCrops(Dataset[FaceSample]):
    """Crops of some rows of a manifest.

    Args:
        manifest: The manifest.
        rows: ``(n,)`` int64, rows to use, in order.
        image_size: Side in px that crops are resized to.
        augmentation: Applied to draws that carry a seed, before resizing: an ``Augmentation`` or a ``Corruption``.
        masks: Whether samples carry what was manipulated; masks move along with an ``Augmentation``.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: NDArray[np.int64],
        image_size: int,
        augmentation: Change | None = None,
        masks: bool = False,
    ) -> None:
        self.masks = masks
        self.manifest = manifest
        self.rows = rows
        self.image_size = image_size
        self.augmentation = augmentation
        self.labels = manifest.column("label")[rows].astype(np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: Draw | int) -> FaceSample:
        index, seed = draw if isinstance(draw, tuple) else (draw, None)
        row = int(self.rows[index])
        path = mask_of(self.manifest, row) if self.masks else None
        mask = None if path is None else picture(path)[:, :, 0]
        return self.sample(index, picture(crop_of(self.manifest, row)), mask, seed)

    def sample(
        self, index: int, image: NDArray[np.uint8], known_mask: NDArray[np.uint8] | None, seed: int | None
    ) -> FaceSample:
        """Make the sample of a position out of its decoded crop and, where masks are asked for and known, mask.

        Args:
            index: Position in the data set.
            image: ``(H, W, 3)`` uint8 RGB.
            known_mask: ``(H, W)`` uint8, or None.
            seed: Seed of the augmentation; None for none.
        """
        row = int(self.rows[index])
        mask = np.zeros(image.shape[:2], np.uint8) if known_mask is None else known_mask
        if self.augmentation is not None and seed is not None:
            if self.masks and isinstance(self.augmentation, Augmentation):
                image, mask = self.augmentation.with_mask(image, mask, seed)
            else:
                image = self.augmentation(image, seed)
        sample: FaceSample = {
            "image": torch.from_numpy(self._resize(image)).permute(2, 0, 1),
            "label": float(self.labels[index]),
            "row": row,
            "video": int(self.manifest.video_codes[row]),
            "track": int(self.manifest.track_codes[row]),
        }
        if self.masks:
            sample["mask"] = torch.from_numpy(self._resize(mask))
            sample["mask_known"] = known_mask is not None or self.labels[index] == REAL
        return sample

    def pairs(self) -> NDArray[np.int64]:
        """Positions ``(P, 2)`` of each fake crop and the same face and frame of its original, where that is here."""
        table = self.manifest.table.take(pa.array(self.rows))
        names = ("dataset", "method", "compression", "video", "track", "frame_index", "source_video")
        columns = [table.column(name).to_pylist() for name in names]
        originals: dict[tuple[str, int, int], int] = {}
        fakes: list[tuple[int, tuple[str, int, int]]] = []
        for position, (*video, track, frame, source) in enumerate(zip(*columns, strict=True)):
            if source is None:
                originals[video_key(*video), track, frame] = position
            else:
                fakes.append((position, (source, track, frame)))
        found = [(position, originals[key]) for position, key in fakes if key in originals]
        return np.array(found, np.int64).reshape(-1, 2)

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Manipulation mask of a crop, ``(S, S)`` uint8 (covered share, 0-255), or None where there is none."""
        path = mask_of(self.manifest, int(self.rows[index]))
        return None if path is None else self._resize(picture(path)[:, :, 0])

    def _resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        side = self.image_size
        if image.shape[:2] == (side, side):
            return np.ascontiguousarray(image)
        interpolation = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_LINEAR
        return cv2.resize(image, (side, side), interpolation=interpolation).astype(np.uint8, copy=False)


Order = Literal["shuffled", "balanced", "paired"]
"""How training crops are drawn. ``shuffled``: each once an epoch, as in the paper. ``balanced``: real and fake equally
often, repeating the rarer class. ``paired``: each fake followed by the same frame of its original with the same
augmentation, so that a batch differs in the forgery and in nothing else."""


class TrainSampler(DistributedSampler[Draw]):
    """Shuffled draws with a seed each; every rank gets the same number.

    The order and the seeds depend on (seed, epoch) alone, not on the number of workers.

    Args:
        dataset: What is drawn from.
        num_replicas: Number of ranks.
        rank: This rank.
        seed: Seed of the order.
        order: See ``Order``.

    Raises:
        SplitError: ``order`` is ``paired`` and no fake has its original in the data set.
    """

    def __init__(self, dataset: FaceCrops, num_replicas: int, rank: int, seed: int, order: Order) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self.faces = dataset
        self.order = order
        self.pairs = dataset.pairs() if order == "paired" else np.zeros((0, 2), np.int64)
        if order == "paired":
            if not len(self.pairs):
                raise SplitError(
                    "data.order is paired, but no fake crop of the training split has its original beside it. "
                    "Use --data.order balanced."
                )
            self.num_samples = 2 * -(-len(self.pairs) // num_replicas)
            self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.order == "paired":
            blocks = rng.permutation(self.pairs)
        else:
            blocks = (self._balanced(rng) if self.order == "balanced" else rng.permutation(len(self.faces)))[:, None]
        count = self.total_size // blocks.shape[1]
        blocks = np.resize(blocks, (count, blocks.shape[1]))  # ranks must take equally many steps
        seeds = np.broadcast_to(rng.integers(2**31, size=(count, 1)), blocks.shape)  # a pair is augmented alike
        mine = slice(self.rank, None, self.num_replicas)
        drawn = zip(blocks[mine].ravel().tolist(), seeds[mine].ravel().tolist(), strict=True)
        return iter([Draw(position, seed) for position, seed in drawn])

    def _balanced(self, rng: np.random.Generator) -> NDArray[np.int64]:
        half = -(-len(self.faces) // 2)
        parts = []
        for label in (0, 1):
            members = np.flatnonzero(self.faces.labels == label)
            rounds = -(-half // len(members))
            parts.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:half])
        return np.stack(parts, axis=1).ravel()[: len(self.faces)]


class EvalSampler(DistributedSampler[Draw]):
    """Each crop exactly once over all ranks, in order.

    ``DistributedSampler`` repeats samples until ranks are even, which makes metrics wrong; here ranks may differ by
    one. Being a ``DistributedSampler``, it is left alone by Lightning.
    """

    def __init__(self, dataset: FaceCrops, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.size = len(dataset)

    def __iter__(self) -> Iterator[Draw]:
        return iter([Draw(index) for index in range(self.rank, self.size, self.num_replicas)])

    def __len__(self) -> int:
        return len(range(self.rank, self.size, self.num_replicas))
