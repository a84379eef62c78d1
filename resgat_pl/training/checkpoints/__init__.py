"""Checkpoints of runs: safe writing and reading, ``--ckpt_path last``, signals, periodic saves, exact resuming."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.checkpoints.recovery import Recovery as Recovery

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Recovery": "recovery",
    },
)
