"""Which files a user means: images and videos by their content, and what was left out, with the reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from resgat_pl.core.errors import DatasetNotFoundError
from resgat_pl.data.media.file_type import HEAD, IMAGE_SUFFIXES, RAW_SUFFIXES, VIDEO_SUFFIXES, kind_of, why_not
from resgat_pl.data.media.images import count_gif

_NAMED: Final = 5
"""Files left out that are named on the console; the list names all."""

_AMBIGUOUS: Final = frozenset({"ts", "mod", "qt", "dv", "rm"})
"""Suffixes that other kinds of file have too: only their content counts."""


class Medium(NamedTuple):
    """One file to judge.

    Attributes:
        path: Where it is.
        name: As the user named it: the argument itself, or the argument and the path below it.
        kind: What it is to be read as.
    """

    path: Path
    name: str
    kind: Literal["image", "video"]


class LeftOut(NamedTuple):
    """A file or folder below a folder that the user named, which is not looked at.

    Attributes:
        name: As in ``Medium``.
        reason: Why.
        is_lost: Whether there may be media in it that could not be reached.
    """

    name: str
    reason: str
    is_lost: bool = False


class Search(NamedTuple):
    """The result of a search.

    Attributes:
        media: The files to look at, each once.
        left_out: The others.
    """

    media: list[Medium]
    left_out: list[LeftOut]


def search_media(arguments: Sequence[str | Path]) -> Search:
    """The files that a user named: images and videos, and those in folders, also in folders below them.

    A file that is named is taken whatever it is; one in a folder if its content is that of an image or video, or else
    its suffix. What is not taken is listed. Each file is taken once.

    Raises:
        DatasetNotFoundError: Something does not exist, or a folder holds no image and no video.
    """
    found: dict[str, Medium] = {}
    left_out: list[LeftOut] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            below: list[Medium] = []
            for item in _walk(path):
                (below if isinstance(item, Medium) else left_out).append(item)  # type: ignore[arg-type]  # by its type
            if not below:
                raise DatasetNotFoundError(_nothing(path, left_out))
        elif path.exists():
            below = [Medium(path, str(argument), _kind(path) or _by_suffix(path))]
        else:
            raise DatasetNotFoundError(f"{path} does not exist. Name images, videos, or folders of them.")
        for medium in below:
            key = os.path.realpath(medium.path)  # unlike resolve, ends in a loop of links
            first = found.setdefault(key, medium)
            if first is not medium and first.name != medium.name:
                left_out.append(LeftOut(medium.name, f"the same file as {first.name}"))
    return Search(list(found.values()), list(dict.fromkeys(left_out)))


def describe(left_out: Sequence[LeftOut]) -> str:
    """One line for people: how many, of which kinds, and the first names."""
    names = ", ".join(entry.name for entry in left_out[:_NAMED]) + ", …" * (len(left_out) > _NAMED)
    kinds = Counter(entry.reason if len(entry.reason) < 60 else "others" for entry in left_out)
    reasons = "; ".join(f"{count} {reason}" if len(kinds) > 1 else reason for reason, count in kinds.most_common(4))
    return f"{len(left_out)} not looked at ({reasons}): {names}"


def _nothing(folder: Path, left_out: Sequence[LeftOut]) -> str:
    there = f" There is: {describe(left_out)}." if left_out else " It is empty."
    return (
        f"The folder {folder} holds no image and no video, also not in folders below.{there} Name another folder, or "
        "the files themselves."
    )


def _walk(folder: Path) -> Iterator[Medium | LeftOut]:
    errors: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append, followlinks=False):
        for name in sorted(folders):
            path = Path(parent, name)
            if name.startswith("."):
                yield LeftOut(str(path), "a hidden folder")
            elif path.is_symlink():
                yield LeftOut(str(path), "a link to a folder; name the folder itself")
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            yield LeftOut(str(path), "a hidden file") if name.startswith(".") else _judge(path)
    for error in errors:
        yield LeftOut(str(error.filename), f"cannot be opened: {error.strerror}", is_lost=True)


def _judge(path: Path) -> Medium | LeftOut:
    suffix = _suffix(path)
    known = suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    kind = _kind(path)
    if kind is not None:
        return Medium(path, str(path), kind)
    if known and suffix not in _AMBIGUOUS:  # damaged, empty or unreadable: its row of the table says so
        return Medium(path, str(path), _by_suffix(path))
    if not path.is_file():
        reason = "a link that leads nowhere" if path.is_symlink() else "no file but a pipe or a device"
        return LeftOut(str(path), reason)
    try:
        return LeftOut(str(path), why_not(_head(path), suffix))
    except OSError as error:
        return LeftOut(str(path), f"cannot be opened: {error.strerror}", is_lost=True)


def _kind(path: Path) -> Literal["image", "video"] | None:
    """Kind by the content; None where that does not show it, or the file cannot be read."""
    if _suffix(path) in RAW_SUFFIXES or not path.is_file():  # a pipe would be read for ever
        return None
    try:
        head = _head(path)
        kind = kind_of(head)
        if head.startswith(b"GIF8") and count_gif(path.read_bytes()) > 1:
            return "video"
    except (OSError, MemoryError):
        return None
    return kind


def _by_suffix(path: Path) -> Literal["image", "video"]:
    return "image" if _suffix(path) in IMAGE_SUFFIXES | RAW_SUFFIXES else "video"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _suffix(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
