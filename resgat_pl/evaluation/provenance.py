"""Provenance of numbers: written into every checkpoint and results file, and checked before a test.

A checkpoint also holds hashes of the videos it has seen, so that a test on them is refused whatever manifest they come
in: ``train_test_overlap``.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from resgat_pl import __version__
from resgat_pl.core.errors import WeightsError
from resgat_pl.core.parts import class_path
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.splits.known_people import unknown_in
from resgat_pl.evaluation.train_test_overlap import REMEMBERED
from resgat_pl.evaluation.training_data import MARK, faces_of, sets_of

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
    "self_blend": str,
}
"""Types of the entries that are read of a provenance, and of its ``data``, see ``of_data``."""
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
    """Versions of this package and of those it depends on, and its git commit (None outside a checkout)."""
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
    git, file = shutil.which("git"), Path(__file__)
    folder = file.parents[1]  # the whole package
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        done = subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
        return done.stdout.strip() if done.returncode == 0 else None

    # Only if this very file is under version control: an installed package may lie inside somebody else's checkout.
    if ask("ls-files", "--error-unmatch", str(file.relative_to(folder))) is None:
        return None
    return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "--", "."))}


def of_data(data: FaceDataModule) -> dict[str, Any]:
    """Data of a training or test: hashes of manifest and splits, settings, counts, and the ``training_data``."""
    manifest = data.manifest
    return {
        "crops": str(data.crops.resolve()),
        "manifest": manifest.fingerprint(),
        "splits": manifest.split_fingerprint(),
        "extraction": manifest.info.get("extraction", {}),
        "protocol": manifest.info.get("protocol", {}),
        "counts": {split: count._asdict() for split, count in manifest.counts().items()},
        "people_unknown": unknown_in(manifest),
        "sets": sets_of(manifest),
        "faces": faces_of(manifest),
        **({MARK: manifest.info[MARK]} if MARK in manifest.info else {}),
        **({} if data.self_blend is None else {"self_blend": class_path(type(data.self_blend))}),
    }


def stored_provenance(stored: object, what: object) -> dict[str, Any] | None:
    """Check ``Checkpoint.provenance``, which may be untrusted; None where there is none.

    Args:
        stored: The provenance.
        what: The checkpoint, for the message.

    Raises:
        WeightsError: A part of it is of another type than ``RunProvenance`` writes.
    """
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
