"""Videos, animated pictures and folders of images, decoded frame by frame as a player shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.media.frames import (
        Frame as Frame,
        FrameReader as FrameReader,
        sample_indices as sample_indices,
        sample_times as sample_times,
    )
    from resgat_pl.data.media.images import read_image as read_image

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Frame": "frames",
        "FrameReader": "frames",
        "read_image": "images",
        "sample_indices": "frames",
        "sample_times": "frames",
    },
)
