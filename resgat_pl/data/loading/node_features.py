"""Node features of crops, computed once by a frozen encoder and read from memory maps.

A folder holds *parts* of a few hundred crops each: ``NAME.npy``, ``(n, N, F)``, and ``NAME.keys.npy``, the digest of
each crop, which is written last and without which a part does not count. ``NAME`` is the digest of the keys, so two
processes that computed the same crops write the same file, and nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import ConfigError, MediaError
from resgat_pl.core.storage import read_bytes, write_atomic
from resgat_pl.data.crop_store.reader import Member, crop_of
from resgat_pl.data.loading.crop_loader import CropLoader, CropRequest, FaceSample
from resgat_pl.data.loading.landmarks import moved_landmarks
from resgat_pl.data.manifest.table import Manifest

DIGEST: Final = 16
"""Bytes of a crop's digest."""
_KEYS: Final = ".keys.npy"
_READERS: Final = 8
"""Threads that read files to digest; hashing and reading leave Python's lock to others."""


def crop_digests(manifest: Manifest, rows: NDArray[np.int64]) -> Iterator[bytes]:
    """Digest of the stored bytes of each crop, in order: equal for equal files, wherever they lie.

    Raises:
        MediaError: A crop is missing or cannot be read.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(_digest, (crop_of(manifest, row) for row in rows.tolist()))


def _digest(place: Path | Member) -> bytes:
    try:
        data = place.read_bytes() if isinstance(place, Member) else read_bytes(place)
    except OSError as error:
        raise MediaError(f"{place}: cannot be read ({error.strerror}). Extract again.") from None
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


@dataclass(eq=False)
class NodeFeatures:
    """Features of the rows of a manifest. Pickled, it is names and places; each process opens its own maps.

    Attributes:
        folder: Where the parts are.
        parts: Their names.
        part: ``(rows,)`` int32, the part of each row of the manifest; -1 where it has none.
        place: ``(rows,)`` int32, its place in that part.
    """

    folder: Path
    parts: Sequence[str]
    part: NDArray[np.int32]
    place: NDArray[np.int32]
    _maps: dict[int, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __getitem__(self, row: int) -> Tensor:
        """Features ``(N, F)`` of a row, as they are stored."""
        part = int(self.part[row])
        if part not in self._maps:
            self._maps[part] = np.load(self.folder / f"{self.parts[part]}.npy", mmap_mode="r")
        return torch.from_numpy(np.array(self._maps[part][self.place[row]]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a map would be pickled as its content


class FeatureStore:
    """The parts in a folder, found by the digests of crops.

    A part that is cut off, or of another shape, is as good as absent: its crops are computed again, into a file of the
    same name.

    Args:
        folder: The folder; it need not be there.
        shape: Nodes and features of a crop.

    Example:
        >>> store = FeatureStore(Path("features"), (4, 2))
        >>> store.add([bytes(16)], np.ones((1, 4, 2), np.float32))
        >>> FeatureStore(Path("features"), (4, 2)).missing([bytes(16), b"another crop's.."])
        array([1])
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder = folder
        self.shape = shape
        self.parts: list[str] = []
        self._at: dict[bytes, tuple[int, int]] = {}
        for path in sorted(folder.glob(f"*{_KEYS}")):
            name = path.name.removesuffix(_KEYS)
            keys = self._whole(name)
            if keys is not None:
                self._list(name, [key.tobytes() for key in keys])

    def missing(self, digests: Sequence[bytes]) -> NDArray[np.int64]:
        """Positions of the digests that are in no part; of equal ones the first alone."""
        wanted: dict[bytes, int] = {}
        for position, digest in enumerate(digests):
            if digest not in self._at:
                wanted.setdefault(digest, position)
        return np.array(list(wanted.values()), np.int64)

    def add(self, digests: Sequence[bytes], features: NDArray[Any]) -> None:
        """Write a part, all or nothing.

        Args:
            digests: One a crop.
            features: ``(n, N, F)`` of the same crops.

        Raises:
            OSError: It cannot be written; the parts before it stay.
        """
        keys = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST)
        name = hashlib.blake2b(keys.tobytes(), digest_size=DIGEST).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, values in ((f"{name}.npy", features), (f"{name}{_KEYS}", keys)):
            buffer = BytesIO()
            np.save(buffer, values)
            write_atomic(self.folder / path, buffer.getbuffer())
        self._list(name, digests)

    def rows(self, count: int, rows: NDArray[np.int64], digests: Sequence[bytes]) -> NodeFeatures:
        """The features of some rows of a manifest.

        Args:
            count: Rows of the manifest.
            rows: Those that have features.
            digests: Theirs; all must be in a part.
        """
        part, place = np.full(count, -1, np.int32), np.zeros(count, np.int32)
        found = np.array([self._at[digest] for digest in digests], np.int32).reshape(-1, 2)
        part[rows], place[rows] = found[:, 0], found[:, 1]
        return NodeFeatures(self.folder, self.parts, part, place)

    def _list(self, name: str, digests: Sequence[bytes]) -> None:
        self.parts.append(name)
        for place, digest in enumerate(digests):
            self._at[digest] = len(self.parts) - 1, place

    def _whole(self, name: str) -> NDArray[np.uint8] | None:
        """The keys of a part; None if one of its files is not as this class writes it."""
        try:
            keys: NDArray[np.uint8] = np.load(self.folder / f"{name}{_KEYS}")
            features = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        fits = keys.dtype == np.uint8 and keys.shape == (len(features), DIGEST)
        return keys if fits and features.shape[1:] == self.shape and features.dtype == np.float32 else None


@dataclass(eq=False)
class FeatureLoader(CropLoader):
    """Loads the features of crops in the place of their pictures.

    Attributes:
        features: Of all rows that are requested.
    """

    features: NodeFeatures = field(kw_only=True)

    def __getitem__(self, request: CropRequest) -> FaceSample:
        sample: FaceSample = {"nodes": self.features[request.row], **self.about(request)}
        if self.masks:
            known = None if request.mask is None else self._picture(request.mask, request.run)[:, :, 0]
            blank = np.zeros((self.image_size, self.image_size), np.uint8)
            self.add_mask(sample, request, blank if known is None else known, known)
        if self.landmarks:
            unchanged = np.zeros((1, 1, 3), np.uint8)  # features are of the crops as they are
            sample["landmarks"] = torch.from_numpy(moved_landmarks(request.landmarks, unchanged, None, None))
        return sample


def cache_folder(folder: str | Path | None, augmentation: object, self_blend: object) -> Path | None:
    """The folder of the option ``features_cache``.

    Raises:
        ConfigError: It is no local folder, or what is trained on changes from step to step.
    """
    if folder is None:
        return None
    if self_blend is not None:
        raise ConfigError(
            "data.features_cache and data.self_blend are both set: self-blends are new at every step, and features are "
            "computed once. Leave one of them out."
        )
    if augmentation is not None:
        raise ConfigError(
            f"data.features_cache is set, and data.augmentation is {type(augmentation).__name__}: features are of the "
            "crops as they are, computed once. Set --data.augmentation null, or leave the cache out."
        )
    if "://" in str(folder):
        raise ConfigError(
            f"data.features_cache is {folder}: features are mapped into memory from a disk. Name a local folder."
        )
    return Path(folder).expanduser()
