"""Train, validation and test: the protocols that divide videos, and the leaks between their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.splits.leakage import Leak as Leak, find_leaks as find_leaks
    from resgat_pl.data.splits.leave_out import LeaveOut as LeaveOut
    from resgat_pl.data.splits.paper import PaperSplit as PaperSplit
    from resgat_pl.data.splits.protocols import (
        IdentitySplit as IdentitySplit,
        OfficialSplit as OfficialSplit,
        PartSplit as PartSplit,
        SplitProtocol as SplitProtocol,
        StrictSplit as StrictSplit,
    )
    from resgat_pl.data.splits.registry import PROTOCOLS as PROTOCOLS, from_spec as from_spec

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "IdentitySplit": "protocols",
        "Leak": "leakage",
        "LeaveOut": "leave_out",
        "OfficialSplit": "protocols",
        "PROTOCOLS": "registry",
        "PaperSplit": "paper",
        "PartSplit": "protocols",
        "SplitProtocol": "protocols",
        "StrictSplit": "protocols",
        "find_leaks": "leakage",
        "from_spec": "registry",
    },
)
