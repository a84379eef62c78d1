"""Checks of the arguments of explanation methods and of what scores them."""

from __future__ import annotations

from collections.abc import Sequence

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
