"""``resgat benchmark-explainers``: scores of explanation methods on the same faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.benchmark.command import benchmark_explainers as benchmark_explainers

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "benchmark_explainers": "command",
    },
)
