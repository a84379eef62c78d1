"""Encoding of synthetic clips."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from resgat_pl.data.synth.encode import write_video


def test_the_same_frames_are_the_same_bytes_whatever_is_in_memory(ffpp_root: Path, tmp_path: Path) -> None:
    memory = []
    for clip in sorted(ffpp_root.rglob("original_sequences/**/*.mp4"))[:6]:
        with av.open(str(clip)) as container:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        written = set()
        for turn in range(6):
            memory.append([bytearray(37 * turn) for _ in range(40)])
            write_video(tmp_path / f"{'x' * turn}.mp4", frames)
            written.add((tmp_path / f"{'x' * turn}.mp4").read_bytes())
        assert len(written) == 1
