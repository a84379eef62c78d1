"""The typed ``Checkpoint``: a file of ``resgat fit``, or the same content as a folder or on the hub."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast, get_args

from torch import Tensor

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.types import Level, Validation
from resgat_pl.nn.checkpoint_keys import (
    LIGHTNING,
    MASK_THRESHOLD,
    NET_PREFIX,
    PROVENANCE,
    RESGAT,
    STATE_DICT,
    TRAINING,
    WANDB_ID,
)
from resgat_pl.nn.hub import hint_at_hub, local_copy
from resgat_pl.nn.hub_folder import CONFIG_NAME, WEIGHTS_NAME, read_folder
from resgat_pl.nn.weights_file import check_state, load_strictly, read_state_dict, read_weights_file

__all__ = ["CHECKPOINT_VERSION", "Checkpoint", "check_state", "load_strictly", "read_file", "read_state_dict"]
"""Some are of ``weights_file``, and were here."""
CHECKPOINT_VERSION: Final = 1
"""Version of the ``resgat`` entry of a checkpoint: ``{"version": …, "resgat_pl": …, "net": ResGAT.config}``."""


def read_file(path: str | Path) -> dict[str, Any]:
    """Read the content of a checkpoint, or any dictionary that ``torch.save`` wrote, without running code from it.

    Args:
        path: A file, see ``weights_file.read_weights_file``; a folder, see ``hub_folder.read_folder``; or a model of
            the hub, ``hf://owner/name``, see ``hub.local_copy``.

    Raises:
        WeightsError: It is missing, broken, or holds more than tensors and plain values.
    """
    path = local_copy(path)
    return read_folder(path) if path.is_dir() else read_weights_file(path)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of ``resgat fit``, read and validated once.

    ``release`` and ``take`` drop the weights and the training's state after use; the next access reads the file again.

    Attributes:
        path: The file or folder; None for content that came without one.
        net_config: ``ResGAT.config``, not yet checked: the network's constructor does that.
        thresholds: By level, chosen on validation data; None where nothing was chosen.
        temperatures: By level, for calibrated probabilities; None where validation gave none.
        validation: The videos on which thresholds and temperatures were chosen; None where the file does not say.
        limits: Further limits that validation chose, by name, such as ``unknown_kind``; empty where it chose none.
        provenance: As stored, of any type, see ``evaluation.provenance.stored_provenance``.
        wandb_run_id: As stored, of any type; None without W&B.
        lightning: Version of Lightning that wrote it; None for a file that Lightning does not load.
        can_resume: Whether it holds what Lightning needs to resume training.
        mark: State of the file when it was read; None for content that came without one.
        mask_threshold: Above which a pixel of a mask head's mask is called manipulated, chosen on validation data; None
            without a mask head or masks.

    Example:
        >>> import torch
        >>> content = {"resgat": {"version": 1, "net": {"heads": 2}, "thresholds": {"frame": 0.4, "video": 0.6}},
        ...            "state_dict": {"net.gat.bias": torch.zeros(2)}}
        >>> checkpoint = Checkpoint.of(content, "a.ckpt")
        >>> checkpoint.thresholds, checkpoint.can_resume, list(checkpoint.net_state)
        ({'frame': 0.4, 'video': 0.6}, False, ['gat.bias'])
    """

    path: Path | None
    net_config: Mapping[str, Any]
    thresholds: Mapping[Level, float] | None
    temperatures: Mapping[Level, float | None]
    validation: Validation | None
    limits: Mapping[str, float]
    provenance: Any
    wandb_run_id: Any
    lightning: Any
    can_resume: bool
    mark: _Mark | None = field(repr=False)
    mask_threshold: float | None = None

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a file, or return the same object as before if the file is unchanged since the latest call.

        Args:
            path: A file, a folder of ``resgat export --format hub``, or a model of the hub, ``hf://owner/name``.

        Raises:
            WeightsError: It is missing, unreadable, no checkpoint of ``resgat fit``, or of a newer version.
        """
        path = local_copy(path)
        mark = _mark(path)
        found = _latest.get(mark)
        if found is None:
            _latest.clear()  # before the next is read: memory holds one
            found = _latest[mark] = cls._checked(read_file(path), path, path, mark)
        return found

    @classmethod
    def of(cls, content: Mapping[str, Any], what: object) -> Checkpoint:
        """Validate the content of a checkpoint that something else, such as Lightning, has read.

        Args:
            content: As ``read_file`` returns it.
            what: Its name, for messages.

        Raises:
            WeightsError: It is no checkpoint of ``resgat fit``, or of a newer version.
        """
        return cls._checked(dict(content), what, None, None)

    @classmethod
    def _checked(cls, content: dict[str, Any], what: object, path: Path | None, mark: _Mark | None) -> Checkpoint:
        entry = content.get(RESGAT)
        net = entry.get("net") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(net, dict) or not isinstance(content.get(STATE_DICT), dict):
            raise WeightsError(
                f"{what} is not a ResGAT checkpoint: it has no resgat.net or no state_dict entry. Give a .ckpt file of "
                "resgat fit. A state dict of the encoder is given as --net.weights; a model_weights.pth of the paper's "
                "authors is read in Python by ResGAT.from_published."
            )
        validation = _check_entry(entry, what)
        thresholds = entry.get("thresholds")
        # Where validation had one class, checkpoints of earlier versions hold 0.5: nothing was chosen.
        if validation is None and thresholds is not None and all(value == 0.5 for value in thresholds.values()):
            thresholds = None
        found = cls(
            path,
            net,
            thresholds,
            {"frame": entry.get("temperature"), "video": entry.get("video_temperature")},
            validation,
            entry.get("limits") or {},
            content.get(PROVENANCE),
            content.get(WANDB_ID),
            content.get(LIGHTNING),
            content.keys() >= TRAINING,
            mark,
            entry.get(MASK_THRESHOLD),
        )
        vars(found)["raw"] = content
        return found

    @property
    def name(self) -> str:
        """The file's path, for messages."""
        return "The checkpoint" if self.path is None else str(self.path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file, see ``file_fingerprint``."""
        return file_fingerprint(cast("Path", self.path))

    @cached_property
    def raw(self) -> dict[str, Any]:
        """Everything in the file; not to be changed."""
        path = cast("_Mark", self.mark)[0]  # without a mark, ``release`` drops nothing
        content = read_file(path)
        if _mark(path) != self.mark:
            raise WeightsError(f"{path} was written again while it was in use: give the command again.")
        return content

    @property
    def state(self) -> dict[str, Tensor]:
        """The state dict of the LightningModule."""
        return cast("dict[str, Tensor]", self.raw[STATE_DICT])

    @property
    def net_state(self) -> dict[str, Tensor]:
        """The state dict of the network."""
        return {
            str(key)[len(NET_PREFIX) :]: value for key, value in self.state.items() if str(key).startswith(NET_PREFIX)
        }

    def take(self) -> dict[str, Any]:
        """Everything in the file for a caller that may change it: this object does not hold it any longer."""
        content = self.raw
        self.release()
        return content

    def release(self) -> None:
        """Drop the weights and the optimiser's state, if they can be read again."""
        if self.mark is not None:
            vars(self).pop("raw", None)


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a checkpoint; of a folder that of its ``config.json``, which holds the hashes of the rest."""
    with (path / CONFIG_NAME if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_Mark = tuple[str, int, int]
_latest: dict[_Mark, Checkpoint] = {}
"""The checkpoint that was read last, so that a command reads its file once; one entry at most."""


def _mark(path: str | Path) -> _Mark:
    """Absolute path, time of the last change, and size: they differ between two states of a file, or of a folder's."""
    file = Path(path).absolute()
    try:
        parts = [file / CONFIG_NAME, file / WEIGHTS_NAME] if file.is_dir() else [file]
        states = [part.stat() for part in parts if part is file or part.exists()]  # what is missing is named later
    except (OSError, ValueError):
        raise WeightsError(f"There is no weights file {path}: check the path.{hint_at_hub(path)}") from None
    return str(file), sum(state.st_mtime_ns for state in states), sum(state.st_size for state in states)


def take_content(path: str | Path) -> dict[str, Any]:
    """The content of any weights file, for a caller that may change it: of the ``Checkpoint`` if that was just read.

    Raises:
        WeightsError: As ``read_file``.
    """
    path = local_copy(path)
    found = _latest.get(_mark(path))
    return read_file(path) if found is None else found.take()


def _check_entry(entry: Mapping[str, Any], what: object) -> Validation | None:
    """Make sure that this program reads the format and the numbers of a checkpoint's ``resgat`` entry.

    Raises:
        WeightsError: Names the file, its format, and the version to install or what else to do.
    """
    again = "Train again with this version, or install the version that wrote it."
    check_version(entry.get("version"), CHECKPOINT_VERSION, what, WeightsError, again=again, writer=entry.get(WRITER))
    thresholds = entry.get("thresholds")
    levels = thresholds if isinstance(thresholds, dict) else {}
    if thresholds is not None and not all(_is_number(levels.get(level)) for level in get_args(Level)):
        raise WeightsError(f"{what} has thresholds {str(thresholds)[:60]!r}: it needs a number for each level. {again}")
    limit = entry.get(MASK_THRESHOLD)
    if limit is not None and not (_is_number(limit) and 0 <= limit <= 1):
        raise WeightsError(f"{what} has the mask threshold {str(limit)[:60]!r}: it must be in [0, 1]. {again}")
    for value in (entry.get("temperature"), entry.get("video_temperature")):
        if value is not None and not (_is_number(value) and 0 < value < math.inf):
            raise WeightsError(f"{what} has the temperature {str(value)[:60]!r}: it must be above 0. {again}")
    limits = entry.get("limits")
    if limits is not None and not (isinstance(limits, dict) and all(map(_is_number, limits.values()))):
        raise WeightsError(f"{what} has limits {str(limits)[:60]!r}: it needs a number for each. {again}")
    try:
        return Validation.read(entry.get("validation"))
    except ValueError as error:
        raise WeightsError(f"{what} has an entry validation that {error}. {again}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
