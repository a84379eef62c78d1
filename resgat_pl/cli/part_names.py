"""Parts by name in options and configurations: what jsonargparse makes of ``--split by_source`` and of class paths.

jsonargparse takes a class by its path, or by its name if it has been imported. Here it also takes the names of this
package's parts and of installed packages' entry points, and what fails in somebody else's code becomes one message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from resgat_pl.core.errors import ConfigError, ResGATError
from resgat_pl.core.parts import (
    PartKind,
    class_path,
    errors_of,
    find_part,
    import_modules,
    installed_parts,
    is_class_path,
    word_of,
)

KINDS: Final[Mapping[str, PartKind]] = {
    "resgat_pl.data.layouts.base.Layout": "layout",
    "resgat_pl.data.splits.protocols.SplitProtocol": "split",
    "resgat_pl.data.faces.detection.FaceDetector": "face_detector",
    "resgat_pl.data.transforms.Augmentation": "augmentation",
    "resgat_pl.data.transforms.Transform": "augmentation",
    "resgat_pl.nn.detector_net.DetectorNet": "detector",
    "torchmetrics.metric.Metric": "metric",
}
"""Path of the class that an option asks for → kind of part, whose names the option then takes."""


def names_of(path: str) -> list[str]:
    """Names that an option takes which asks for the class at this path; empty for one that is no part.

    Example:
        >>> set(names_of("resgat_pl.data.faces.detection.FaceDetector")) >= {"mtcnn", "whole_frame", "yunet"}
        True
    """
    kind = KINDS.get(path)
    return [] if kind is None else sorted({*_own(kind), *installed_parts(kind)})


@contextmanager
def named_parts() -> Iterator[None]:
    """Let jsonargparse take parts by name inside the ``with`` block."""
    from jsonargparse import _typehints

    original = _typehints.resolve_class_path_by_name

    def resolve(asked: Any, name: str) -> str:
        return original(asked, _full_name(asked, name))

    _typehints.resolve_class_path_by_name = resolve
    try:
        yield
    finally:
        _typehints.resolve_class_path_by_name = original


def failure_in(error: BaseException | None) -> ResGATError | None:
    """The error of a part that jsonargparse's error came from; None if it came from none.

    Where an option may have several types, jsonargparse tries each and puts all that they say into one text.
    """
    while error is not None and not isinstance(error, ResGATError):
        error = error.__cause__ or error.__context__
    return error


def _full_name(asked: Any, name: str) -> str:
    """The name by which jsonargparse finds a part: the path of an installed one, the class name of one of ours.

    Raises:
        ConfigError: The part cannot be imported.
    """
    for base in asked if isinstance(asked, tuple) else (asked,):
        kind = KINDS.get(class_path(base)) if isinstance(base, type) else None
        if kind is None:
            continue
        _report_failures(kind, base)
        if is_class_path(name):
            _import(kind, name)
        elif name in (own := _own(kind)):
            return own[name].__name__
        elif name in installed_parts(kind):
            return class_path(find_part(kind, name, object, {}))  # jsonargparse compares it with the base
    return name


def _own(kind: PartKind) -> dict[str, type[Any]]:
    """The parts of this package that have short names."""
    if kind == "layout":
        return {each.name: each for each in import_module("resgat_pl.data.layouts.detect").LAYOUTS}
    if kind == "split":
        return {each.name: each for each in import_module("resgat_pl.data.splits.registry").PROTOCOLS}
    if kind == "face_detector":
        return dict(import_module("resgat_pl.data.faces.registry").DETECTORS)
    return {}


def _import(kind: PartKind, path: str) -> None:
    """Import the module of a class path that the user gave, unless jsonargparse's own message is as good.

    Raises:
        ConfigError: The module fails, or its package is not here.
    """
    module = path.rpartition(".")[0]
    try:
        import_modules([module], f"The {word_of(kind)} {path} cannot be had: the module")
    except ConfigError as failure:
        cause = failure.__cause__
        missing = str(cause.name) if isinstance(cause, ModuleNotFoundError) else ""
        # A misspelt module of a package that is here, or a class inside a class.
        if "." in missing and f"{module}.".startswith(f"{missing}."):
            return
        raise


def _report_failures(kind: PartKind, base: type) -> None:
    """Make one message of what constructors of a kind of part raise."""
    from jsonargparse import add_instantiator

    def instantiate(part: type, *args: Any, **options: Any) -> Any:
        with errors_of(kind, part):
            return part(*args, **options)

    add_instantiator(instantiate, base)
