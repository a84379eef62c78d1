"""The type of a file, by the suffix of its name and by its first bytes, for which nobody has to be trusted."""

from __future__ import annotations

import re
from typing import Final, Literal

_VIDEO: Final = (
    "mp4 m4v mov qt mkv webm avi divx mpg mpeg mpe m1v m2v m2p vob ts mts m2ts m2t tod wmv asf flv f4v "
    "3gp 3g2 ogv ogm mxf dv rm rmvb ivf y4m h264 264 h265 265 hevc gif apng"
)
VIDEO_SUFFIXES: Final = frozenset(_VIDEO.split())
"""Suffixes of videos in lower case without the dot; GIF and APNG are sequences of pictures."""

_IMAGE: Final = "jpg jpeg jpe jfif jfi png bmp dib webp tif tiff avif heic heif hif jp2 j2k jpf jpx j2c ppm pgm pbm pnm"
IMAGE_SUFFIXES: Final = frozenset(_IMAGE.split())
"""Suffixes of pictures."""

_RAW: Final = "cr2 cr3 crw nef nrw arw sr2 srf dng orf rw2 raf pef srw x3f iiq 3fr erf kdc mrw"
RAW_SUFFIXES: Final = frozenset(_RAW.split())
"""Suffixes of cameras' raw pictures. Many are TIFFs by their first bytes, whose first page is a thumbnail."""

NO_MEDIA: Final = "no image and no video"

HEAD: Final = 4096
"""Bytes of a file that are looked at."""

HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"})
"""Brands of ISO 23008-12 files that are not AVIF; a file of moving pictures has others besides."""
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_SOUND_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})

_IMAGES: Final = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",  # TIFF of either byte order, and BigTIFF
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000, in a file and bare
    b"\xff\x4f\xff\x51",
)
_VIDEOS: Final = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\0\0\x01\xba",  # MPEG program stream: MPG, VOB
    b"\0\0\x01\xb3",  # MPEG video
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"FLV\x01",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b".RMF",
    b"\x1f\x07\0",  # DV
    b"DKIF",  # IVF
    b"YUV4MPEG2 ",
    b"\0\0\0\1\x67",  # bare H.264: a sequence parameter set, or a delimiter
    b"\0\0\0\1\x27",
    b"\0\0\0\1\x09",
    b"\0\0\0\1\x40\1",  # bare H.265 alike
    b"\0\0\0\1\x46\1",
)
_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp"})
"""First boxes of QuickTime files and of fragments without ``ftyp``."""

_OTHERS: Final = {
    b"%PDF": "a PDF document",
    b"PK\3\4": "an archive or Office document",
    b"Rar!": "an archive",
    b"7z\xbc\xaf": "an archive",
    b"\x1f\x8b": "an archive",
    b"ID3": "sound only",
    b"fLaC": "sound only",
    b"OggS": "sound only",
    b"8BPS": "a Photoshop document; save it as PNG or TIFF",
    b"\xff\x0a": "JPEG XL, which is not read; save it as PNG",
    b"\0\0\0\x0cJXL ": "JPEG XL, which is not read; save it as PNG",
    b"#EXTM3U": "a playlist, which names other files",
    b"ffconcat": "a playlist, which names other files",
    b"<svg": "a drawing, which has no pixels",
}

_OTHER: Final = "tga ico icns cur exr hdr dds pcx xcf jxr wdp eps sgi ras qoi wmf emf"
_OTHER_PICTURES: Final = frozenset(_OTHER.split())
"""Suffixes of pictures that are not read."""


def kind_of(head: bytes) -> Literal["image", "video"] | None:
    """The type of a file by its first ``HEAD`` bytes; None where they say neither.

    An animated picture is a video; whether a GIF is one takes the whole file, see ``images.count_gif``.
    """
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    if is_animation(head) or head.startswith(_VIDEOS) or head[4:8] in _BOXES or _is_transport_stream(head):
        return "video"
    if head.startswith(b"RIFF"):
        kinds: dict[bytes, Literal["image", "video"]] = {b"WEBP": "image", b"AVI ": "video", b"CDXA": "video"}
        return kinds.get(head[8:12])
    if head.startswith(b"OggS"):
        return "video" if any(codec in head for codec in (b"theora", b"OVP80", b"BBCD", b"video")) else None
    is_bitmap = head[:2] == b"BM" and head[6:10] == bytes(4)
    is_portable = re.match(rb"P[1-6]\s", head) is not None
    return "image" if head.startswith(_IMAGES) or is_bitmap or is_portable else None


def is_heif(head: bytes) -> bool:
    """Recognise HEIC and other pictures in HEIF that are not AVIF."""
    return head[4:8] == b"ftyp" and kind_of(head) == "image" and not _brands(head) & _AVIF_BRANDS


def why_not(head: bytes, suffix: str) -> str:
    """Reason why a file that ``kind_of`` does not know is not looked at."""
    if suffix in RAW_SUFFIXES:
        return "a camera's raw picture; develop it to JPEG or TIFF"
    if not head:
        return "empty"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "sound only"
    if head[4:8] == b"ftyp":
        return "sound only" if head[8:12] in _SOUND_BRANDS else "a camera's raw picture; develop it to JPEG or TIFF"
    other = "a picture of a kind that is not read; save it as PNG" if suffix in _OTHER_PICTURES else NO_MEDIA
    return next((words for mark, words in _OTHERS.items() if head.startswith(mark)), other)


def _brands(head: bytes) -> frozenset[bytes]:
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset({head[8:12], *(head[at : at + 4] for at in range(16, end, 4))})


def _kind_of_brands(head: bytes) -> Literal["image", "video"] | None:
    major, brands = head[8:12], _brands(head)
    if major in _SOUND_BRANDS or major == b"crx ":  # Canon's raw pictures
        return None
    if major == b"avis" or (major in HEIF_BRANDS and b"avis" in brands):
        return "video"
    return "image" if major in HEIF_BRANDS | _AVIF_BRANDS else "video"


def is_animation(head: bytes) -> bool:
    """Recognise a PNG or WebP of several pictures: ``acTL`` is before the first, or a flag is set."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head.partition(b"IDAT")[0]
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:21]) and bool(head[20] & 2)


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes begin with 0x47; M2TS has a time of 4 bytes before each, broadcasters 16 bytes behind.

    A piece of a recording can begin within a packet; then more of them have to be there.
    """
    return any(
        head[start::size].startswith(b"\x47" * (5 if start in {0, 4} else 12))
        for size in (188, 192, 204)
        for start in range(size)
    )
