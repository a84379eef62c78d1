"""Parts from outside this package: classes by name, entry point or class path, and who may name them.

A user may name any class on the command line, in a configuration or in Python. A file from elsewhere (a checkpoint, a
manifest, a hub folder) may only name classes of this package, of installed entry points, and of modules that this
process has already imported because its user asked for them: reading a file never imports anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, TypeVar, cast

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.text import first_line, nearest

PartKind = Literal["layout", "split", "face_detector", "encoder", "head", "detector", "explainer"]
"""Kinds of parts; the entry points of each are the group ``resgat_pl.<kind>s``."""
_WORDS: Final[Mapping[PartKind, str]] = {"split": "split protocol", "face_detector": "face detector"}
_Part = TypeVar("_Part")
_in_a_file: ContextVar[bool] = ContextVar("_in_a_file", default=False)


@contextmanager
def names_from_a_file() -> Iterator[None]:
    """Import nothing for ``find_part`` inside the ``with`` block, whoever calls it.

    Parts are made of parts: a detector that a checkpoint names looks up an encoder and a head that it names, too.

    Example:
        >>> with names_from_a_file():
        ...     try:
        ...         find_part("head", "antigravity.Head", object, {}, named_by_user=True)
        ...     except ConfigError as error:
        ...         print(str(error)[:55])
        The head antigravity.Head is not part of this package n
    """
    token = _in_a_file.set(True)
    try:
        yield
    finally:
        _in_a_file.reset(token)


def group_of(kind: PartKind) -> str:
    """The group of entry points with which installed packages add parts of a kind.

    Example:
        >>> group_of("face_detector")
        'resgat_pl.face_detectors'
    """
    return f"resgat_pl.{kind}s"


def installed_parts(kind: PartKind) -> dict[str, EntryPoint]:
    """Entry points of installed packages, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=group_of(kind))}


def class_path(part: type) -> str:
    """Module and name of a class, from which it is found again.

    Example:
        >>> class_path(dict)
        'builtins.dict'
    """
    return f"{part.__module__}.{part.__qualname__}"


def find_part(
    kind: PartKind,
    name: str,
    base: type[_Part],
    own: Mapping[str, type[_Part]],
    named_by_user: bool = False,
) -> type[_Part]:
    """Find a class by its name.

    Args:
        kind: What it is to be, for entry points and messages.
        name: A key of ``own``, the name of an entry point, or a class path (``package.module.Class``).
        base: The class that it must derive from.
        own: The classes of this package, by name; they are also found by class path.
        named_by_user: Whether the name comes from the command line, the user's own configuration or Python. Only then,
            and outside ``names_from_a_file``, is the module of a class path imported; a name from a file is taken from
            what is imported already.

    Raises:
        ConfigError: There is none, it cannot be imported, it is something else, or a file alone names it.

    Example:
        >>> from resgat_pl.data.layouts import DFDC, Layout
        >>> find_part("layout", "dfdc", Layout, {"dfdc": DFDC}).__name__
        'DFDC'
    """
    if name in own:
        return own[name]
    if by_path := next((each for each in own.values() if _is_path_of(name, each)), None):
        return by_path
    word = _WORDS.get(kind, kind)
    if point := _entry_point(kind, name):
        return _checked(load_entry_point(point, word), name, base, word)
    if not is_class_path(name):
        there_are = ", ".join(sorted({*own, *installed_parts(kind)}))
        raise ConfigError(
            f"There is no {word} {name!r}.{nearest(name, [*own, *installed_parts(kind)])} There are: {there_are}; "
            f"others by class path (my_package.Class), or from packages with entry points {group_of(kind)}."
        )
    module, _, attribute = name.rpartition(".")
    if named_by_user and not _in_a_file.get():
        import_modules([module])
    if module not in sys.modules:
        raise ConfigError(
            f"The {word} {name:.200} is not part of this package nor an entry point of an installed one, and a file "
            f"alone does not make this program import it. If you trust it: --import {module:.200} (in Python: import "
            f"it first), with its package installed here or on PYTHONPATH."
        )
    found = vars(sys.modules[module]).get(attribute)
    if found is None:
        raise ConfigError(f"The module {module} has no {attribute}: check the path of the {word} {name}.")
    return _checked(found, name, base, word)


def import_modules(names: Sequence[str]) -> None:
    """Import modules that the user named, whose classes files may then name.

    Raises:
        ConfigError: One cannot be imported.
    """
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # whatever somebody else's code raises
            raise ConfigError(
                f"The module {name} cannot be imported ({first_line(error)}). Check the path, and that its package is "
                "installed here or on PYTHONPATH."
            ) from error


def load_entry_point(point: EntryPoint, word: str) -> Any:
    """Import what an installed package adds.

    Raises:
        ConfigError: The package fails; the message names it.
    """
    try:
        return point.load()
    except Exception as error:  # whatever somebody else's code raises
        package = point.dist.name if point.dist else point.value
        raise ConfigError(
            f"The {word} {point.name} is of the package {package}, which fails ({first_line(error)}). Fix or remove it."
        ) from error


def is_class_path(name: str) -> bool:
    """True for a name of the form ``package.Class``.

    Example:
        >>> is_class_path("timm.models.VisionTransformer"), is_class_path("timm/vit"), is_class_path("resnet50")
        (True, False, False)
    """
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def _is_path_of(name: str, part: type) -> bool:
    """True for the class path of a part, and for the shorter ones of the packages that hand it out."""
    module, _, attribute = name.rpartition(".")
    return attribute == part.__qualname__ and f"{part.__module__}.".startswith(f"{module}.")


def _entry_point(kind: PartKind, name: str) -> EntryPoint | None:
    """The entry point of this name, or whose class has this path: that is what files store."""
    points = installed_parts(kind)
    return points.get(name) or next((one for one in points.values() if one.value.replace(":", ".") == name), None)


def _checked(found: object, name: str, base: type[_Part], word: str) -> type[_Part]:
    if not isinstance(found, type) or not issubclass(found, base):
        raise ConfigError(f"The {word} {name} is no class derived from {class_path(base)}.")
    return cast("type[_Part]", found)
