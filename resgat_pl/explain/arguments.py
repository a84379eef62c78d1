"""Checks of the arguments of explanation methods, and packages that are not installed everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from resgat_pl.core.errors import ConfigError


def at_least(least: int, **arguments: float) -> None:
    """Refuse an argument, given by name, below ``least``, with a ``ConfigError``."""
    for name, value in arguments.items():
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}.")


def positive(**arguments: float) -> None:
    """Refuse an argument, given by name, that is not above 0, with a ``ConfigError``."""
    for name, value in arguments.items():
        if not value > 0:
            raise ConfigError(f"{name} is {value}; it must be positive.")


def one_of(choices: Sequence[str], **arguments: str) -> None:
    """Refuse an argument, given by name, that is none of ``choices``, with a ``ConfigError``."""
    for name, value in arguments.items():
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}; it must be {' or '.join(choices)}.")


def optional(module: str, name: str, method: str, package: str = "captum") -> Any:
    """An object of a package that is not installed everywhere, for a method.

    Raises:
        ConfigError: It cannot be imported; the message names what to install.
    """
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigError(
            f'{method} needs {package}, which cannot be imported ({error}): pip install "resgat-pl[figures]".'
        ) from error
