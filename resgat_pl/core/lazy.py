"""Public names of a folder, imported when first used, so that importing the folder stays cheap."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module


def lazy_names(package: str, names: dict[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package (PEP 562), with names that are imported when first used.

    Args:
        package: Full name of the package, ``__name__`` in its ``__init__``.
        names: Public name → module that defines it, relative to the package.

    Returns:
        The functions to assign to ``__getattr__`` and ``__dir__``.

    Example:
        >>> get, names = lazy_names("resgat_pl.core", {"ConfigError": "errors"})
        >>> get("ConfigError").__name__
        'ConfigError'
    """

    def get(name: str) -> object:
        if name in names:
            return getattr(import_module(f"{package}.{names[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(names)
