"""Checkpoints of networks that nobody trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule


def save_untrained(net: ResGAT, path: Path, threshold: float | None = None) -> None:
    """Save a network as ``resgat fit`` would.

    Args:
        net: The network.
        path: File of the checkpoint.
        threshold: Of frames and videos; None as if there had been no validation.
    """
    module = ResGATModule(net)
    module.thresholds = None if threshold is None else {"frame": threshold, "video": threshold}
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    torch.save(content, path)
