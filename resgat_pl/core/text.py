"""Text for messages: control characters escaped, names counted and listed, long text shortened."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and new line, marks that change the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    r"""Replace control characters by their numbers, ``\x1b`` for ESC."""
    return _STEERING.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def nearest(word: str, among: Iterable[str]) -> str:
    """A sentence that names the nearest of some words, of dotted keys by their last part; empty if none is near.

    Example:
        >>> nearest("batch_sise", ["data.batch_size", "data.seed"])
        ' Did you mean data.batch_size?'
    """

    def likeness(one: str, other: str) -> float:
        return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()

    last = word.rpartition(".")[2]
    likely = [(likeness(last, other.rpartition(".")[2]), likeness(word, other), other) for other in among]
    near, _, best = max(likely, default=(0.0, 0.0, ""))
    return f" Did you mean {best}?" if near >= 0.6 else ""


def first_few(names: Iterable[object], most: int = 4) -> str:
    """The first names, and a mark if there are more.

    Example:
        >>> first_few("abcde", most=3)
        'a, b, c, …'
    """
    shown = [str(name) for name in islice(names, most + 1)]
    return ", ".join(shown[:most] + ["…"][: len(shown) > most])


def count_and_name(names: Iterable[object], what: str, plural: str | None = None, most: int = 4) -> str:
    """Count things and name the first few; the empty string for none.

    Args:
        names: Of the things.
        what: Singular.
        plural: Plural; None appends an s.
        most: Number of names.

    Example:
        >>> count_and_name("abcde", "video", most=3)
        '5 videos (a, b, c, …)'
    """
    things = list(names)
    word = what if len(things) == 1 else f"{what}s" if plural is None else plural
    return f"{len(things):,} {word} ({first_few(things, most)})" if things else ""


def joined(names: Sequence[str]) -> str:
    """Names as in a sentence: ``a, b and c``."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])


def shorten(value: object, most: int = 60) -> str:
    """Untrusted text on one line and of at most so many characters, the mark of what is left out not counted.

    Example:
        >>> shorten("many   words", most=6)
        'many w…'
    """
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[:most]}…"


def first_line(error: BaseException) -> str:
    """Class and first line of an error; libraries put advice for their own users on the lines below.

    Example:
        >>> first_line(ValueError("no number", 3))
        "ValueError: ('no number', 3)"
    """
    return shorten(f"{type(error).__name__}: {error}".splitlines()[0], 200)


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a parsed configuration; nothing of what is no mapping."""
    if isinstance(tree, dict) and (tree or not prefix):
        for name, value in tree.items():
            yield from leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix, tree
