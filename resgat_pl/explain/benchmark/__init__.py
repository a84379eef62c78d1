"""``resgat benchmark-explainers``: scores of explanation methods on the same faces.

::

    checkpoints ─┐
                 ├─ prepare ── faces ── measure ──┬─ localisation   does the map point at the manipulation?
    crops ───────┘  score the  chosen   one       ├─ faithfulness   does the network use what it points at?
                    test split fakes    method    └─ sanity         does the map change with the network?
                                           │
                                     leaderboard ── leaderboard_text, _plot, _files
"""

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
