"""The bytes of crops: single files or tar shards, written once and read from either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.crop_store.encoding import encode_crop as encode_crop, resize_crop as resize_crop
    from resgat_pl.data.crop_store.reader import crop_of as crop_of, mask_of as mask_of, picture as picture

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "crop_of": "reader",
        "encode_crop": "encoding",
        "mask_of": "reader",
        "picture": "reader",
        "resize_crop": "encoding",
    },
)
