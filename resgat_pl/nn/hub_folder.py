"""A trained detector as a folder of three files that cannot hold code, as models are shared on the Hugging Face hub.

``config.json`` has everything but tensors: the network's arguments, thresholds, temperatures, validation, provenance
and hashes. ``model.safetensors`` has the tensors, without those that the encoder's source gives (``encoder_source``),
and the hashes of the videos that training saw. ``README.md`` is the model card; nothing reads it.

Two hashes make sure that a detector is the one that was shared: one of ``config.json`` with the stored tensors, one of
the complete state dict. They detect damage and mixed-up files, and are no signature: whoever makes a folder makes its
hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.formats import WRITER, check_version, stamp
from resgat_pl.core.privacy import without_paths
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.text import first_few, first_line
from resgat_pl.nn.checkpoint_keys import EPOCH, LIGHTNING, PROVENANCE, RESGAT, STATE_DICT, STEP
from resgat_pl.nn.encoder_source import EncoderSource, leave_out, same_bits
from resgat_pl.nn.safetensors_file import content_sum, put_back, read_tensors, without_tensors

FOLDER_VERSION: Final = 1
"""Format of ``config.json``."""
CONFIG_NAME: Final = "config.json"
WEIGHTS_NAME: Final = "model.safetensors"
CARD_NAME: Final = "README.md"
FILES: Final = (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME)
"""All that is written, sent, fetched and read."""
_STORED: Final = (RESGAT, PROVENANCE, LIGHTNING, EPOCH, STEP)
"""Entries of a checkpoint that are shared; the optimiser's state and the W&B run are not."""
_ENCODER: Final = "encoder"
_SUMS: Final = "sha256"
_CODE: Final = re.compile(
    r"\.(py|pyc|pyd|so|dll|dylib|exe|sh|bat|ipynb|bin|pkl|pickle|pt|pth|pt2|ckpt|joblib|dill|npy|npz|h5|keras)",
    re.IGNORECASE,
)
"""Suffixes of programs, and of formats that can hold some."""
_LARGEST: Final = 16 * 2**20
"""Bytes of ``config.json``; ours have some 20 kB."""
_AGAIN: Final = "Write it with resgat export --format hub or save_pretrained, or take another copy."


class Written(NamedTuple):
    """A folder that was written.

    Attributes:
        folder: The folder.
        size: Bytes of ``model.safetensors``.
        stored: Tensors of the state dict that are in it.
        left_out: Tensors that the encoder's source gives.
        note: What is left out, or why nothing is.
    """

    folder: Path
    size: int
    stored: int
    left_out: int
    note: str


