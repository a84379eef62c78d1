"""Where a number comes from: written into every checkpoint and results file, and checked before a test.

A checkpoint also remembers what it has seen, so that a test on it is refused whatever manifest it comes in: ``unseen``.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from torch import Tensor

from resgat_pl import __version__
from resgat_pl.core.errors import WeightsError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.splits.known_people import unknown_in
from resgat_pl.evaluation.train_test_overlap import (
    REMEMBERED,
    check_unseen,
    joined,
    people_unknown,
    remembered,
    video_hashes,
)
from resgat_pl.evaluation.training_data import MARK, faces_of, sets_of
from resgat_pl.nn.checkpoint_file import read_file

__all__ = ["PROVENANCE", "RunProvenance", "check_unseen", "environment", "of_data", "provenance_of", "video_hashes"]

PROVENANCE: Final = "provenance"
"""Key of the provenance in a checkpoint and in a results file."""
_KINDS: Final[dict[str, type]] = {"config": str, "leaky": list, "incomplete": bool, **dict.fromkeys(REMEMBERED, Tensor)}
_DATA_KINDS: Final[dict[str, type]] = {
    "crops": str,
    "manifest": str,
    "splits": str,
    "extraction": dict,
    "protocol": dict,
    "counts": dict,
    "people_unknown": dict,
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
        "people_unknown": unknown_in(manifest),
        "sets": sets_of(manifest),
        "faces": faces_of(manifest),
        **({MARK: manifest.info[MARK]} if MARK in manifest.info else {}),
    }


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


class RunProvenance(SaveConfigCallback):
    """Saves the resolved configuration beside a run and the provenance in its checkpoints; checks before a test.

    Attributes:
        leaky: Kinds of leak that results are stamped with, known once training or testing starts.
        people_unknown: What results say of people who are unknown, one line a data set, known likewise.
        tested: Path and provenance of the checkpoint under test, None in training.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leaky: list[str] = []
        self.tested: dict[str, Any] | None = None
        self.people_unknown: list[str] = []
        self._earlier: dict[str, Any] | None = None
        self._document: dict[str, Any] | None = None
        self._remembered: dict[str, Tensor] | None = None

    def document(self, trainer: Trainer) -> dict[str, Any]:
        """The provenance of this run as plain values; computed once."""
        if self._document is None:
            data = _data(trainer)
            about = None if data is None else of_data(data)
            if about is not None and self._earlier:
                before = (self._earlier.get("data") or {}).get("people_unknown", {})
                about["people_unknown"] = {**before, **about["people_unknown"]}
            self._document = {
                **environment(),
                "seed": self.config.get("seed_everything"),
                "config": self.parser.dump(self.config, skip_none=False),
                "data": about,
            }
        return {**self._document, "leaky": self.leaky, "people_unknown": self.people_unknown}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the leaks that ``FaceDataModule.setup`` let pass."""
        data = _data(trainer)
        self.leaky = [] if data is None else list(dict.fromkeys(leak.kind for leak in data.leaks))
        self.people_unknown = [] if data is None else people_unknown(self._earlier, data.manifest)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """When training goes on, keep in mind what was trained on before: the split may have changed."""
        self._earlier = stored_provenance(checkpoint, "The checkpoint") or {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the provenance and the hashes of the training and validation videos."""
        data = _data(trainer)
        if data is None:
            return
        if self._remembered is None:
            self._remembered = joined(self._earlier, remembered(data.manifest))
        incomplete = len(self._remembered) < len(REMEMBERED)  # what it went on from does not say what it has seen
        checkpoint[PROVENANCE] = {**self.document(trainer), **self._remembered, "incomplete": incomplete}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to test on what the checkpoint was trained on, see ``check_unseen``.

        Raises:
            LeakageError: Names the videos.
            WeightsError: The checkpoint carries no provenance.
        """
        data, path = _data(trainer), trainer.ckpt_path
        if data is None or path is None:
            return
        stored = stored_provenance(read_file(path), path)
        self.leaky = check_unseen(path, stored, data.manifest, data.allow_leakage)
        self.people_unknown = people_unknown(stored, data.manifest)
        plain = {name: value for name, value in (stored or {}).items() if name not in REMEMBERED}
        self.tested = {"path": str(path), PROVENANCE: plain or None}


def provenance_of(trainer: Trainer) -> dict[str, Any]:
    """Provenance, leaks and tested checkpoint of a run, for its results file; empty without ``RunProvenance``."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning adds it in its callback connector
        if isinstance(callback, RunProvenance):
            document = callback.document(trainer)
            stamps = {name: document.pop(name) for name in ("leaky", "people_unknown")}
            return {**stamps, "checkpoint": callback.tested, PROVENANCE: document}
    return {}


def _data(trainer: Trainer) -> FaceDataModule | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, FaceDataModule) else None
