"""What explainers require: arguments in range, and packages of the ``figures`` extra."""

from __future__ import annotations

from collections.abc import Sequence

from resgat_pl.core.errors import ConfigError


def at_least(least: int, **arguments: int) -> None:
    """Make sure that each argument, given by name, is ``least`` or more.

    Raises:
        ConfigError: One is less.
    """
    for name, value in arguments.items():
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}.")


def one_of(choices: Sequence[str], **arguments: str) -> None:
    """Make sure that each argument, given by name, is one of ``choices``.

    Raises:
        ConfigError: One is not.
    """
    for name, value in arguments.items():
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}; it must be {' or '.join(choices)}.")


def missing(method: str, package: str, error: ImportError) -> ConfigError:
    """What to raise where a method's package cannot be imported."""
    return ConfigError(
        f'{method} needs {package}, which cannot be imported ({error}): pip install "resgat-pl[figures]".'
    )
