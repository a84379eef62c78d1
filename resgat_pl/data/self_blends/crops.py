"""Self-blends as a PyTorch data set: each genuine crop twice, as it is and as the fake made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.loading.crop_loader import Change, CropLoader, CropRequest, FaceSample
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.shard_reads import RunCache
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.self_blends.blender import Pair, SelfBlend


class SelfBlendedCrops(FaceCrops):
    """Genuine crops of a manifest and, after them, as many fakes that are made of them when they are drawn.

    Each crop is there ``self_blend.pairs_per_crop`` times.

    The seed of a draw is that of its forgery: drawn with the same seed, a fake (position n + i) and its genuine partner
    (position i) are one pair, which differs in the forgery alone. Order ``paired`` draws them so. A draw without a seed
    makes the same pair each time.

    Args:
        manifest: The manifest.
        rows: ``(m,)`` int64, rows to use; fakes among them and crops without landmarks are left out.
        image_size: Side in px that crops are resized to.
        self_blend: Makes the pairs.
        augmentation: Applied to both afterwards.
        landmarks: As of ``FaceCrops``.

    Raises:
        ConfigError: None of the rows is a genuine crop with landmarks.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: NDArray[np.int64],
        image_size: int,
        self_blend: SelfBlend,
        augmentation: Change | None = None,
        landmarks: bool = False,
    ) -> None:
        genuine = rows[manifest.column("label")[rows] == REAL]
        points = manifest.take(genuine, ["landmarks"]).column("landmarks").combine_chunks()
        known = np.asarray(points.is_valid())
        if not known.any():
            raise ConfigError(
                f"data.self_blend needs genuine crops with landmarks, and of the {len(rows):,} crops of this split in "
                f"{manifest.folder} {len(genuine):,} are genuine, none of them with landmarks. Extract them with a "
                "detector that finds landmarks, as the default one does."
            )
        self.without_landmarks = int((~known).sum())
        self._points = np.asarray(points.drop_null().flatten(), np.float32).reshape(-1, 10)
        super().__init__(
            manifest, np.tile(genuine[known], 2 * self_blend.pairs_per_crop), image_size, augmentation, True, landmarks
        )
        self.self_blend = self_blend

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """``(n,)``: the first half genuine, the second fake."""
        return np.repeat(np.array([REAL, FAKE], np.int64), len(self) // 2)

    @cached_property
    def untouched(self) -> NDArray[np.bool_]:
        """``(n,)``: none."""
        return np.zeros(len(self), bool)

    def pairs(self) -> NDArray[np.int64]:
        """Positions ``(n / 2, 2)`` of each fake and its genuine partner."""
        half = len(self) // 2
        return np.asarray(np.arange(half)[:, None] + np.array([half, 0]), np.int64)

    def request(self, draw: Draw | int) -> CropRequest:
        """All that is needed to load a draw."""
        index, seed = draw if isinstance(draw, tuple) else (draw, None)
        found = super().request(Draw(index, int(self.rows[index]) if seed is None else seed))
        return found._replace(landmarks=tuple(self._points[index % len(self._points)].tolist()))

    def loader(self, cache: RunCache | None = None) -> CropLoader:
        """Loads requests and makes the pairs, in whichever process."""
        options = (self.manifest.folder, self.image_size, self.augmentation, True, cache, self.landmarks)
        return PairLoader(*options, self_blend=self.self_blend)


@dataclass(eq=False)
class PairLoader(CropLoader):
    """Reads a genuine crop and gives one partner of the pair that is made of it.

    Attributes:
        self_blend: Makes the pairs. The last one is kept, since the other partner is asked for next.
    """

    self_blend: SelfBlend = field(default_factory=SelfBlend)
    _last: tuple[tuple[int, int | None], Pair] | None = None

    def __getitem__(self, request: CropRequest) -> FaceSample:
        key = request.row, request.seed
        if self._last is None or self._last[0] != key:
            points = np.array(request.landmarks, np.float32).reshape(5, 2)
            image = self._picture(request.crop, request.run)
            self._last = key, self.self_blend(image, points, request.seed or 0)
        pair = self._last[1]
        if request.label == REAL:
            return self.sample(request, pair.genuine, None)
        return self.sample(request, pair.fake, pair.mask)
