"""Checkpoints as safetensors: tensors and JSON, a format that cannot hold code.

The file has every tensor of the checkpoint's ``state_dict`` under its own name, other tensors with their place
(``provenance.train_videos``) behind a mark, and everything else as JSON in the header's metadata. The optimiser's state
is left out, so such a file is for testing and explaining, not for resuming.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from resgat_pl import __version__
from resgat_pl.core.errors import WeightsError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.privacy import without_paths
from resgat_pl.core.text import first_line
from resgat_pl.nn.checkpoint_keys import EPOCH, LIGHTNING, PROVENANCE, RESGAT, STATE_DICT, STEP

SUFFIX: Final = ".safetensors"
PORTABLE_VERSION: Final = 1
_KEPT: Final = (RESGAT, PROVENANCE, LIGHTNING, EPOCH, STEP)
_ASIDE: Final = "@"
"""Mark of a tensor that is not of the state dict; no parameter's name has it."""
_SUM: Final = "sha256"
_LARGEST_HEADER: Final = 16 * 2**20
"""Bytes; ours have some 100 kB. A larger one is refused before it is read."""


def to_safetensors(content: Mapping[str, Any]) -> bytes:
    """The file for the content of a checkpoint, as ``read_file`` returns it.

    Raises:
        WeightsError: It is no checkpoint of ``resgat fit``.
    """
    from safetensors.torch import save

    if not isinstance(content.get(STATE_DICT), dict) or not isinstance(content.get(RESGAT), dict):
        raise WeightsError("Only a checkpoint of resgat fit can be written as safetensors: resgat.net is missing.")
    # Copies, because the format has no two names for the same memory.
    tensors = {name: value.detach().clone().contiguous() for name, value in content[STATE_DICT].items()}
    plain = without_tensors({name: content[name] for name in _KEPT if name in content}, "", tensors)
    metadata = {"format": "pt", "version": str(PORTABLE_VERSION), WRITER: __version__, "content": json.dumps(plain)}
    metadata[_SUM] = content_sum(metadata["content"], tensors)
    data: bytes = save(tensors, metadata)
    return data


def portable(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint for others, who need not know this machine's folders: paths become their last names.

    Args:
        content: As ``read_file`` returns it; changed in place.
    """
    if isinstance(content.get(PROVENANCE), dict):
        content[PROVENANCE] = {
            name: value if isinstance(value, Tensor) else without_paths(value)
            for name, value in content[PROVENANCE].items()
        }
    content[RESGAT] = without_paths(content.get(RESGAT))
    return content


def from_safetensors(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint from a file of ``to_safetensors``, as ``read_file`` returns that of a ``.ckpt``.

    Raises:
        WeightsError: The file is damaged, hostile, not of ``resgat export``, or of a newer format.
    """
    again = "Make it with resgat export CHECKPOINT FILE.safetensors --format safetensors."
    tensors, metadata = read_tensors(path)
    version = metadata.get("version", "")
    found = int(version) if re.fullmatch("[0-9]{1,9}", version) else version or None
    check_version(found, PORTABLE_VERSION, path, WeightsError, again=again, writer=metadata.get(WRITER))
    try:
        content = json.loads(metadata["content"])
        same = metadata[_SUM] == content_sum(metadata["content"], tensors)
        put_back(content, tensors)
        if not isinstance(content[RESGAT], dict):
            raise TypeError("resgat is no object")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} was not written by resgat export ({first_line(error)}). {again}") from None
    if not same:
        raise WeightsError(f"Cannot read {path}: it is damaged, its checksum is another. Take another copy.")
    return {**content, STATE_DICT: tensors}


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and metadata, of any safetensors file.

    Raises:
        WeightsError: The file is damaged or hostile.
    """
    from safetensors import safe_open

    _check_header(path)
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            for name in file.keys():  # noqa: SIM118 - it is no dictionary
                tensors[name] = file.get_tensor(name)
    except Exception as error:  # of its own class, of the operating system, or of torch for a type it does not know
        raise WeightsError(f"Cannot read {path}: it is damaged or no safetensors file ({first_line(error)}).") from None
    return tensors, metadata


def content_sum(content: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of everything that is read: the format has no checksum, and weights of any bits would load.

    Args:
        content: What is stored beside the tensors, as text.
        tensors: By name, on the CPU; their order does not matter.
    """
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def put_back(content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Undo ``without_tensors``: both are changed in place.

    Raises:
        KeyError, TypeError: A tensor's place does not exist.
    """
    aside = {name[1:]: tensors.pop(name) for name in list(tensors) if name.startswith(_ASIDE)}
    for place, value in aside.items():
        *parents, last = place.split(".")
        inner = content
        for parent in parents:
            inner = inner[parent]
        inner[last] = value


def without_tensors(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """The plain part of nested dictionaries; copies of tensors are added to ``tensors``, each with its place."""
    if not isinstance(value, dict):
        return value
    plain = {}
    for name, inner in value.items():
        where = f"{place}.{name}" if place else str(name)
        if isinstance(inner, Tensor):
            tensors[f"{_ASIDE}{where}"] = inner.detach().clone().contiguous()
        else:
            plain[name] = without_tensors(inner, where, tensors)
    return plain


def _check_header(path: str | Path) -> None:
    with Path(path).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > min(_LARGEST_HEADER, Path(path).stat().st_size):
        raise WeightsError(f"Cannot read {path}: it is damaged or no safetensors file (its header has {size:,} bytes).")
