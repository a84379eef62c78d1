"""The parser's message about a mistake in a command or a configuration, with the nearest right name and the file."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Final

import yaml

from resgat_pl.cli.options import replacement
from resgat_pl.cli.part_names import names_of
from resgat_pl.core.parts import class_path
from resgat_pl.core.text import leaves, nearest, shorten

_KEY: Final = re.compile(r'Parser key "([^"]+)"')
_WRONG: Final = re.compile(
    r"(unrecognized arguments:|[Oo]ption(?= ')|has no attribute|import path string:|(?:Got|Given) value:) '?([^\s',=]+)"
)
_NOISE: Final = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: .*|Errors:(?=\n)|Given value type: .*"
)
_LONGEST: Final = 400


def explain_mistake(message: str, known: Iterable[str], arguments: Sequence[str] = (), command: str = "") -> str:
    """Complete jsonargparse's message about a mistake.

    Args:
        message: Of jsonargparse.
        known: Keys that the command has, such as ``data.batch_size``.
        arguments: The command line, which names the configuration files.
        command: Whose options of earlier versions are named with what replaces them.

    Returns:
        The file that sets the key, if any does; the message on one line; and the nearest right word, if one is near.
    """
    owners = _KEY.findall(message)
    found = _WRONG.search(message)
    kind, wrong = (found[1], found[2]) if found else ("", "")
    key = owners[0] if owners else wrong.lstrip("-")
    if instead := replacement(command, key, wrong):
        return _file_of(key, arguments) + instead
    among: Iterable[str]
    if kind.endswith("value:"):
        among = re.findall(r"[\w.-]+", " ".join(re.findall(r"Literal\[(.*?)\]", message)))
    elif kind in {"has no attribute", "import path string:"}:
        paths, names = _class_paths(message)
        among = names if wrong.islower() and nearest(wrong, names) else paths
    elif owners:
        among = _parameters(message)
    else:
        dashes = "--" if kind.startswith("unrecognized") else ""
        among = (f"{dashes}{name}" for name in known if wrong.startswith(dashes))  # else it is a word too many
    text = re.sub(r"<class '([\w.]+)'>|typing\.(?=Literal)", r"\1", _NOISE.sub("", message))
    return f"{_file_of(key, arguments)}{shorten(text, _LONGEST).rstrip('.')}.{nearest(wrong, among) if wrong else ''}"


def _class_paths(message: str) -> tuple[list[str], list[str]]:
    """Paths of the classes that a message's types allow, and of what a module that it names has; and names of parts."""
    from jsonargparse._typehints import get_all_subclass_paths

    kinds = [
        getattr(sys.modules.get(module), name, None)
        for module, name in re.findall(r"<class '([\w.]+)\.(\w+)'>", message)
    ]
    with warnings.catch_warnings(action="ignore"):  # of a class whose module cannot be imported any more
        paths = [path for kind in kinds if isinstance(kind, type) for path in get_all_subclass_paths(kind)]
    names = [name for kind in kinds if isinstance(kind, type) for name in names_of(class_path(kind))]
    for module in re.findall(r"module '([\w.]+)' has no attribute", message):
        paths += [f"{module}.{name}" for name in dir(sys.modules.get(module)) if not name.startswith("_")]
    return paths, names


def _parameters(message: str) -> list[str]:
    """Arguments of the classes that a message names; jsonargparse has imported them."""
    names: list[str] = []
    for module, name in re.findall(r"class_path[= ]'([\w.]+)\.(\w+)'", message):
        with suppress(TypeError, ValueError):
            names += signature(getattr(sys.modules.get(module), name, None)).parameters  # type: ignore[arg-type]  # None: TypeError
    return names


def _file_of(key: str, arguments: Sequence[str]) -> str:
    """The last configuration file that sets a key, as the beginning of a message; empty if the command line does."""
    if any(word.startswith(f"--{key}") for word in arguments):
        return ""
    words = [part for word in arguments for part in word.split("=", 1 if word.startswith("--config=") else 0)]
    for path in [file for name, file in pairwise(words) if name == "--config"][::-1]:
        with suppress(OSError, ValueError, yaml.YAMLError, RecursionError):
            tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            if any(f"{name}.".startswith(f"{key}.") for name, _ in leaves(tree)):
                return f"{path}: "
    return ""
