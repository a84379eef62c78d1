"""Encoders of timm: convolutional networks by their stages, vision transformers by their patch tokens."""

from __future__ import annotations

import copy
import difflib
import math
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.text import first_line
from resgat_pl.nn.encoders.base import EncoderStage, GridEncoder
from resgat_pl.nn.node_geometry import Geometry, geometry_of
from resgat_pl.nn.weights_file import load_strictly, read_state_dict

PREFIX: Final = "timm/"


class TimmEncoder(GridEncoder):
    """A timm model up to one of its feature maps; what comes after is dropped.

    A *hierarchical* model (convolutional networks, Swin) gives its last feature map of stride 32 (stage 4) or 16
    (stage 3). An *isotropic* one (vision transformers) gives the patch tokens after its last block, or after three
    quarters of its blocks (stage 3), each followed by the model's final norm; class and register tokens are left out,
    and position embeddings are resampled to the image's size.

    Shapes:
        ``(B, 3, H, W)`` float → ``(B, out_channels, h, w)`` float; a vision transformer has H / patch rows.

    Args:
        name: ``timm/`` and timm's name, with or without the tag of its weights (``timm/vit_small_patch16_224``,
            ``timm/vit_small_patch14_dinov2.lvd142m``).
        weights: None for random values, ``timm`` for the pretrained ones of that name, or the path of a state dict of
            the whole timm model, as torch or safetensors wrote it.
        stage: See above.

    Attributes:
        model: The timm model, with its own names of parameters.
        isotropic: True if the nodes are patch tokens.

    Raises:
        ConfigError: timm is not installed, has no such model, or the model has no such feature map.
        WeightsError: The weights cannot be had, or do not fit.
    """

    def __init__(self, name: str, weights: str | Path | None = None, stage: EncoderStage = 4) -> None:
        super().__init__()
        self.name = name
        model = _create(name, weights)
        maps = list(getattr(model.feature_info, "info", model.feature_info))
        self._strides = [int(each["reduction"]) for each in maps]
        self._channels = [int(each["num_chs"]) for each in maps]
        self.isotropic = len(set(self._strides)) == 1
        self._index = self._place(stage)
        # Parameters that the map does not depend on would have no gradient, which stops DistributedDataParallel.
        model.prune_intermediate_layers([self._index], prune_norm=not self.isotropic, prune_head=True)
        self.model: Any = model  # timm gives no types for what is used here
        self.stride, self.out_channels = self._strides[self._index], self._channels[self._index]
        self.mean, self.std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])
        self.has_class_token = self.isotropic and getattr(model, "cls_token", None) is not None
        self._shapes: dict[tuple[int, int], tuple[int, int]] = {}
        self.geometry = self._geometry()

    def forward(self, images: Tensor) -> Tensor:
        """The feature map of normalised images."""
        maps = self.model.forward_intermediates(
            images, indices=[self._index], norm=self.isotropic, intermediates_only=True
        )
        feature_map: Tensor = maps[0]
        return feature_map

    def stage_three(self) -> TimmEncoder:
        """The encoder up to stage 3, of one of stage 4; it shares the model.

        Raises:
            ConfigError: The model has no such feature map.
        """
        found = copy.copy(self)
        found._index = self._place(3)
        found.stride, found.out_channels = self._strides[found._index], self._channels[found._index]
        found._shapes = {}
        found.geometry = found._geometry()
        return found

    def both_stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps of stage 3 and of this one, 4, from one pass."""
        maps: list[Tensor] = self.model.forward_intermediates(
            images, indices=[self._place(3), self._index], norm=self.isotropic, intermediates_only=True
        )
        return maps

    def class_token(self, images: Tensor) -> Tensor:
        """The class token of normalised images, after the same block and norm as the patch tokens."""
        maps = self.model.forward_intermediates(
            images, indices=[self._index], norm=True, intermediates_only=True, return_prefix_tokens=True
        )
        token: Tensor = maps[0][1][:, 0]  # registers come after it
        return token

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the feature map.

        Raises:
            ConfigError: The patches do not divide the image, or it gives fewer than 2×2 nodes.
        """
        if self.isotropic and (height % self.stride or width % self.stride):
            near = max(2, round(min(height, width) / self.stride)) * self.stride
            raise ConfigError(
                f"Images of {height}×{width} pixels cannot be divided into the patches of {self.name}, which are "
                f"{self.stride}×{self.stride}: choose a multiple of {self.stride}, such as {near}."
            )
        if (height, width) not in self._shapes:
            self._shapes[height, width] = self._probe(height, width)
        shape = self._shapes[height, width]
        if min(shape) < 2:
            raise ConfigError(
                f"Images of {height}×{width} pixels are too small for {self.name}: a graph needs 2×2 nodes, and they "
                f"give {shape[0]}×{shape[1]}. Resize them, or set encoder_stage 3."
            )
        return shape

    def _place(self, stage: EncoderStage) -> int:
        """Number of the feature map of a stage."""
        if self.isotropic:
            return math.ceil(len(self._strides) * stage / 4) - 1
        wanted = 2 ** (stage + 1)
        if wanted not in self._strides:
            raise ConfigError(
                f"{self.name} has no feature map of stride {wanted}, which encoder_stage {stage} takes: it has "
                f"{', '.join(map(str, sorted(set(self._strides))))}. Set the other encoder_stage, or another encoder."
            )
        return len(self._strides) - 1 - self._strides[::-1].index(wanted)

    def _geometry(self) -> Geometry | None:
        if self.isotropic:  # attention sees the whole picture
            return Geometry(self.stride, (self.stride - 1) / 2, math.inf)
        try:
            found = geometry_of(self)
        except Exception:  # fx fails in many ways on what it cannot trace
            return None
        return found if found.stride == self.stride else None

    def _probe(self, height: int, width: int) -> tuple[int, int]:
        """The shape by a pass without numbers, since padding differs between timm's models."""
        bare = _Unhooked(self)
        state = {**dict(bare.named_parameters()), **dict(bare.named_buffers())}
        empty = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
        image = torch.empty(1, 3, height, width, device="meta", dtype=next(self.parameters()).dtype)
        try:
            with torch.no_grad():
                rows, columns = functional_call(bare, empty, (image,)).shape[2:]
        except Exception as error:  # whatever a model raises that is made for one size
            raise ConfigError(
                f"{self.name} takes no images of {height}×{width} pixels ({first_line(error)}): choose another size "
                "(net.image_size and data.image_size), or another encoder."
            ) from error
        return rows, columns


