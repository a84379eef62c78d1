"""Text from elsewhere, such as file names, made fit to be shown: it must not steer a terminal or turn words around."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and new line, marks that change the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    r"""Write what steers as its number, ``\x1b`` for ESC; all else is left as it is."""
    return _STEERING.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def nearest(word: str, among: Iterable[str]) -> str:
    """A sentence that names the nearest of some words; empty if none is near."""
    words = list(among)
    near = difflib.get_close_matches(word, words, n=1) or difflib.get_close_matches(
        word.lower(), [other for other in words if other.lower() == word.lower()], n=1, cutoff=0.0
    )
    return f" Did you mean {near[0]}?" if near else ""


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a parsed configuration; nothing of what is no mapping."""
    if isinstance(tree, dict) and (tree or not prefix):
        for name, value in tree.items():
            yield from leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix, tree
