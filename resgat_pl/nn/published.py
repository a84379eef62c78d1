"""The checkpoints that the paper's authors published."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from resgat_pl.errors import WeightsError
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.types import AttentionVersion

_PREFIXES = {"backbone.": "encoder.backbone.", "gat_layer.": "gat.", "fc.": "head."}


def from_published(path: Path, attention: AttentionVersion) -> ResGAT:
    """Load ``model_weights.pth`` of the authors' code as a ResGAT in evaluation mode.

    Their network is ResNet-50, 9 heads of 512, one linear layer, no normalisation. Their logit is of the *real*
    class; the last layer's sign is turned, so that here, as everywhere in this project, positive means fake.

    Raises:
        WeightsError: The file is missing, unreadable, or holds another network.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path} cannot be read as a PyTorch state dict: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors.")
    own = {_translate(key): value for key, value in state.items()}
    for name in ("head.weight", "head.bias"):
        if name in own:
            own[name] = -own[name]
    net = ResGAT(attention, encoder="resnet50", heads=9, hidden=512, normalize="none", head="linear")
    try:
        net.load_state_dict(own)
    except RuntimeError as error:
        found = ", ".join(sorted({key.rpartition(".")[0] for key in state if not key.startswith("backbone")})) or "none"
        raise WeightsError(
            f"{path} does not hold the authors' {attention} network ({str(error).splitlines()[-1].strip()[:200]}). "
            f"Layers found besides the backbone: {found}."
        ) from None
    return net.eval()


def _translate(key: str) -> str:
    """The authors' name of a parameter → ours; older torch-geometric calls GATv1's ``lin`` ``lin_src``."""
    for theirs, ours in _PREFIXES.items():
        if key.startswith(theirs):
            return (ours + key.removeprefix(theirs)).replace("gat.lin_src.", "gat.lin.")
    return key