def require_own_folder(folder: Path) -> None:
    """Make sure that a folder may be written: new, empty, or with nothing but such files and hidden ones.

    Raises:
        ConfigError: It is a file, or names what else is there.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder.")
    others = sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name not in FILES and not path.name.startswith(".")
    )
    if others:
        raise ConfigError(f"{folder} holds other files ({first_few(others)}): name a new folder.")


def write_folder(folder: str | Path, content: Mapping[str, Any], card: Callable[[str], str]) -> Written:
    """Write a checkpoint as a folder, read it back, and compare every tensor.

    Paths of this machine are cut down to their last names.

    Args:
        folder: New, empty, or of an earlier call, which is replaced.
        content: As ``checkpoint_file.read_file`` returns it.
        card: Makes the text of ``README.md`` from a sentence on what is left out, ``Written.note``.

    Raises:
        ConfigError: The folder holds other files, cannot be written, or does not hold what was written.
        WeightsError: ``content`` is no checkpoint of ``resgat fit``.
    """
    from safetensors.torch import save

    folder = Path(folder)
    require_own_folder(folder)
    if not isinstance(content.get(STATE_DICT), dict) or not isinstance(content.get(RESGAT), dict):
        raise WeightsError("Only a checkpoint of resgat fit can be shared: resgat.net is missing.")
    state: dict[str, Tensor] = {name: value.detach().cpu() for name, value in content[STATE_DICT].items()}
    left_out = leave_out(state, content[RESGAT]["net"])

    # Copies, because the format has no two names for the same memory.
    tensors = {name: value.clone().contiguous() for name, value in state.items() if name not in left_out.names}
    count = len(tensors)
    plain = without_tensors({name: content[name] for name in _STORED if name in content}, "", tensors)
    source = left_out.source
    entries = {**stamp(FOLDER_VERSION), "library_name": "resgat_pl", **without_paths(plain)}
    document = json.loads(json.dumps({**entries, _ENCODER: None if source is None else source.plain()}))
    sums = {"stored": _stored_sum(document, tensors), "complete": content_sum("", state)}
    data = save(tensors, {"format": "pt"})
    note = (
        f"All weights are stored, since {left_out.note}."
        if source is None
        else f"{len(left_out.names)} tensors of the encoder are not stored: {source.name} ({source.weights}) has them."
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / WEIGHTS_NAME, data)
        write_atomic(folder / CARD_NAME, card(note).encode())
        write_atomic(folder / CONFIG_NAME, json.dumps({**document, _SUMS: sums}, indent=2).encode())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}): free some space, or name another.") from None

    try:
        found = read_folder(folder, left_out.file)[STATE_DICT]
    except WeightsError:
        found = {}
    if found.keys() != state.keys() or not all(same_bits(found[name], state[name]) for name in state):
        (folder / CONFIG_NAME).unlink(missing_ok=True)
        raise ConfigError(f"{folder} does not hold what was written, and is not complete. Is the disk all right?")
    return Written(folder, len(data), count, len(left_out.names), note)


def read_folder(folder: str | Path, weights: str | Path | None = None) -> dict[str, Any]:
    """The content of a checkpoint from a folder of ``write_folder``; nothing in it is executed or imported.

    Args:
        folder: The folder.
        weights: File of the encoder's weights where they are not stored; None gets them from where they are named.

    Raises:
        WeightsError: A file is missing, damaged, of another folder or of a newer format, there is code beside them, or
            the encoder's weights cannot be had or are others.
    """
    folder = Path(folder)
    document, sums = _read_config(folder)
    source = None if document.get(_ENCODER) is None else EncoderSource.read(document[_ENCODER], folder / CONFIG_NAME)
    tensors, _ = read_tensors(folder / WEIGHTS_NAME)
    if sums.get("stored") != _stored_sum(document, tensors):
        raise WeightsError(
            f"{folder}: {WEIGHTS_NAME} and {CONFIG_NAME} are not as they were written together: one is damaged, was "
            "changed, or is of another detector. Take another copy of both."
        )
    content = {name: document[name] for name in _STORED if name in document}
    try:
        put_back(content, tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder / WEIGHTS_NAME} has a tensor without a place ({first_line(error)}).") from None
    try:
        state = tensors if source is None else {**source.state(weights), **tensors}
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    if sums.get("complete") != content_sum("", state):
        raise WeightsError(f"{folder}: the weights are not those that were shared.{_of_encoder(source, weights)}")
    return {**content, STATE_DICT: state}


def check_folder(folder: str | Path) -> None:
    """Make sure that a folder is complete and as it was written, before it is sent; the encoder is not looked at.

    Raises:
        WeightsError: As ``read_folder``.
    """
    folder = Path(folder)
    document, sums = _read_config(folder)
    if sums.get("stored") != _stored_sum(document, read_tensors(folder / WEIGHTS_NAME)[0]):
        raise WeightsError(f"{folder} is damaged or was changed. {_AGAIN}")


def _read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything in ``config.json`` but the hashes, and the hashes."""
    if not folder.is_dir():
        raise WeightsError(f"There is no folder {folder}: check the path.")
    code = sorted(path.name for path in folder.iterdir() if _CODE.fullmatch(path.suffix))
    if code:
        raise WeightsError(
            f"{folder} holds code, or files that can hold some ({first_few(code)}): nothing of it is read. A shared "
            f"detector is {', '.join(FILES)} alone: put these into another folder if you trust their origin."
        )
    if missing := [name for name in (CONFIG_NAME, WEIGHTS_NAME) if not (folder / name).is_file()]:
        raise WeightsError(f"{folder} is no shared detector: it has no {' and no '.join(missing)}. {_AGAIN}")
    path = folder / CONFIG_NAME
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError("it is no object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"Cannot read {path}: {first_line(error)}. {_AGAIN}") from None
    check_version(found.get("schema"), FOLDER_VERSION, path, WeightsError, again=_AGAIN, writer=found.get(WRITER))
    sums = found.pop(_SUMS, None)
    if not isinstance(found.get(RESGAT), dict) or not isinstance(sums, dict):
        raise WeightsError(f"{path} is no configuration of a shared detector: resgat or sha256 is missing. {_AGAIN}")
    return found, sums


def _of_encoder(source: EncoderSource | None, weights: str | Path | None) -> str:
    """Sentences for a message that weights are others, where they come from two places."""
    if source is None:
        return ""
    file = f" The right file is {source.weights}, SHA-256 {source.sha256}." if source.sha256 else ""
    return f" {source.weights if weights is None else weights} gives another encoder {source.name}.{file}"


def _stored_sum(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    return content_sum(json.dumps(document, sort_keys=True), tensors)
