"""Numbers of file formats: those that this program reads, and the remedy for a file of another one.

Every file that a later version may have to read carries two things: ``schema`` or ``version``, the number of its
format, and ``resgat_pl``, the version of the package that wrote it, so that a message can say which one to install.
"""

from __future__ import annotations

import re
from typing import Final

from resgat_pl import __version__
from resgat_pl.core.errors import ResGATError

WRITER: Final = "resgat_pl"
"""Key under which files say which version of this package wrote them."""
_RELEASE: Final = re.compile(r"\d[0-9A-Za-z.+!-]{0,30}")


def check_version(
    found: object,
    current: int,
    what: object,
    error: type[ResGATError],
    *,
    again: str,
    writer: object = None,
    oldest: int | None = None,
) -> None:
    """Make sure that this program reads a file's format.

    Args:
        found: The number in the file, or whatever is in its place.
        current: The newest format that this program reads, and the one that it writes.
        what: The file, for the message.
        error: Class of the error.
        again: Remedy for a file that is older or has no usable number: how to make it again.
        writer: The file's entry of the package that wrote it.
        oldest: The oldest format that the caller brings up to date; None is ``current``.

    Raises:
        ResGATError: Of the class ``error``: names the file, its number and the remedy.
    """
    reads = f"this resgat-pl ({__version__}) reads {current}"
    if isinstance(found, bool) or not isinstance(found, int):
        shown = "no format number" if found is None else f"{str(found)[:40]!r} for a format number"
        raise error(f"{what} has {shown}; {reads}. {again}")
    if not (current if oldest is None else oldest) <= found <= current:
        raise error(f"{what} has format {found}; {reads}. {_install(writer) if found > current else again}")


def stamp(number: int) -> dict[str, object]:
    """First entries of a JSON document of the format ``number``."""
    return {"schema": number, WRITER: __version__}


def _install(writer: object) -> str:
    # A hostile file must not choose what is installed, so only what looks like a release is passed on.
    if isinstance(writer, str) and _RELEASE.fullmatch(writer) and not writer.startswith("0.0.0"):
        return f'It was written by version {writer}: pip install "resgat-pl>={writer.partition("+")[0]}"'
    return "It was written by a newer version: pip install --upgrade resgat-pl"
