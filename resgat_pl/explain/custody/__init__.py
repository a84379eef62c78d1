"""Chain of custody of a report: hashes from intake to output, the log of steps, detached signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.custody.record import Custody as Custody, FileHash as FileHash, Step as Step
    from resgat_pl.explain.custody.signing import check_signature as check_signature, sign_file as sign_file

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Custody": "record",
        "FileHash": "record",
        "Step": "record",
        "check_signature": "signing",
        "sign_file": "signing",
    },
)
