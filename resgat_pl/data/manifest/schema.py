"""Columns of the manifest."""

from __future__ import annotations

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),  # "original" for genuine videos
        pa.field("compression", pa.string(), nullable=False),
        pa.field("video", pa.string(), nullable=False),
        pa.field("source_video", pa.string()),  # key of the genuine video a fake was made from
        pa.field("identities", pa.list_(pa.string()), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("official_split", pa.string()),  # what the data set prescribes
        pa.field("split", pa.string()),  # what the split protocol at extraction gave
        pa.field("label", pa.int8(), nullable=False),  # 1 = fake
        pa.field("track", pa.int16(), nullable=False),  # 0 = largest face; a fake's are its original's
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("time", pa.float32()),  # seconds
        pa.field("box", pa.list_(pa.int32(), 4), nullable=False),  # the square cut out, px of the frame
        pa.field("landmarks", pa.list_(pa.float32(), 10)),  # x, y of 5 points in [0, 1] of the crop
        pa.field("sharpness", pa.float32(), nullable=False),
        pa.field("crop_path", pa.string(), nullable=False),  # relative to the manifest's folder
        pa.field("mask_path", pa.string()),
        pa.field("altered", pa.bool_()),  # whether this very face was; null where that is not known
    ]
)
"""The columns of ``manifest.parquet``, which the page on the manifest describes."""


OPTIONAL = ("altered",)
"""Columns that older manifests lack: nothing of it is known there."""


PATHS = ("crop_path", "mask_path")
"""Columns of names of files."""
