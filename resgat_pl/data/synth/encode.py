"""Write frames as H.264, the same bytes for the same frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

FPS = 25


def write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write ``(T, H, W, 3)`` uint8 RGB frames at crf 18; H and W are even."""
    _write(path, frames, {"crf": "18"})


def write_mask(path: Path, masks: NDArray[np.bool_]) -> None:
    """Write ``(T, H, W)`` masks, white where True.

    The quantiser is so fine that the background decodes to at most 1 of 255, the usual bound of "manipulated"; crf 18
    would put a halo of larger values around every mask. Lossless H.264 would need a profile that not every player has.
    """
    grey = masks.astype(np.uint8) * np.uint8(255)
    _write(path, np.repeat(grey[..., None], 3, axis=3), {"qp": "1"})


def _write(path: Path, frames: NDArray[np.uint8], quality: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the bit-exact flags the file would name the version of the library and the time; x264's macroblock tree
    # decides by what happens to be in memory, so the same frames would give other bytes.
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "veryfast", "x264-params": "mbtree=0", **quality}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
