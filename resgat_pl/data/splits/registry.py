"""Split protocols by name, entry point or class path: found by their names, and rebuilt from what a file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import find_part, is_ours, package_of
from resgat_pl.data.splits.leave_out import LeaveOut
from resgat_pl.data.splits.paper import PaperSplit
from resgat_pl.data.splits.protocols import IdentitySplit, OfficialSplit, PartSplit, SplitProtocol, StrictSplit

PROTOCOLS: Final[tuple[type[SplitProtocol], ...]] = (
    PaperSplit,
    OfficialSplit,
    StrictSplit,
    PartSplit,
    IdentitySplit,
    LeaveOut,
)
"""The split protocols of this package; any other subclass of ``SplitProtocol`` can be given by its class path."""


def find_split(name: object, named_by_user: bool = False) -> type[SplitProtocol]:
    """The protocol of a name, see ``core.parts.find_part``, which also documents the errors.

    Example:
        >>> find_split("strict").__name__
        'StrictSplit'
    """
    own: dict[str, type[SplitProtocol]] = {kind.name: kind for kind in PROTOCOLS}
    return find_part("split", name, SplitProtocol, own, named_by_user)


def from_spec(spec: Mapping[str, Any]) -> SplitProtocol:
    """Rebuild a protocol from its ``spec``.

    Args:
        spec: Under ``name`` a name of ``PROTOCOLS`` or of an entry point, or there or under ``class_path`` the path of
            another class, such as ``my.module.MySplit``; the other values are its options. It may come from an
            untrusted file, so that the class must be of this package, of an entry point, or imported already.

    Raises:
        ConfigError: It is no known protocol, or its options are none of that one.

    Example:
        >>> from_spec({"name": "strict", "declares": [], "seed": 3}).seed
        3
    """
    options = {name: value for name, value in spec.items() if name not in {"name", "class_path", "declares"}}
    name = spec.get("class_path", spec.get("name"))
    kind = find_split(name)
    try:
        return kind(**options)
    except Exception as error:  # noted by another program, by another version of this one, or of another package
        if is_ours(kind) and not isinstance(error, TypeError | ValueError):
            raise
        whose = "" if is_ours(kind) else f" of the package {package_of(kind)}"
        raise ConfigError(f"The split protocol {name!r}{whose} does not take {options} ({error}).") from None
