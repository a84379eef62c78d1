"""Detectors of clips: ResGAT on each frame, a temporal part over the frames, and one additive ledger for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.nn.video.faces import JoinedFaces as JoinedFaces, join_faces as join_faces
    from resgat_pl.nn.video.ledger import Ledger as Ledger, clip_ledger as clip_ledger
    from resgat_pl.nn.video.net import VideoResGAT as VideoResGAT
    from resgat_pl.nn.video.shapley import FrameShares as FrameShares, frame_shapley as frame_shapley

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FrameShares": "shapley",
        "JoinedFaces": "faces",
        "Ledger": "ledger",
        "VideoResGAT": "net",
        "clip_ledger": "ledger",
        "frame_shapley": "shapley",
        "join_faces": "faces",
    },
)
