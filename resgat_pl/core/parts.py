"""Parts from outside this package: classes by name, entry point or class path, and who may name them.

A user may name any class on the command line, in a configuration or in Python. A file from elsewhere (a checkpoint, a
manifest, a hub folder) may only name classes of this package, of installed entry points, and of modules that this
process has already imported because its user asked for them: reading a file never imports anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from typing import Any, Final, Literal, TypeVar

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.text import first_line, joined, nearest, shorten

PartKind = Literal[
    "layout", "split", "face_detector", "encoder", "head", "detector", "explainer", "augmentation", "metric"
]
"""Kinds of parts; the entry points of each are the group ``resgat_pl.<kind>s``."""
_WORDS: Final[Mapping[PartKind, str]] = {"split": "split protocol", "face_detector": "face detector"}
_OURS: Final = "resgat_pl."
_LIBRARIES: Final = frozenset({"lightning", "torch", "torch_geometric", "torchmetrics", "transformers"})
"""Packages that are imported for other ends, some of whose classes open or fetch what their arguments name: a file may
name none of these unless the user has named the module."""
_asked: set[str] = set()
"""Modules that the user has named."""
for_children: list[str] = []
"""Modules of this command's ``--import``, to be given to the commands that it starts."""
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
    """Entry points of installed packages, by name; nothing is imported.

    Example:
        >>> sorted(installed_parts("metric"))  # doctest: +SKIP
        ['worst_rate']
    """
    return {point.name: point for point in entry_points(group=group_of(kind))}


def class_path(part: type) -> str:
    """Module and name of a class, from which it is found again.

    Example:
        >>> class_path(dict)
        'builtins.dict'
    """
    return f"{part.__module__}.{part.__qualname__}"


def is_ours(part: object) -> bool:
    """True for a class or function of this package.

    Example:
        >>> is_ours(is_ours), is_ours(dict)
        (True, False)
    """
    return str(getattr(part, "__module__", "")).startswith(_OURS)


def find_part(
    kind: PartKind,
    name: object,
    base: type[_Part] | tuple[type[_Part], ...],
    own: Mapping[str, type[_Part]],
    named_by_user: bool = False,
) -> type[_Part]:
    """Find a class by its name.

    Args:
        kind: What it is to be, for entry points and messages.
        name: A key of ``own``, the name of an entry point, or a class path (``package.module.Class``).
        base: The class that it must derive from; of several, one.
        own: The classes of this package, by name; they are also found by class path, and go before entry points.
        named_by_user: Whether the name comes from the command line, the user's own configuration or Python. Only then,
            and outside ``names_from_a_file``, is the module of a class path imported; a name from a file is taken from
            what is imported already, but not from the libraries that this program imports for other ends.

    Raises:
        ConfigError: There is none, it cannot be imported, it is something else, or a file alone names it.

    Example:
        >>> from resgat_pl.data.layouts import DFDC, Layout
        >>> find_part("layout", "dfdc", Layout, {"dfdc": DFDC}).__name__
        'DFDC'
    """
    word = word_of(kind)
    if not isinstance(name, str):
        raise ConfigError(f"The {word} is {name!r:.60}; it must be a name.")
    if name in own:
        return own[name]
    if by_path := next((each for each in own.values() if _is_path_of(name, each)), None):
        return by_path
    if point := _entry_point(kind, name, word):
        return _checked(load_entry_point(point, word), name, base, word)
    if not is_class_path(name):
        known = sorted({*own, *installed_parts(kind)})
        raise ConfigError(
            f"There is no {word} {shorten(name)!r}.{nearest(name, known)} There are: {', '.join(known)}; "
            f"others by class path (my_package.Class), or from packages with entry points {group_of(kind)}."
        )
    module, _, attribute = name.rpartition(".")
    may_import = named_by_user and not _in_a_file.get()
    if may_import:
        import_modules([module], f"The {word} {name} cannot be had: the module")
    of_others = module.partition(".")[0] in _LIBRARIES and module not in _asked
    if module not in sys.modules or (of_others and not may_import):
        raise ConfigError(
            f"The {word} {name:.200} is not part of this package nor an entry point of an installed one, and a file "
            f"alone does not make this program import it. If you trust it: --import {module:.200} (in Python: import "
            f"it first), with its package installed here or on PYTHONPATH."
        )
    # A module's __getattr__ may import others, which only a user may ask for.
    found = getattr(sys.modules[module], attribute, None) if may_import else vars(sys.modules[module]).get(attribute)
    if found is None:
        near = nearest(attribute, dir(sys.modules[module]))
        raise ConfigError(f"The module {module} has no {attribute}: check the path of the {word} {name}.{near}")
    return _checked(found, name, base, word)


