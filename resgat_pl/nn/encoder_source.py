"""The encoder's part of a shared detector: weights that anybody can get again are named instead of stored.

Where ``net.train`` is ``frozen``, ``norms`` or ``lora``, most of an encoder is as torchvision, timm or a file gave it.
``leave_out`` compares every tensor, bit by bit, with a new encoder from that source, and ``EncoderSource.state`` makes
the same again on the other side.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.text import first_line
from resgat_pl.nn.checkpoint_keys import NET_PREFIX
from resgat_pl.nn.encoders.base import WEIGHT_SOURCES, EncoderStage, GridEncoder
from resgat_pl.nn.encoders.registry import build_encoder
from resgat_pl.nn.encoders.timm_models import PREFIX, TimmEncoder
from resgat_pl.nn.encoders.torchvision_cnns import ENCODERS
from resgat_pl.nn.encoders.tuning import TrainMode, choose_trained

BACKBONE: Final = f"{NET_PREFIX}backbone."
"""Of the encoder's tensors in the state dict of the LightningModule."""
_NAME: Final = re.compile(r"(timm/)?\w[\w.-]*")
_SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class EncoderSource:
    """The source of an encoder's weights, from which they are made again.

    Attributes:
        name: ``ResGAT.config["encoder"]``: of torchvision, or ``timm/NAME.TAG``.
        weights: ``imagenet``, ``timm``, or the name of a file.
        sha256: Of that file; None for the others.
        stage: ``ResGAT.config["encoder_stage"]``.
        train: ``ResGAT.config["train"]``.
        receptive: ``ResGAT.config["receptive"]``.

    Example:
        >>> source = EncoderSource("resnet18", "imagenet", None, 4, "norms")
        >>> EncoderSource.read(source.plain(), "config.json") == source
        True
    """

    name: str
    weights: str
    sha256: str | None
    stage: EncoderStage
    train: TrainMode
    receptive: int | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON; without ``receptive`` where there is none, as it was written before there was one."""
        return {name: value for name, value in asdict(self).items() if name != "receptive" or value is not None}

    @classmethod
    def read(cls, stored: object, what: object) -> EncoderSource:
        """Undo ``plain``; the values may come from anybody.

        Raises:
            WeightsError: They are no source of an encoder of torchvision or timm.
        """
        found = {"receptive": None, **stored} if isinstance(stored, dict) else {}
        valid: dict[str, Callable[[Any], object]] = {
            "name": lambda value: isinstance(value, str) and is_own(value) and _NAME.fullmatch(value),
            "weights": lambda value: isinstance(value, str) and value == Path(value).name and value not in {"", ".."},
            "sha256": lambda value: value is None or (isinstance(value, str) and _SHA256.fullmatch(value)),
            "stage": lambda value: value in get_args(EncoderStage),
            "train": lambda value: value in get_args(TrainMode),
            "receptive": lambda value: value is None or (type(value) is int and value > 0),
        }
        wrong = [name for name, accepts in valid.items() if name not in found or not accepts(found[name])]
        if wrong or set(found) != set(valid):
            raise WeightsError(
                f"{what} names no encoder of torchvision or timm in its entry encoder (wrong: "
                f"{', '.join(wrong) or 'further values'}): take the folder as it was written."
            )
        return cls(**found)

    def encoder(self, file: str | Path | None = None) -> GridEncoder:
        """A new encoder from this source; the random numbers of others are not disturbed.

        Args:
            file: Weights to read instead, for a machine without network, or where ``weights`` names a file.

        Raises:
            WeightsError: The weights cannot be had; says which file goes where.
        """
        with torch.random.fork_rng(devices=[]):
            try:
                encoder = build_encoder(self.name, self._weights(file), self.stage, receptive=self.receptive)
            except WeightsError as error:
                raise WeightsError(
                    f"the encoder's weights are not stored with the detector. {str(error).rstrip('.')}. Here, put "
                    f"{self._file.name} into {self._file.parent}, or name any file in Python: "
                    "ResGAT.from_pretrained(…, weights=FILE)."
                ) from error
            choose_trained(encoder, self.train)
        return encoder

    def state(self, file: str | Path | None = None) -> dict[str, Tensor]:
        """The encoder's part of the state dict of the LightningModule before training, see ``encoder``."""
        return {f"{BACKBONE}{name}": value for name, value in self.encoder(file).state_dict().items()}

    @property
    def _file(self) -> Path:
        """The place of a file on this machine that is taken instead of a download."""
        name = {"imagenet": f"{self.name}.pth", "timm": f"{self.name.removeprefix(PREFIX)}.safetensors"}
        return Path(torch.hub.get_dir()) / "checkpoints" / name.get(self.weights, self.weights)

    def _weights(self, file: str | Path | None) -> str | Path:
        if file is not None:
            return file
        if self._file.is_file():
            return self._file
        if self.weights not in WEIGHT_SOURCES:
            known = f" (SHA-256 {self.sha256})" if self.sha256 else ""
            raise WeightsError(f"They are those of the file {self.weights}{known}, which is not on this machine.")
        return self.weights


