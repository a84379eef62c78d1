"""The checkpoints that the paper's authors published, ``model_weights.pth``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.text import count_and_name
from resgat_pl.core.types import AttentionVersion
from resgat_pl.nn.checkpoint_file import read_state_dict


def read_published(
    path: str | Path, attention: AttentionVersion | None = None
) -> tuple[AttentionVersion, dict[str, Tensor]]:
    """Read a state dict of the authors' code and rename it to ours.

    Theirs has ``backbone.*``, ``gat_layer.*`` and ``fc.*``. Their logit is of the *real* class and ours of the fake
    one, so ``fc`` changes its sign.

    Args:
        path: The file.
        attention: The version that it must hold; None takes what it holds.

    Returns:
        The attention version, and tensors under the names of ``ResGAT.state_dict()``.

    Raises:
        WeightsError: The file cannot be read, is no such state dict, or holds the other attention version.
    """
    state = read_state_dict(path)
    found: AttentionVersion
    if "gat_layer.att_src" in state:
        found = "gatv1"
    elif "gat_layer.att" in state:
        found = "gatv2"
    else:
        raise WeightsError(
            f"{path} is not a checkpoint of the authors' code, which has backbone.*, gat_layer.att or "
            f"gat_layer.att_src, and fc.*: it has {count_and_name(state, 'entry', 'entries')}. "
            "A checkpoint of this package is read by ResGAT.load."
        )
    if attention not in (None, found):
        raise WeightsError(f"{path} holds {found} weights, but attention={attention} was asked for.")
    ours = dict(_renamed(key, value) for key, value in state.items())
    # Before torch_geometric 2.5, GATConv stored its one linear layer under two names.
    shared = ours.pop("gat.lin_dst.weight", None)
    if shared is not None and not torch.equal(shared, ours.get("gat.lin.weight", shared)):
        raise WeightsError(f"{path}: gat_layer.lin_src and gat_layer.lin_dst differ; the authors' model has only one.")
    return found, ours


def _renamed(key: str, value: Tensor) -> tuple[str, Tensor]:
    part, _, rest = key.partition(".")
    if part == "fc":
        return f"head.{rest}", -value
    if part == "gat_layer":
        return f"gat.{'lin.weight' if rest == 'lin_src.weight' else rest}", value
    return key, value
