"""Weight files: safe reading, the typed ``Checkpoint``, and loading into a module with errors that say what differs."""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast, get_args

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.text import count_and_name, first_line
from resgat_pl.core.types import Level, Validation
from resgat_pl.nn.checkpoint_keys import LIGHTNING, NET_PREFIX, PROVENANCE, RESGAT, STATE_DICT, TRAINING, WANDB_ID
from resgat_pl.nn.safetensors_file import SUFFIX, from_safetensors, read_tensors

_CHUNK: Final = 2**22  # bytes
_OBJECT: Final = re.compile(r"GLOBAL:? (\S+)")
"""The class that torch refused, in its message; the rest of that is advice to load the file all the same."""
_NO_TENSORS: Final = ("entry that is no tensor", "entries that are no tensors")
CHECKPOINT_VERSION: Final = 1
"""Version of the ``resgat`` entry of a checkpoint: ``{"version": …, "resgat_pl": …, "net": ResGAT.config}``."""


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a dictionary that ``torch.save`` wrote, onto the CPU and without running code from the file.

    Also reads what ``resgat export --format safetensors`` wrote, as the checkpoint it was made of.

    Raises:
        WeightsError: The file is missing, broken, not a dictionary, or a pickle of more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise WeightsError(f"There is no weights file {path}: check the path.")
    if Path(path).suffix == SUFFIX:
        return from_safetensors(path)
    if Path(path).suffix in {".onnx", ".pt2"}:
        raise WeightsError(f"{path} was exported, to be run without training: give the checkpoint that it was made of.")
    _check_sums(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a pickle's protocol, to those who wrote it
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen different types on files it cannot read or refuses
        found = _OBJECT.search(str(error))
        raise WeightsError(
            f"Cannot read {path}: it is damaged or no checkpoint, or it holds pickled objects other than tensors and "
            f"plain values{f' ({found[1][:100]})' if found else ''}, which are refused because loading them can run "
            "code. Ask for it as safetensors, or as a state dict."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary: give a state dict.")
    return content


def _check_sums(path: str | Path) -> None:
    """Compare a file with its own checksums: torch writes them and ignores them, and weights of any bits would load.

    Raises:
        WeightsError: It is empty, or not as it was written. Formats older than torch 1.6 have no checksums.
    """
    remedy = "Take another copy, or an earlier checkpoint."
    if not Path(path).stat().st_size:
        raise WeightsError(f"Cannot read {path}: it is empty. {remedy}")
    with Path(path).open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # as torch itself checks: the end of an older file may look like a zip's
            return
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:  # torch stores; other files could unpack to any size
                    raise WeightsError(
                        f"{path} is compressed, so torch.save did not write it: give a state dict or safetensors."
                    )
                with archive.open(entry) as part:
                    while part.read(_CHUNK):  # compares the sum at the end
                        pass
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise WeightsError(
            f"Cannot read {path}: it is damaged ({first_line(error)}). {remedy} If it "
            "is as it was written, torch was set to leave checksums out (set_crc32_options): save it again with them."
        ) from None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of ``resgat fit``, read and validated once.

    ``release`` and ``take`` drop the weights and the training's state after use; the next access reads the file again.

    Attributes:
        path: The file; None for content that came without one.
        net_config: ``ResGAT.config``, not yet checked: the network's constructor does that.
        thresholds: By level, chosen on validation data; None where nothing was chosen.
        temperatures: By level, for calibrated probabilities; None where validation gave none.
        validation: The videos on which thresholds and temperatures were chosen; None where the file does not say.
        provenance: As stored, of any type, see ``evaluation.provenance.stored_provenance``.
        wandb_run_id: As stored, of any type; None without W&B.
        lightning: Version of Lightning that wrote it; None for a file that Lightning does not load.
        can_resume: Whether it holds what Lightning needs to resume training.
        mark: State of the file when it was read; None for content that came without one.

    Example:
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
    provenance: Any
    wandb_run_id: Any
    lightning: Any
    can_resume: bool
    mark: _Mark | None = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a file, or return the same object as before if the file is unchanged since the latest call.

        Raises:
            WeightsError: It is missing, unreadable, no checkpoint of ``resgat fit``, or of a newer version.
        """
        mark = _mark(path)
        found = _latest.get(mark)
        if found is None:
            _latest.clear()  # before the next is read: memory holds one
            found = _latest[mark] = cls._checked(read_file(path), path, Path(path), mark)
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
            content.get(PROVENANCE),
            content.get(WANDB_ID),
            content.get(LIGHTNING),
            content.keys() >= TRAINING,
            mark,
        )
        vars(found)["raw"] = content
        return found

    @property
    def name(self) -> str:
        """The file's path, for messages."""
        return "The checkpoint" if self.path is None else str(self.path)

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


_Mark = tuple[str, int, int]
_latest: dict[_Mark, Checkpoint] = {}
"""The checkpoint that was read last, so that a command reads its file once; one entry at most."""


def _mark(path: str | Path) -> _Mark:
    """Absolute path, time of the last change, and size: they differ between two states of a file."""
    file = Path(path).absolute()
    try:
        status = file.stat()
    except (OSError, ValueError):
        raise WeightsError(f"There is no weights file {path}: check the path.") from None
    return str(file), status.st_mtime_ns, status.st_size


def take_content(path: str | Path) -> dict[str, Any]:
    """The content of any weights file, for a caller that may change it: of the ``Checkpoint`` if that was just read.

    Raises:
        WeightsError: As ``read_file``.
    """
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
    for value in (entry.get("temperature"), entry.get("video_temperature")):
        if value is not None and not (_is_number(value) and 0 < value < math.inf):
            raise WeightsError(f"{what} has the temperature {str(value)[:60]!r}: it must be above 0. {again}")
    try:
        return Validation.read(entry.get("validation"))
    except ValueError as error:
        raise WeightsError(f"{what} has an entry validation that {error}. {again}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a file that holds nothing but named tensors: a state dict of ``torch.save``, or safetensors.

    Raises:
        WeightsError: As ``read_file``, or an entry is not a tensor.
    """
    plain = Path(path).suffix == SUFFIX and Path(path).is_file()
    content = dict(read_tensors(path)[0]) if plain else read_file(path)
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        raise WeightsError(f"{path} is not a state dict: {count_and_name(others, *_NO_TENSORS) or 'empty'}.")
    return content


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load ``state`` into ``module`` if names and shapes all match, see ``check_state``."""
    check_state(module, state, path)
    module.load_state_dict(dict(state))  # a plain dict, without the version marks that would demand the counters


def check_state(module: nn.Module, state: Mapping[str, Any], path: str | Path) -> None:
    """Make sure that weights are those of a module.

    Args:
        module: Is to receive the values.
        state: Tensors by the names of ``module.state_dict()``.
        path: Where ``state`` comes from, for the message.

    Raises:
        WeightsError: Names the missing, unexpected and misshapen entries, or what is no tensor.
    """
    if others := [str(key) for key, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(f"{path} holds no weights: {count_and_name(others, *_NO_TENSORS)}.")
    expected = module.state_dict()
    # Files older than torch 0.4.1 have no such counters; BatchNorm then keeps its own.
    missing = [key for key in expected if key not in state and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    groups = (
        count_and_name(names, what, what)
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (shapes, "of another shape"))
    )
    differences = "; ".join(group for group in groups if group)
    if differences:
        raise WeightsError(f"{path} holds the weights of another architecture: {differences}.")
