"""Public names of a folder, imported when first used, so that importing the folder stays cheap."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module


def lazy_names(package: str, names: dict[str, str]) -> Callable[[str], object]:
    """Make a module's ``__getattr__`` that imports each public name from the module that defines it.

    Args:
        package: Full name of the package, ``__name__`` in its ``__init__``.
        names: Public name → module that defines it, relative to the package.

    Returns:
        The function to assign to ``__getattr__`` (PEP 562).

    Example:
        >>> lazy_names("resgat_pl.core", {"ConfigError": "errors"})("ConfigError").__name__
        'ConfigError'
    """

    def get(name: str) -> object:
        if name in names:
            return getattr(import_module(f"{package}.{names[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
