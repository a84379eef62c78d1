"""Reading weight files safely, and putting them into a module with errors that say what does not fit."""

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
from resgat_pl.nn.safetensors_file import SUFFIX, from_safetensors

_CHUNK: Final = 2**22  # bytes
_OBJECT: Final = re.compile(r"GLOBAL:? (\S+)")
"""What torch says that it refused; the rest of its text is advice to load it all the same."""
_SPARE: Final = 2**20
"""What a file's content may count beyond four times its bytes, see ``_check_extent``."""


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
    _check_extent(content, path)
    return content


def _check_extent(content: dict[Any, Any], path: str | Path) -> None:
    """Refuse a small file whose content would become large as soon as it is copied, listed or printed.

    A pickle can say once what it means many times: a list within a list within a list, each ten times, or a tensor of
    one number that is repeated by a stride of 0. Everything is counted as often as it is met.

    Raises:
        WeightsError: There is more than four times the file's bytes, or a tensor that is none of plain numbers.
    """
    most = 4 * Path(path).stat().st_size + _SPARE
    counted = 0
    waiting: list[Any] = [content]
    while waiting:
        value = waiting.pop()
        inner: list[Any] = []
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_nested or value.is_quantized:
                raise WeightsError(
                    f"Cannot read {path}: it holds a tensor without plain numbers. Save it as a dense one."
                )
            # of those without numbers the shape counts: (2**40, 0) is a list of that many empty ones
            counted += max(value.numel() * value.element_size(), *value.shape, 0)
        elif isinstance(value, str | bytes | bytearray):
            counted += len(value)
        elif isinstance(value, int):
            counted += value.bit_length() // 8
        elif isinstance(value, dict):
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            inner = list(value)
        counted += 1 + len(inner)
        if counted > most:
            raise WeightsError(
                f"Cannot read {path}: {Path(path).stat().st_size:,} bytes stand for more than {most:,}, which would "
                "take all memory. No checkpoint of resgat does so: do not use it."
            )
        waiting += inner


def _check_sums(path: str | Path) -> None:
    """Compare a file with its own checksums: torch writes them and does not look, and weights of any bits would do.

    Raises:
        WeightsError: It is empty, or not as it was written. Formats older than torch 1.6 have no checksums.
    """
    remedy = "Take another copy, or an earlier checkpoint."
    if not Path(path).stat().st_size:
        raise WeightsError(f"Cannot read {path}: it is empty. {remedy}")
    with Path(path).open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # as torch tells: the end of an older file may look like a zip's
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
            f"Cannot read {path}: it is damaged ({_first_line(error)}). {remedy} If it "
            "is as it was written, torch was told to leave checksums out (set_crc32_options): save it again with them."
        ) from None


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a file that holds nothing but named tensors.

    Raises:
        WeightsError: As ``read_file``, or an entry is not a tensor.
    """
    content = read_file(path)
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        raise WeightsError(f"{path} is not a state dict: {listed('entries that are no tensors', others) or 'empty'}.")
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
        raise WeightsError(f"{path} holds no weights: {listed('entries that are no tensors', others)}.")
    expected = module.state_dict()
    # Files older than torch 0.4.1 have no such counters; BatchNorm then keeps its own.
    missing = [key for key in expected if key not in state and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    groups = (listed("missing", missing), listed("unexpected", unexpected), listed("of another shape", shapes))
    differences = "; ".join(group for group in groups if group)
    if differences:
        raise WeightsError(f"{path} holds the weights of another architecture: {differences}.")


def listed(what: str, names: list[str]) -> str:
    """Count some names and show the first four; the empty string for none."""
    if not names:
        return ""
    return f"{len(names)} {what} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
