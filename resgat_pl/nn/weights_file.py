"""Weight files: safe reading, and loading into a module with errors that say what differs."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.text import count_and_name, first_line
from resgat_pl.nn.safetensors_file import SUFFIX, from_safetensors, read_tensors

_CHUNK: Final = 2**22  # bytes
_OBJECT: Final = re.compile(r"GLOBAL:? (\S+)")
"""The class that torch refused, in its message; the rest of that is advice to load the file all the same."""
_NO_TENSORS: Final = ("entry that is no tensor", "entries that are no tensors")


def read_weights_file(path: str | Path) -> dict[str, Any]:
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


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a file that holds nothing but named tensors: a state dict of ``torch.save``, or safetensors.

    Raises:
        WeightsError: As ``read_weights_file``, or an entry is not a tensor.
    """
    plain = Path(path).suffix == SUFFIX and Path(path).is_file()
    content = dict(read_tensors(path)[0]) if plain else read_weights_file(path)
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