@contextmanager
def errors_of(kind: PartKind, part: object) -> Iterator[None]:
    """Turn what a class or function of another package raises into one message that names both.

    Errors of this package's classes are bugs, and stay as they are.

    Args:
        kind: What it is to make, for the message.
        part: The class or function.

    Raises:
        ConfigError: See above.

    Example:
        >>> import collections
        >>> with errors_of("split", collections.Counter):
        ...     collections.Counter(3)
        Traceback (most recent call last):
        resgat_pl.core.errors.ConfigError: The split protocol collections.Counter of the package collections fails ...
    """
    try:
        yield
    except ResGATError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        if is_ours(part):
            raise
        path = f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', part)}"
        raise ConfigError(
            f"The {word_of(kind)} {path} of the package {package_of(part)} fails ({first_line(error)}). Check "
            "its options, or report this to the package."
        ) from error


def package_of(part: object) -> str:
    """Name of the installed package that a class or function is of, or of its module where nothing installed has it.

    Example:
        >>> import numpy
        >>> package_of(numpy.ndarray)
        'numpy'
    """
    top = str(getattr(part, "__module__", "")).partition(".")[0]
    return packages_distributions().get(top, [top])[0]


def import_modules(names: Sequence[str], subject: str = "The module") -> None:
    """Import modules that the user named, whose classes files may then name.

    Args:
        names: Of the modules.
        subject: Beginning of the message, in which the name follows.

    Raises:
        ConfigError: One cannot be imported.
    """
    for name in names:
        if "/" in name or name.endswith(".py"):
            raise ConfigError(
                f"{name} is a file, and modules are imported by name: put its folder on PYTHONPATH, and name the "
                "module without .py."
            )
        try:
            import_module(name)
        except (Exception, SystemExit) as error:  # whatever somebody else's code raises
            raise ConfigError(
                f"{subject} {name} cannot be imported ({first_line(error)}). Check the path, and that its package is "
                "installed here or on PYTHONPATH."
            ) from error
        _asked.add(name)


def word_of(kind: PartKind) -> str:
    """A kind of part in messages.

    Example:
        >>> word_of("face_detector")
        'face detector'
    """
    return _WORDS.get(kind, kind)


def load_entry_point(point: EntryPoint, word: str) -> Any:
    """Import what an installed package adds.

    Args:
        point: The entry point.
        word: What it is to be, for the message.

    Raises:
        ConfigError: The package fails; the message names it.
    """
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever somebody else's code raises
        raise ConfigError(
            f"The {word} {point.name} is of the package {_package(point)}, which fails ({first_line(error)}). Fix or "
            "remove it."
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


def named_point(kind: PartKind, name: str) -> EntryPoint | None:
    """The entry point of a name; None if there is none. Nothing is imported.

    Raises:
        ConfigError: Two packages have one of this name.

    Example:
        >>> named_point("encoder", "no_such_name") is None
        True
    """
    named = [point for point in entry_points(group=group_of(kind)) if point.name == name]
    if len({point.value for point in named}) > 1:
        packages = joined(sorted(map(_package, named)))
        paths = joined(sorted(point.value.replace(":", ".") for point in named))
        raise ConfigError(f"The {word_of(kind)} {name} is of the packages {packages}: give the class path ({paths}).")
    return named[0] if named else None


def _entry_point(kind: PartKind, name: str, word: str) -> EntryPoint | None:
    """The entry point of a name, or the one whose class has this path; None if there is none.

    Raises:
        ConfigError: Two packages have one of this name, or a package of the path's top module fails.
    """
    if point := named_point(kind, name):
        return point
    points = list(entry_points(group=group_of(kind)))
    for point in points:
        if point.value.replace(":", ".") == name:
            return point
    # A class is stored by the module that defines it, which need not be the one that the entry point names.
    top = name.partition(".")[0]
    for point in points if is_class_path(name) else []:
        if point.value.partition(":")[0].partition(".")[0] == top:
            found = load_entry_point(point, word)
            if isinstance(found, type) and class_path(found) == name:
                return point
    return None


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _checked(found: object, name: str, base: type[_Part] | tuple[type[_Part], ...], word: str) -> type[_Part]:
    if not isinstance(found, type) or not issubclass(found, base):
        bases = base if isinstance(base, tuple) else (base,)
        raise ConfigError(f"The {word} {name} is no class derived from {' or '.join(map(class_path, bases))}.")
    return found
