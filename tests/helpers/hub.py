"""Checkpoints to share, and the hub's cache as huggingface_hub lays it out, so that nothing is fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from resgat_pl.nn import hub
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION
from resgat_pl.nn.resgat import ResGAT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def without_network(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """Let huggingface_hub see this cache and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub._fetched.cache_clear()
    return cache


def put(cache: Path, name: str, files: Mapping[str, bytes], commit: str = COMMIT, revision: str = "main") -> Path:
    """Store a model as a download would: content in ``blobs``, links in ``snapshots``, the branch in ``refs``."""
    model = cache / f"models--{name.replace('/', '--')}"
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (model / folder).mkdir(parents=True, exist_ok=True)
    (model / "refs" / revision).write_text(commit)
    for file, data in files.items():
        blob = model / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (model / "snapshots" / commit / file).symlink_to(Path("../../blobs") / blob.name)
    return model / "snapshots" / commit


VIT = "timm/test_vit.r160_in1k"
THRESHOLDS = {"frame": 0.4, "video": 0.6}
HASHES = torch.tensor([-(2**63), -1, 5, 2**62])


def content(net: ResGAT, **more: Any) -> dict[str, Any]:
    """A checkpoint as ``resgat fit`` writes it."""
    return {
        "state_dict": {f"net.{name}": value for name, value in net.state_dict().items()},
        "resgat": {
            "version": CHECKPOINT_VERSION, "net": net.config, "thresholds": THRESHOLDS, "temperature": 1.5,
            "validation": {"real": 12, "fake": 13, "fewest_faces": 1, "most_faces": 2},
        },
        "provenance": {"seed": 3, "data": {"crops": "/home/ann/crops"}, "train_videos": HASHES},
        "pytorch-lightning_version": "2.6.0", "epoch": 4, "global_step": 9,
        "optimizer_states": [{"state": torch.zeros(3)}], "wandb_run_id": "secret", "recovery": {"rows": []},
        **more,
    }  # fmt: skip


def small(**arguments: Any) -> ResGAT:
    return ResGAT(**{"encoder": VIT, "heads": 2, "hidden": 4, "image_size": 64, **arguments}).eval()
