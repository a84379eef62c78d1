"""All split protocols by name, to rebuild one from what a manifest or a checkpoint says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resgat_pl.data.leave_out import LeaveOut
from resgat_pl.data.splits import IdentitySplit, OfficialSplit, PaperSplit, PartSplit, SplitProtocol, StrictSplit
from resgat_pl.errors import ConfigError

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
        ConfigError: It is none of ``PROTOCOLS``.
    """
    kinds: dict[str, Any] = {kind.name: kind for kind in PROTOCOLS}
    options = {name: value for name, value in spec.items() if name not in {"name", "declares"}}
    if spec.get("name") not in kinds:
        raise ConfigError(f"{spec.get('name')!r} is no split protocol of resgat_pl. There are: {', '.join(kinds)}.")
    protocol: SplitProtocol = kinds[spec["name"]](**options)
    return protocol
