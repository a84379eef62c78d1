"""A trained detector with the thresholds, temperatures and provenance of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.types import Level, Validation
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import SplitProtocol, divide
from resgat_pl.data.splits.registry import from_spec
from resgat_pl.evaluation.provenance import stored_provenance
from resgat_pl.evaluation.train_test_overlap import check_unseen
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.nets import load_net


@dataclass
class Detector:
    """A trained network and its checkpoint.

    Attributes:
        net: In evaluation mode, on the GPU if there is one.
        checkpoint: Its weights are released.
        provenance: The checkpoint's, checked; None where it has none.

    Example:
        >>> content = {"resgat": {"version": 1, "net": {}, "thresholds": {"frame": 0.4, "video": 0.6}},
        ...            "state_dict": {}}
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64)
        >>> detector = Detector(net, Checkpoint.of(content, "a.ckpt"), None)  # or Detector.load("a.ckpt")
        >>> detector.thresholds["video"]
        0.6
    """

    net: DetectorNet
    checkpoint: Checkpoint
    provenance: dict[str, Any] | None

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return cast("Path", self.checkpoint.path)

    @property
    def thresholds(self) -> Mapping[Level, float] | None:
        """By level, chosen on validation data; None where nothing was chosen."""
        return self.checkpoint.thresholds

    @property
    def temperatures(self) -> Mapping[Level, float | None]:
        """By level, see ``metrics.calibration``; None where validation gave none."""
        return self.checkpoint.temperatures

    @property
    def validation(self) -> Validation | None:
        """The videos on which thresholds and temperatures were chosen; None where the checkpoint does not say."""
        return self.checkpoint.validation

    @classmethod
    def load(cls, path: str | Path) -> Detector:
        """Read a checkpoint of ``resgat fit``.

        Raises:
            WeightsError: It is missing, damaged, or something else, or its detector is not installed.
        """
        checkpoint = Checkpoint.read(path)
        net = load_net(checkpoint).to("cuda" if torch.cuda.is_available() else "cpu")
        provenance = stored_provenance(checkpoint.provenance, path)
        checkpoint.release()
        return cls(net, checkpoint, provenance)

    @property
    def data(self) -> dict[str, Any]:
        """Data that it was trained on, see ``provenance.of_data``.

        Raises:
            WeightsError: The checkpoint carries no provenance.
        """
        if self.provenance is None or not self.provenance.get("data"):
            raise WeightsError(
                f"The checkpoint {self.path} carries no provenance: it does not say what it was trained on. Name the "
                "crops to test it on, or train again with this version."
            )
        return dict(self.provenance["data"])

    def manifest(self, crops: str | Path, split: SplitProtocol | None = None) -> Manifest:
        """A manifest with the splits to test this detector under.

        Args:
            crops: Folder of the manifest.
            split: Protocol; None takes the manifest's own splits or, if the detector was trained on these very crops,
                the protocol it was trained under.
        """
        manifest = Manifest.read(crops)
        if split is None and self.provenance and self.data["manifest"] == manifest.fingerprint():
            if self.data["splits"] == manifest.split_fingerprint():
                return manifest  # unchanged; an older version's protocol may have divided otherwise than this one's
            spec = self.data["protocol"]
            split = from_spec(spec) if spec else None
        return manifest if split is None else divide(manifest, split)

    def leaks_on(self, manifest: Manifest, allow_leakage: bool) -> list[str]:
        """Kinds of leak between its training data and a manifest's test split, see ``check_unseen``."""
        return check_unseen(self.path, self.provenance, manifest, allow_leakage)
