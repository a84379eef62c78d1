"""Where a number comes from: written into every checkpoint and results file, and checked before a test.

A checkpoint also remembers the videos it was trained on, as 8 bytes each, so that a test on them is refused whatever
manifest they come in.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from resgat_pl import __version__
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.leakage import declared
from resgat_pl.data.manifest import Manifest
from resgat_pl.errors import LeakageError, WeightsError
from resgat_pl.nn.weights import listed, read_file
from resgat_pl.trained_on import MARK, faces_of, sets_of

PROVENANCE: Final = "provenance"
"""Key of the provenance in a checkpoint and in a results file."""
_KINDS: Final[dict[str, type]] = {"config": str, "leaky": list, "train_videos": Tensor}
_DATA_KINDS: Final[dict[str, type]] = {
    "crops": str,
    "manifest": str,
    "splits": str,
    "extraction": dict,
    "protocol": dict,
    "counts": dict,
    "sets": list,
    "faces": dict,
    MARK: str,
}
"""Types of what is read of a provenance, and of its ``data``, see ``of_data``."""
_PACKAGES: Final = (
    "torch",
    "torchvision",
    "torch-geometric",
    "lightning",
    "torchmetrics",
    "albumentations",
    "opencv-python-headless",
    "av",
    "numpy",
    "pyarrow",
)


def environment() -> dict[str, Any]:
    """Versions of this package, its git commit (None outside a checkout) and of what it stands on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return {
        "resgat_pl": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "packages": versions,
    }


def _git() -> dict[str, Any] | None:
    git, folder = shutil.which("git"), Path(__file__).parent
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        done = subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
        return done.stdout.strip() if done.returncode == 0 else None

    # Only if this very file is under version control: an installed package may lie inside somebody else's checkout.
    if ask("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "--", "."))}


def of_data(data: FaceDataModule) -> dict[str, Any]:
    """What was trained or tested on.

    Hashes of manifest and splits, how crops were cut, protocol, counts of crops, and what the training split is made of
    (``trained_on``).
    """
    manifest = data.manifest
    counts = manifest.counts()
    return {
        "crops": str(data.crops.resolve()),
        "manifest": manifest.fingerprint(),
        "splits": manifest.split_fingerprint(),
        "extraction": manifest.info.get("extraction", {}),
        "protocol": manifest.info.get("protocol", {}),
        "counts": {split: count._asdict() for split, count in counts.items()},
        "sets": sets_of(manifest),
        "faces": faces_of(manifest),
        **({MARK: manifest.info[MARK]} if MARK in manifest.info else {}),
    }


def video_hashes(keys: Sequence[str]) -> Tensor:
    """``(n,)`` int64, sorted: hashes of videos by data set, method and name.

    The compression is left out: a video in c40 is no unseen video to a detector that was trained on it in c23.
    """
    names = ["/".join(part for place, part in enumerate(key.split("/", 3)) if place != 2) for key in keys]
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in names)
    return torch.from_numpy(np.sort(np.frombuffer(digests, "<i8").astype(np.int64)))


def stored_provenance(content: Mapping[str, Any], what: object) -> dict[str, Any] | None:
    """The provenance in the content of a checkpoint, which may be a stranger's; None where it has none.

    Raises:
        WeightsError: A part of it is of another type than ``RunProvenance`` writes.
    """
    stored = content.get(PROVENANCE)
    if stored is None:
        return None
    data = stored.get("data") if isinstance(stored, dict) else None
    parts: dict[str, tuple[Any, type]] = {
        "provenance": (stored, dict),
        "provenance.data": ({} if data is None else data, dict),
    }
    for tree, place, kinds in ((stored, "provenance", _KINDS), (data, "provenance.data", _DATA_KINDS)):
        if isinstance(tree, dict):
            parts |= {f"{place}.{name}": (tree[name], kind) for name, kind in kinds.items() if name in tree}
    for place, (value, kind) in parts.items():
        if not isinstance(value, kind) or (isinstance(value, Tensor) and (value.ndim, value.dtype) != (1, torch.int64)):
            raise WeightsError(
                f"{what} was not written by resgat fit: its {place} is a {type(value).__name__} of another kind. Take "
                "the checkpoint as it was written."
            )
    return cast("dict[str, Any]", stored)


