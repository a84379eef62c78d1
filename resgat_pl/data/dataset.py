"""Face crops of a manifest as a PyTorch data set, and the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from resgat_pl.data.frames import read_image
from resgat_pl.data.manifest import Manifest
from resgat_pl.data.transforms import Augmentation


class Draw(NamedTuple):
    """What a sampler asks the data set for.

    Attributes:
        position: Position in the data set.
        seed: Seed of the augmentation; None means no augmentation.
    """

    position: int
    seed: int | None = None


class FaceSample(TypedDict):
    """One crop: ``image`` ``(3, S, S)`` uint8 RGB; label (1 = fake) and codes as in ``types.FaceBatch``."""

    image: Tensor
    label: float
    row: int
    video: int
    track: int


class FaceCrops(Dataset[FaceSample]):
    """Crops of some rows of a manifest.

    Args:
        manifest: The manifest.
        rows: ``(n,)`` int64, rows to use, in order.
        image_size: Side in px that crops are resized to.
        augmentation: Applied to draws that carry a seed.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: NDArray[np.int64],
        image_size: int,
        augmentation: Augmentation | None = None,
    ) -> None:
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
        image = read_image(self.manifest.crop(row))
        if self.augmentation is not None and seed is not None:
            image = self.augmentation(image, seed)
        return {
            "image": torch.from_numpy(self._resize(image)).permute(2, 0, 1),
            "label": float(self.labels[index]),
            "row": row,
            "video": int(self.manifest.video_codes[row]),
            "track": int(self.manifest.track_codes[row]),
        }

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Manipulation mask of a crop, ``(S, S)`` uint8 (covered share, 0-255), or None where there is none."""
        path = self.manifest.mask(int(self.rows[index]))
        return None if path is None else self._resize(read_image(path)[:, :, 0])

    def _resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        side = self.image_size
        if image.shape[:2] == (side, side):
            return np.ascontiguousarray(image)
        interpolation = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_LINEAR
        return cv2.resize(image, (side, side), interpolation=interpolation).astype(np.uint8, copy=False)


class TrainSampler(DistributedSampler[Draw]):
    """Shuffled draws with a seed each; every rank gets the same number.

    The order and the seeds depend on (seed, epoch) alone, not on the number of workers.

    Args:
        dataset: What is drawn from.
        num_replicas: Number of ranks.
        rank: This rank.
        seed: Seed of the order.
        balanced: Draw real and fake crops equally often, repeating the rarer class.
    """

    def __init__(self, dataset: FaceCrops, num_replicas: int, rank: int, seed: int, balanced: bool) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self.faces = dataset
        self.balanced = balanced

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = self._balanced_order(rng) if self.balanced else rng.permutation(len(self.faces))
        order = np.resize(order, self.total_size)  # ranks must take equally many steps
        seeds = rng.integers(2**31, size=self.total_size)
        mine = slice(self.rank, self.total_size, self.num_replicas)
        return iter([Draw(int(i), int(s)) for i, s in zip(order[mine], seeds[mine], strict=True)])

    def _balanced_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
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
