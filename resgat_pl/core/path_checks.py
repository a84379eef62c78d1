"""Checks of paths before hours of work depend on them."""

from __future__ import annotations

import os
from pathlib import Path

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.storage import is_remote, locate


def require_folder(folder: str | Path, option: str) -> None:
    """Make sure that a folder for results can be made and written to; nothing is made yet. URLs are not looked at.

    Args:
        folder: The folder.
        option: Where it was named, for the message.

    Raises:
        ConfigError: A file is in its place or above it, or its disk or permissions do not allow writing.
    """
    path = locate(folder)
    if is_remote(path):
        return
    try:
        present = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
        is_folder = present.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise ConfigError(f"{option} is {ascii(str(folder))[:200]}, which is no usable path ({error}).") from None
    if not is_folder:
        raise ConfigError(f"{option} is {folder}, but {present} is no folder: name another place for the results.")
    if not os.access(present, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{option} is {folder}, which cannot be written: {present} is read-only, or belongs to somebody else. Fix "
            "that and give the same command again, or name another place."
        )


def require_out_file(file: str | Path, option: str) -> None:
    """Like ``require_folder``, of a file to be written.

    Raises:
        ConfigError: See ``require_folder``; or there is a folder in its place.
    """
    path = locate(file)
    if is_remote(path):
        return
    if path.is_dir():
        raise ConfigError(f"{option} is {file}, which is a folder: name a file.")
    require_folder(path.parent, option)


def require_files(files: dict[str, str | Path]) -> None:
    """Make sure that files are there.

    Args:
        files: By what each is, for the message.

    Raises:
        ConfigError: One is not there.
    """
    for what, file in files.items():
        path = locate(file)
        if not is_remote(path) and not path.is_file():
            raise ConfigError(f"{what}: there is no file {file}. Check the path.")