def check_unseen(
    checkpoint: str | Path, stored: dict[str, Any] | None, manifest: Manifest, allow_leakage: bool = False
) -> list[str]:
    """Make sure that no test video of a manifest was in the training split of a checkpoint.

    Args:
        checkpoint: Path, for messages.
        stored: The checkpoint's provenance; None where it has none.
        manifest: The manifest to be tested on, with its splits.
        allow_leakage: Warn instead of refusing.

    Returns:
        Kinds of leak to stamp the results with: those of the checkpoint's own splits if these are tested on, ``video``
        for test videos that were trained on, ``unknown`` for a checkpoint without provenance.

    Raises:
        LeakageError: Names the videos.
        WeightsError: The checkpoint carries no provenance.
    """
    if stored is None or not isinstance(stored.get("train_videos"), Tensor):
        message = f"The checkpoint {checkpoint} does not say what it was trained on: it carries no provenance."
        if not allow_leakage:
            raise WeightsError(
                f"{message} Train again with this version, or test it nevertheless with --data.allow_leakage true: "
                "results are then stamped as of unknown leakage."
            )
        rank_zero_warn(f"{message} Results are stamped as of unknown leakage.")
        return ["unknown"]
    same_splits = (stored.get("data") or {}).get("splits") == manifest.split_fingerprint()
    leaky = set(map(str, stored.get("leaky", ()))) if same_splits else set()
    tested = manifest.split_videos("test")
    known = set(stored["train_videos"].tolist())
    seen = [key for key in tested if int(video_hashes([key])[0]) in known]
    if seen:
        what = listed("test videos were in its training split", seen)
        if "video" not in declared(manifest) and not allow_leakage:
            raise LeakageError(
                f"{checkpoint} cannot be tested on {manifest.folder}: {what}. Test under the split it was trained "
                "under (its config.yaml), on other videos, or accept it with --data.allow_leakage true: results are "
                "then stamped as leaky."
            )
        rank_zero_warn(f"{checkpoint}: {what}. Results are stamped as leaky.")
        leaky.add("video")
    return sorted(leaky)


class RunProvenance(SaveConfigCallback):
    """Saves the resolved configuration beside a run and the provenance in its checkpoints; checks before a test.

    Attributes:
        leaky: Kinds of leak that results are stamped with, known once training or testing starts.
        tested: Path and provenance of the checkpoint under test, None in training.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leaky: list[str] = []
        self.tested: dict[str, Any] | None = None
        self._earlier = torch.zeros(0, dtype=torch.int64)
        self._document: dict[str, Any] | None = None
        self._videos: Tensor | None = None

    def document(self, trainer: Trainer) -> dict[str, Any]:
        """The provenance of this run as plain values; computed once."""
        if self._document is None:
            data = _data(trainer)
            self._document = {
                **environment(),
                "seed": self.config.get("seed_everything"),
                "config": self.parser.dump(self.config, skip_none=False),
                "data": None if data is None else of_data(data),
            }
        return {**self._document, "leaky": self.leaky}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the leaks that ``FaceDataModule.setup`` let pass."""
        data = _data(trainer)
        self.leaky = [] if data is None else list(dict.fromkeys(leak.kind for leak in data.leaks))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """When training goes on, keep in mind what was trained on before: the split may have changed."""
        stored = stored_provenance(checkpoint, "The checkpoint") or {}
        self._earlier = stored.get("train_videos", self._earlier)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the provenance and the hashes of the training videos."""
        data = _data(trainer)
        if data is None:
            return
        if self._videos is None:
            self._videos = torch.unique(torch.cat([self._earlier, video_hashes(data.manifest.split_videos("train"))]))
        checkpoint[PROVENANCE] = {**self.document(trainer), "train_videos": self._videos}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to test on videos that the checkpoint was trained on.

        Raises:
            LeakageError: Names the videos.
            WeightsError: The checkpoint carries no provenance.
        """
        data, path = _data(trainer), trainer.ckpt_path
        if data is None or path is None:
            return
        stored = stored_provenance(read_file(path), path)
        self.leaky = check_unseen(path, stored, data.manifest, data.allow_leakage)
        plain = {name: value for name, value in (stored or {}).items() if name != "train_videos"}
        self.tested = {"path": str(path), PROVENANCE: plain or None}


def provenance_of(trainer: Trainer) -> dict[str, Any]:
    """Provenance, leaks and tested checkpoint of a run, for its results file; empty without ``RunProvenance``."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning adds it in its callback connector
        if isinstance(callback, RunProvenance):
            document = callback.document(trainer)
            return {"leaky": document.pop("leaky"), "checkpoint": callback.tested, PROVENANCE: document}
    return {}


def _data(trainer: Trainer) -> FaceDataModule | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, FaceDataModule) else None
