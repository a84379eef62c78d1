"""The mathematics of ResGAT as plain torch modules, usable without Lightning, and the files its weights come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.nn.contribution import Contributions as Contributions, contributions as contributions
    from resgat_pl.nn.encoders.torchvision_cnns import Encoder as Encoder
    from resgat_pl.nn.gat import GridGATConv as GridGATConv, GridGATv2Conv as GridGATv2Conv
    from resgat_pl.nn.grid import Grid as Grid
    from resgat_pl.nn.resgat import ResGAT as ResGAT

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Contributions": "contribution",
        "Encoder": "encoders.torchvision_cnns",
        "Grid": "grid",
        "GridGATConv": "gat",
        "GridGATv2Conv": "gat",
        "ResGAT": "resgat",
        "contributions": "contribution",
    },
)