class LeftOut(NamedTuple):
    """Tensors of a state dict that need not be stored.

    Attributes:
        names: Their names.
        source: The source that gives them; None where all are stored.
        note: Reason why all are stored; empty otherwise.
        file: The file of ``source``, where it is one.
    """

    names: frozenset[str]
    source: EncoderSource | None
    note: str
    file: Path | None = None


def leave_out(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> LeftOut:
    """Find the tensors that an encoder's source gives bit by bit.

    Args:
        state: State dict of a LightningModule.
        config: Arguments of its network, or ``class_path`` and ``init_args`` of one of another class.
    """
    options = config.get("init_args", config)
    name, weights, train = options.get("encoder"), options.get("weights"), options.get("train", "full")
    everything = frozenset[str]()
    if not isinstance(name, str) or not is_own(name):
        return LeftOut(everything, None, "the encoder is neither of torchvision nor of timm")
    if train == "full" or isinstance(options.get("encoder_stage"), list):
        why = "the whole encoder was trained" if train == "full" else "the encoder gives nodes of two stages"
        return LeftOut(everything, None, why)
    if weights is None:
        return LeftOut(everything, None, "the encoder's first weights were random")
    stage = cast("EncoderStage", options.get("encoder_stage", 4))
    source, file = _source(name, str(weights), stage, train, options.get("receptive"))
    try:
        fresh = source.encoder(file)
    except (ConfigError, WeightsError) as error:
        return LeftOut(everything, None, f"the encoder's first weights cannot be had here ({first_line(error)})")
    trained = {key for key, parameter in fresh.named_parameters() if parameter.requires_grad}
    names = frozenset(
        f"{BACKBONE}{key}"
        for key, value in fresh.state_dict().items()
        if key not in trained and f"{BACKBONE}{key}" in state and same_bits(value, state[f"{BACKBONE}{key}"])
    )
    if not names:
        return LeftOut(everything, None, f"no weights of the encoder are those of {source.weights} any longer")
    if file is not None:
        source = EncoderSource(**{**source.plain(), "sha256": _digest(file)})
    return LeftOut(names, source, "", file)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """True for tensors of one type and shape with the same bytes, so that NaN equals itself and -0 differs from 0."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for value in (one, other)))


def is_own(name: str) -> bool:
    """True for the name of an encoder of torchvision or timm, which names no code to import."""
    return name in ENCODERS or name.startswith(PREFIX)


def _source(
    name: str, weights: str, stage: EncoderStage, train: TrainMode, receptive: int | None
) -> tuple[EncoderSource, Path | None]:
    if weights in WEIGHT_SOURCES:
        name = _with_tag(name) if weights == "timm" else name
        return EncoderSource(name, weights, None, stage, train, receptive), None
    file = Path(weights)
    if not file.is_file():  # a checkpoint that was sent here has the file's name alone
        file = Path(torch.hub.get_dir()) / "checkpoints" / file.name
    return EncoderSource(name, file.name, None, stage, train, receptive), file


def _with_tag(name: str) -> str:
    """The name of timm with the tag of its weights: without one, another version of timm may take others."""
    try:
        found = TimmEncoder(name).model.pretrained_cfg
    except ConfigError:
        return name
    return f"{PREFIX}{found['architecture']}.{found['tag']}" if found.get("tag") else name


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
