"""Detects truncated or corrupted PNG and JPEG bytes before decoding."""

from __future__ import annotations

import zlib
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_JPEG_END: Final = b"\xff\xd9"


def problem_of(data: bytes) -> str | None:
    """The damage of a crop as ``extract`` writes them, PNG or JPEG; None if it is whole.

    PNG holds a checksum of all its parts: a single wrong bit is found. JPEG holds none: what is found is that it was
    cut off.
    """
    if not data:
        return "is empty (0 bytes)"
    if data[:8] == _PNG:
        return _png_problem(data)
    if data[:2] == _JPEG:
        return None if data[-2:] == _JPEG_END else f"is cut off after {len(data):,} bytes"
    return "is not an image: neither PNG nor JPEG"


def _png_problem(data: bytes) -> str | None:
    """The damage of a PNG file; a chunk is its length, its type, the data, and a CRC-32 of both."""
    start = len(_PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            break
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"is damaged (checksum of the part at byte {start:,})"
        if data[start + 4 : start + 8] == b"IEND":
            return None
        start = end
    return f"is cut off after {len(data):,} bytes"
