"""All split protocols by name, to rebuild one from what a manifest or a checkpoint says about it."""

from __future__ import annotations

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


def from_spec(spec: Mapping[str, Any]) -> SplitProtocol:
    """Rebuild a protocol from its ``spec``.

    Raises:
        ConfigError: It is none of ``PROTOCOLS``, or its options are none of that one.
    """
    kinds: dict[str, Any] = {kind.name: kind for kind in PROTOCOLS}
    options = {name: value for name, value in spec.items() if name not in {"name", "declares"}}
    name = spec.get("name")
    if not isinstance(name, str) or name not in kinds:
        raise ConfigError(f"{name!r} is no split protocol of resgat_pl. There are: {', '.join(kinds)}.")
    try:
        protocol: SplitProtocol = kinds[name](**options)
    except (TypeError, ValueError) as error:  # noted by another program, or by another version of this one
        raise ConfigError(f"The split protocol {name!r} does not take {options} ({error}).") from None
    return protocol
