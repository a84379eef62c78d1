"""The mathematics of detectors as plain torch modules, usable without Lightning, and the files of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.nn.contribution import Contributions as Contributions, contributions as contributions
    from resgat_pl.nn.detector_net import DetectorNet as DetectorNet
    from resgat_pl.nn.encoder_net import EncoderNet as EncoderNet
    from resgat_pl.nn.encoders.torchvision_cnns import Encoder as Encoder
    from resgat_pl.nn.ensemble import Ensemble as Ensemble
    from resgat_pl.nn.gat import GridGATConv as GridGATConv, GridGATv2Conv as GridGATv2Conv
    from resgat_pl.nn.grid import Grid as Grid
    from resgat_pl.nn.head import Head as Head, NodeHead as NodeHead
    from resgat_pl.nn.logit_net import LogitNet as LogitNet
    from resgat_pl.nn.nets import load_net as load_net
    from resgat_pl.nn.pooled import PooledClassifier as PooledClassifier
    from resgat_pl.nn.resgat import ResGAT as ResGAT
    from resgat_pl.nn.routing import NodeReading as NodeReading
    from resgat_pl.nn.video.net import VideoResGAT as VideoResGAT

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Contributions": "contribution",
        "DetectorNet": "detector_net",
        "Encoder": "encoders.torchvision_cnns",
        "EncoderNet": "encoder_net",
        "Ensemble": "ensemble",
        "Grid": "grid",
        "GridGATConv": "gat",
        "GridGATv2Conv": "gat",
        "Head": "head",
        "LogitNet": "logit_net",
        "NodeHead": "head",
        "NodeReading": "routing",
        "PooledClassifier": "pooled",
        "ResGAT": "resgat",
        "VideoResGAT": "video.net",
        "contributions": "contribution",
        "load_net": "nets",
    },
)