class _Unhooked(nn.Module):
    """An encoder without the hooks that explainers put on it: they are for passes with numbers."""

    def __init__(self, encoder: TimmEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.forward(images)


def _create(name: str, weights: str | Path | None) -> Any:
    """The whole model without its classifier."""
    try:
        import timm
    except ImportError:
        raise ConfigError(f'The encoder {name} needs timm: pip install "resgat-pl[encoders]"') from None
    inner = name.removeprefix(PREFIX)
    known = timm.list_models()
    # Nothing but names of timm's own list: others would be fetched from a hub, or read from a folder.
    if not timm.is_model(inner.partition(".")[0]) or ":" in inner:
        near = difflib.get_close_matches(inner, known, cutoff=0.4) or ["resnet50", "vit_small_patch16_224"]
        raise ConfigError(f"timm has no model {inner!r}; did you mean {' or '.join(PREFIX + one for one in near)}?")
    model = _model(inner, name, pretrained=weights == "timm")
    missing = [part for part in ("forward_intermediates", "prune_intermediate_layers") if not hasattr(model, part)]
    if missing or not getattr(model, "feature_info", None):
        raise ConfigError(f"{name} cannot be an encoder: it gives no feature maps with places. Choose another.")
    if weights not in {None, "timm"}:
        path = Path(str(weights))
        classifier = model.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{one}." for one in ([classifier] if isinstance(classifier, str) else classifier))
        load_strictly(model, {k: v for k, v in read_state_dict(path).items() if not k.startswith(heads)}, path)
    return model


def _model(inner: str, name: str, pretrained: bool) -> Any:
    from timm import create_model

    options: list[dict[str, Any]] = [{"dynamic_img_size": True}, {}]  # the first is for vision transformers alone
    for option in options:
        try:
            return create_model(inner, pretrained=pretrained, num_classes=0, **option)
        except TypeError:
            if not option:
                raise
        except (OSError, HTTPException, RuntimeError, ValueError) as error:
            if not pretrained:
                raise ConfigError(f"timm cannot make {name} ({first_line(error)}). Choose another encoder.") from error
            raise WeightsError(f"{_where(inner, name)} ({first_line(error)})") from error
    raise AssertionError  # the last option returns or raises


def _where(inner: str, name: str) -> str:
    """Error text for pretrained weights that cannot be had."""
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(inner)
    source = found.to_dict() if found is not None else {}  # type: ignore[no-untyped-call]  # timm has no types
    hub = str(source.get("hf_hub_id") or "")
    if not hub and not source.get("url"):
        return f"timm has no pretrained weights of {name}: set --net.weights FILE, or null for random values"
    file = Path(str(source.get("url"))).name if not hub else f"model.safetensors of the hub's repository {hub}"
    cache = Path(torch.hub.get_dir()) / "checkpoints" if not hub else "the hub's cache (set HF_HOME to move it)"
    return (
        f"Cannot get the weights of {name}. Without network, download {file} elsewhere and give it as --net.weights "
        f"FILE, or put it into {cache}; or give --net.weights null to start from random values"
    )
