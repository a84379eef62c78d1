"""Split protocols by name or class path, to rebuild one from what a manifest or a checkpoint says about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from resgat_pl.core.errors import ConfigError
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


def from_spec(spec: Mapping[str, Any]) -> SplitProtocol:
    """Rebuild a protocol from its ``spec``.

    Args:
        spec: Under ``name`` a name of ``PROTOCOLS``, or there or under ``class_path`` the path of another class, such
            as ``my.module.MySplit``; the other values are its options. It may come from an untrusted file and imports
            nothing: the module of the class must have been imported.

    Raises:
        ConfigError: It is no known protocol, or its options are none of that one.
    """
    kinds: dict[str, Any] = {kind.name: kind for kind in PROTOCOLS}
    options = {name: value for name, value in spec.items() if name not in {"name", "class_path", "declares"}}
    name = spec.get("class_path", spec.get("name"))
    kind = kinds.get(name) or _imported(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError(
            f"{name!r} is no split protocol. There are: {', '.join(kinds)}. Another one must be the path of a subclass "
            "of SplitProtocol (my.module.MySplit) whose module has been imported; --split and --data.split import it."
        )
    try:
        protocol: SplitProtocol = kind(**options)
    except (TypeError, ValueError) as error:  # noted by another program, or by another version of this one
        raise ConfigError(f"The split protocol {name!r} does not take {options} ({error}).") from None
    return protocol


def _imported(path: str) -> type[SplitProtocol] | None:
    """The protocol at a class path, if its module has been imported."""
    module, _, name = path.rpartition(".")
    kind = vars(sys.modules[module]).get(name) if module in sys.modules else None
    return kind if isinstance(kind, type) and issubclass(kind, SplitProtocol) else None
