"""The registry of explanation methods, from which every list, lookup and description of methods comes.

A method of this package is registered by a decorator on its class; each module of ``resgat_pl.explain.methods`` is
imported when the registry is first read, so that a new method is one file there. Methods from outside are found by the
name of an entry point (group ``resgat_pl.explainers``) or by class path, with or without the decorator.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Final, Literal, NamedTuple, TypeVar, get_args

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path, find_part, installed_parts, is_class_path, is_ours
from resgat_pl.core.text import nearest
from resgat_pl.explain.base import Explainer

Family = Literal[
    "graph",
    "nodes",
    "gnn",
    "variant",
    "gradient",
    "occlusion",
    "lime",
    "shap",
    "importance",
    "other",
    "clip",
    "baseline",
]
"""Kinds of methods, in the order in which they are listed; a ``variant`` is of networks with an optional part alone,
``other`` are those without the decorator, a ``clip`` method explains clips and no pictures, a ``baseline`` does not
depend on the network."""
_APART: Final = frozenset({"clip", "baseline"})
"""Kinds that are not run on pictures unless they are asked for by name."""
_METHODS: Final = "resgat_pl.explain.methods"
_REPLACED: Final = {"PartitionSHAP": "KernelSHAP"}
"""Methods of earlier versions, and what gives the same kind of map today."""
_ANY_NUMBER: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_Method = TypeVar("_Method", bound=type[Explainer])


class _Entry(NamedTuple):
    method: type[Explainer]
    family: Family
    about: str


_entries: dict[str, _Entry] = {}


def explainer(family: Family, about: str = "") -> Callable[[_Method], _Method]:
    """Register an explanation method under the name of its class.

    Args:
        family: The kind of method.
        about: One sentence on what its map shows; by default the first paragraph of its docstring.

    Returns:
        A decorator of the class, which returns it unchanged.

    Raises:
        ConfigError: When it is applied: a method of this name is there already.

    Example:
        >>> from resgat_pl.explain.registry import describe, find
        >>> describe(find("Contribution"))
        'What each node adds to the logit, attention times value; nodes and bias add up to it exactly.'
    """

    def register(method: _Method) -> _Method:
        if not is_ours(method):
            _all()  # the methods of this package have their names first
        earlier = _entries.get(method.__name__)
        if earlier is not None and class_path(earlier.method) != class_path(method):
            raise ConfigError(
                f"There are two methods {method.__name__}, {class_path(earlier.method)} and {class_path(method)}, and "
                "results name a method by its class: rename one."
            )
        text = about or (inspect.getdoc(method) or "").split("\n\n")[0].replace("`", "").replace("\n", " ")
        _entries[method.__name__] = _Entry(method, family, text)
        return method

    return register


def methods() -> dict[str, type[Explainer]]:
    """All methods of pictures but the baselines, by name: family after family, alphabetically within each.

    Methods from outside are among them once they were found or imported.
    """
    return {name: entry.method for name, entry in _all().items() if entry.family not in _APART}


def find(name: str) -> type[Explainer]:
    """The method or baseline of this name, given by the user: a class of this package, an entry point or a class path.

    Raises:
        ConfigError: There is none, and the message lists all; or it cannot be imported, or is no explainer.
    """
    entries = _all()
    if name in entries:
        return entries[name].method
    installed = installed_parts("explainer")
    if name in _REPLACED or not (name in installed or is_class_path(name)):
        known = sorted({*entries, *installed})
        instead = f" {_REPLACED[name]} replaces it." if name in _REPLACED else nearest(name, known)
        raise ConfigError(
            f"--methods: there is no method {name!r}.{instead} There are: {', '.join(known)}; others by class path."
        )
    own: dict[str, type[Explainer]] = {}
    method = find_part("explainer", name, Explainer, own, named_by_user=True)
    if method.__name__ not in _entries or _entries[method.__name__].method is not method:
        explainer("other")(method)
    return method


def own_names() -> frozenset[str]:
    """Names of the methods of this package, which a file from elsewhere may name."""
    return frozenset(name for name, entry in _all().items() if is_ours(entry.method))


def installed_methods() -> list[type[Explainer]]:
    """The methods that installed packages add.

    Raises:
        ConfigError: A package fails, or adds something else.
    """
    return [find(name) for name in sorted(installed_parts("explainer"))]


def describe(method: type[Explainer]) -> str:
    """One sentence on what the map of a method shows."""
    return _all()[method.__name__].about


def is_variant(method: type[Explainer]) -> bool:
    """True for a method of a part that most networks do not have."""
    return _all()[method.__name__].family == "variant"


def required_arguments(method: type[Explainer]) -> list[str]:
    """Names of the arguments of a method, beside the model, that have no default."""
    extra = list(inspect.signature(method).parameters.values())[1:]
    return [each.name for each in extra if each.default is each.empty and each.kind not in _ANY_NUMBER]


def _all() -> dict[str, _Entry]:
    for module in pkgutil.iter_modules(import_module(_METHODS).__path__, f"{_METHODS}."):
        import_module(module.name)
    families = get_args(Family)
    return dict(sorted(_entries.items(), key=lambda item: (families.index(item[1].family), item[0])))
