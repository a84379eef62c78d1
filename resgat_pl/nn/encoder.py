"""Convolutional encoders from torchvision, cut before their pooling."""

from __future__ import annotations

import difflib
import pickle
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from resgat_pl.errors import ConfigError, WeightsError

EncoderStage = Literal[3, 4]
_FAMILIES = ("resnet", "resnext", "wide_resnet", "mobilenet_v2", "efficientnet")
_PROBE = 64  # px; small, and a multiple of every stride


class Encoder(nn.Module):
    """Feature map of a face.

    Args:
        name: A torchvision ResNet (ResNeXt, Wide ResNet), MobileNetV2 or EfficientNet, e.g. ``resnet50``.
        weights: None (random), ``imagenet`` (torchvision's), or the path of a torchvision classification state dict.
        stage: 4 ends at stride 32 (7×7 nodes of a 224 px image), 3 at stride 16 (14×14).

    Attributes:
        out_channels: Channels of the feature map.
        stride: Input px per node.

    Raises:
        ConfigError: ``name`` is not one of these families.
        WeightsError: The weights cannot be had or do not fit.
    """

    def __init__(self, name: str, weights: str | Path | None = None, stage: EncoderStage = 4) -> None:
        super().__init__()
        known = [model for model in list_models() if model.startswith(_FAMILIES)]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or ["resnet50", "mobilenet_v2", "efficientnet_b0"]
            raise ConfigError(f"net.encoder is {name!r}, which is not known. Did you mean {', '.join(near)}?")
        model = get_model(name, weights=None)
        if weights is not None:
            _load(model, _imagenet(name) if weights == "imagenet" else _read(Path(weights)), str(weights), name)
        children = list(model.children())
        # ResNets end in (layer4, avgpool, fc); the others hold their blocks in `features`.
        blocks = children[:-2] if hasattr(model, "layer4") else list(model.features.children())
        self.backbone = nn.Sequential(*_until_stride(blocks, 16 if stage == 3 else 32))
        shape = _output_shape(self.backbone)
        self.out_channels = shape[1]
        self.stride = _PROBE // shape[2]

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised images → ``(B, out_channels, H/stride, W/stride)``."""
        features: Tensor = self.backbone(images)
        return features


def _until_stride(blocks: list[nn.Module], stride: int) -> list[nn.Module]:
    kept: list[nn.Module] = []
    for block in blocks:
        if _output_shape(nn.Sequential(*kept, block))[2] * stride < _PROBE:
            break
        kept.append(block)
    return kept


@torch.no_grad()
def _output_shape(network: nn.Sequential) -> torch.Size:
    """Shape for one probe image, worked out on the meta device: nothing is computed."""
    training = network.training
    probe = torch.empty(1, 3, _PROBE, _PROBE, device="meta")
    state = {name: values.to("meta") for name, values in network.state_dict(keep_vars=False).items()}
    shape: torch.Size = torch.func.functional_call(network.eval(), state, probe).shape
    network.train(training)
    return shape


def _imagenet(name: str) -> dict[str, Any]:
    choices = get_model_weights(name)
    # V1, the weights there were when the paper's authors trained; newer ones are not comparable.
    chosen = next((weights for weights in choices if weights.name == "IMAGENET1K_V1"), choices["DEFAULT"])
    file = Path(urlparse(chosen.url).path).name
    try:
        state: dict[str, Any] = chosen.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a broken download
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(
            f"The ImageNet weights of {name} cannot be downloaded ({error}). Put the file {file} into {folder}, "
            "or name it: --net.weights PATH. --net.weights null starts from random weights."
        ) from None
    return state


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"net.weights: there is no file {path}. Use a path, 'imagenet', or null.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"net.weights: {path} cannot be read as a PyTorch state dict ({reason}).") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"net.weights: {path} holds no state dict of tensors.")
    return state


def _load(model: nn.Module, state: dict[str, Any], source: str, name: str) -> None:
    """Load all but the classifier, strictly."""
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(("fc.", "classifier."))}
    missing = [key for key in own if key not in state]
    wrong = [key for key, value in own.items() if key in state and state[key].shape != value.shape]
    if missing or wrong:
        raise WeightsError(
            f"net.weights: {source} does not fit {name}: {len(missing)} of {len(own)} entries are missing"
            f"{f' (first: {missing[0]})' if missing else ''}, {len(wrong)} have another shape"
            f"{f' (first: {wrong[0]})' if wrong else ''}."
        )
    model.load_state_dict({key: state[key] for key in own}, strict=False)
