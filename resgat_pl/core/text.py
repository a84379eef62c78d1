"""Text from elsewhere, such as file names, made fit to be shown: it must not steer a terminal or turn words around."""

from __future__ import annotations

import re
from typing import Final

_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and new line, marks that change the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    r"""Write what steers as its number, ``\x1b`` for ESC; all else is left as it is."""
    return _STEERING.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
