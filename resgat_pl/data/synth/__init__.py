"""Synthetic face videos in the layouts of the real data sets: genuine clips and self-blended fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.synth.generate import synthesize as synthesize
    from resgat_pl.data.synth.plan import METHOD_KINDS as METHOD_KINDS

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "METHOD_KINDS": "plan",
        "synthesize": "generate",
    },
)
