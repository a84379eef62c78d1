"""Still and animated pictures: decoded as a viewer shows them, upright and in RGB."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import MediaError
from resgat_pl.core.storage import is_remote, read_bytes
from resgat_pl.data.media.file_type import HEAD, RAW_SUFFIXES, is_heif

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS: Final = 2**27
"""Larger pictures of unknown origin are not decoded: 134 million pixels are a frame of 16K video (15360×8640), and
0.4 GB once decoded. A file of a few kB can claim a thousand times as many."""

NO_FILE: Final = "is no file but a folder, a pipe or a device"  # a pipe would be read for ever

_FORMATS: Final = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "HEIF")
"""Formats that Pillow may open: others start programs (EPS), or have no pixels."""

_BY_OPENCV: Final = frozenset({"JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM"})
"""Formats that OpenCV decodes, as it did before there were others: the same bytes."""

_TAGS_OF_PNG: Final = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""Without one of these a PNG has no orientation; Pillow would decode all of it to look behind the pixels."""

_SHORTEST: Final = 0.011
"""Browsers show a picture of an animation that claims 10 ms or less for 100 ms."""
_FILM: Final = b"ftyp(?:mp4|iso|qt|avc|M4V|hvc)"
"""Beginning of a video, which phones append to a picture."""

_CLEAR: Final = "Parts of the picture are transparent; the colours stored there were looked at, which viewers hide."


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB, upright.
        notes: What was unusual, a sentence each.
    """

    image: NDArray[np.uint8]
    notes: list[str]


class _Header(NamedTuple):
    """The header of a picture, which Pillow reads without decoding it; the format is empty if it is none."""

    form: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    pictures: int = 1
    colours: str = ""
    may_be_clear: bool = False


def read_image(path: Path, most_pixels: int | None = None) -> NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8 RGB; see ``open_picture``."""
    return open_picture(path, most_pixels).image


def open_picture(path: Path, most_pixels: int | None = None) -> Picture:
    """Read an image file, turned upright by its tag, in EXIF, XMP or HEIF; grey and alpha are converted.

    Args:
        path: The file.
        most_pixels: Do not decode a picture that says it has more; for files of unknown origin.

    Raises:
        MediaError: The file is missing, no image, too large, or of a format that is not read here.
    """
    data = _read(path, most_pixels is not None)
    header = _header(data)
    if most_pixels is not None:
        check_size(path, *header.size, most_pixels)
    notes = []
    if header.pictures > 1:
        notes.append(f"The file holds {header.pictures} pictures; only the first was looked at.")
    if header.form in {"JPEG", "MPO", "HEIF"} and re.search(_FILM, data[HEAD:]):
        notes.append("The file also holds a video (a motion photo), which was not looked at.")
    if header.may_be_clear and _is_clear(data):
        notes.append(_CLEAR)
    if header.colours:
        notes.append(f"The colours are stored as {header.colours!r} and were read as sRGB, without conversion.")
    image = _decode(data, path, header)
    if header.orientation != 1:
        image = _turned(image, header.orientation)
        notes.append("The picture is stored turned or mirrored; it was turned upright by its tag.")
    return Picture(image, notes)


def decode_image(data: NDArray[np.uint8], path: object, flags: int = cv2.IMREAD_COLOR_RGB) -> NDArray[np.uint8]:
    """Decode the bytes ``(n,)`` of an image file in a common format.

    Args:
        data: The bytes.
        path: Where they come from, for the message.
        flags: Of OpenCV; by default the picture is turned by its EXIF tag.

    Raises:
        MediaError: They are no image.
    """
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except (cv2.error, MemoryError) as error:  # larger than OpenCV will decode, or than the memory
        raise MediaError(f"{path}: cannot be decoded ({reason_of(error)})") from None
    if image is None:
        raise MediaError(f"{path}: {'is empty (0 bytes)' if not data.size else 'is not an image that can be decoded'}")
    return image.astype(np.uint8, copy=False)


def check_size(path: object, width: int, height: int, most: int = MOST_PIXELS) -> None:
    """Refuse a picture that is too large to decode.

    Raises:
        MediaError: It is.
    """
    if width * height > most:
        size = f"{width}x{height} px" if height > 1 else f"{width:,} pixels"
        raise MediaError(f"{path}: is too large: {size}, at most {most:,} pixels are decoded. Scale it down.")


def reason_of(error: Exception) -> str:
    """The words of an error of a decoder or of the operating system, on one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "err", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__


class Animation:
    """The pictures of a GIF, an APNG, an animated WebP or AVIF; a still picture is one of them.

    Args:
        path: The file.

    Attributes:
        times: ``(n,)`` float64 seconds from the start at which each picture is shown.
        length: Seconds that all are shown; 0 of a still picture.
        notes: What was unusual.
        trouble: Why pictures that are there cannot be decoded.

    Raises:
        MediaError: It cannot be read.
    """

    trouble = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._data = _read(path, True)
        header = _header(self._data)
        check_size(path, *header.size)
        self._orientation = header.orientation
        self._first = 0
        lasting: list[float] = []
        try:
            with _opened(self._data) as image:
                # An APNG's first picture can be one for programs that show no animation: players leave it out.
                self._first = int(bool(image.info.get("default_image")) and _count(image) > 1)
                for place in range(self._first, _count(image)):
                    image.seek(place)
                    image.load()  # WebP knows the duration then
                    lasting.append(float(image.info.get("duration", 0)) / 1000)
        except Exception as error:  # Pillow's plugins raise whatever comes their way
            if not lasting:
                raise MediaError(f"{path}: cannot be decoded ({reason_of(error)})") from None
            self.notes.append(f"Only the first {len(lasting)} pictures of the animation can be decoded: it is damaged.")
        if len(lasting) > 1:
            lasting = [0.1 if seconds < _SHORTEST else seconds for seconds in lasting]
        self.times = np.concatenate([[0.0], np.cumsum(lasting)[:-1]])
        self.length = float(sum(lasting))
        if len(lasting) > 1:
            self.notes.append(f"An animated picture: {len(lasting)} pictures, shown for {self.length:.2f} s in all.")

    def read(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield number and picture of those wanted, in ascending order.

        Raises:
            MediaError: A picture cannot be decoded.
        """
        if len(self.times) == 1:
            if 0 in wanted:
                found = open_picture(self.path, MOST_PIXELS)
                self.notes += found.notes
                yield 0, found.image
            return
        if self._orientation != 1:
            self.notes.append("The pictures are stored turned or mirrored; they were turned upright by their tag.")
        with _opened(self._data) as image:
            for number in sorted(wanted):
                if number >= len(self.times):
                    return
                try:
                    image.seek(self._first + number)
                    shown = _turned(_rgb(image), self._orientation)
                    if _CLEAR not in self.notes and _may_be_clear(image) and _has_clear(image):
                        self.notes.append(_CLEAR)
                except Exception as error:
                    raise MediaError(f"{self.path}: cannot be decoded ({reason_of(error)})") from None
                yield number, shown


def count_gif(data: bytes) -> int:
    """Count the pictures of a GIF by its blocks, without decoding; as far as they go if it breaks off."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    count, at = 0, 13 + table(data[10]) if len(data) > 13 else len(data)
    while at < len(data):
        if data[at] == 0x2C and at + 9 < len(data):
            count += 1
            at += 11 + table(data[at + 9])
        elif data[at] == 0x21:
            at += 2
        else:  # the end, or what is no block
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return count


def _read(path: Path, is_foreign: bool) -> bytes:
    if is_foreign and not is_remote(path) and path.exists() and not path.is_file():
        raise MediaError(f"{path}: {NO_FILE}")
    try:
        data = read_bytes(path)
    except (OSError, MemoryError) as error:
        raise MediaError(f"{path}: cannot be read ({reason_of(error)})") from None
    if path.suffix.lower().removeprefix(".") in RAW_SUFFIXES:
        raise MediaError(f"{path}: is a camera's raw picture, which is not read. Develop it to JPEG or TIFF.")
    if is_heif(data[:HEAD]) and not _can_heif():
        raise MediaError(f"{path}: HEIC needs a package to be read: pip install 'resgat-pl[heic]'.")
    return data


def _can_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _opened(data: bytes) -> Image.Image:
    from PIL import Image  # here: videos need none of it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large pictures, which are refused elsewhere, and of odd metadata
        Image.init()
        return Image.open(BytesIO(data), formats=[form for form in _FORMATS if form in Image.OPEN])


def _count(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _header(data: bytes) -> _Header:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(data) as image:
                form = image.format or ""
                try:
                    orientation, pictures, colours = _orientation(image, data), _count(image), _colours(image)
                    return _Header(form, image.size, orientation, pictures, colours, _may_be_clear(image))
                except Exception:  # tags are beside the picture
                    return _Header(form, image.size)
    except Image.DecompressionBombError as error:
        return _Header(size=(int(re.findall(r"\d+", str(error))[0]), 1))
    except Exception:  # whatever it is, the decoder has the last word
        return _Header()


def _orientation(image: Image.Image, data: bytes) -> int:
    """1 to 8 as in EXIF; Pillow looks in EXIF, then in XMP, and takes HEIF's and AVIF's own turns for EXIF."""
    if image.format == "PNG" and not any(mark in data for mark in _TAGS_OF_PNG):
        return 1
    if image.format == "TIFF" and 0x112 in getattr(image, "tag_v2", {}):
        return 1  # whoever decodes a TIFF turns it
    tag = image.getexif().get(0x112, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _colours(image: Image.Image) -> str:
    """Name of the colour profile, if there is one that is not sRGB."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode in {"L", "LA", "1", "I;16"}:
        return ""
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))).strip()
    except Exception:  # a damaged profile is none
        return ""
    return "" if "srgb" in name.lower() else name[:80]


def _decode(data: bytes, path: Path, header: _Header) -> NDArray[np.uint8]:
    """The stored picture, not turned."""
    known = MediaError(f"{path}: is not an image that can be decoded")
    if header.form in _BY_OPENCV or not header.form:
        try:
            flags = cv2.IMREAD_COLOR_RGB | (0 if header.form == "TIFF" else cv2.IMREAD_IGNORE_ORIENTATION)
            return decode_image(np.frombuffer(data, np.uint8), path, flags)
        except MediaError as error:
            known = error
    if not header.form:
        raise known
    try:  # what OpenCV does not know, or not in this variant
        with _opened(data) as image:
            return _rgb(image)
    except Exception:
        raise known from None


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """As a viewer shows it; Pillow cuts grey levels of 16 bits off at 255."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(image.convert("RGB"), np.uint8)


def _may_be_clear(image: Image.Image) -> bool:
    return image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info


def _is_clear(data: bytes) -> bool:
    """True if some pixels of a picture are not opaque."""
    try:
        with _opened(data) as image:
            return _has_clear(image)
    except Exception:  # the decoder has the last word
        return False


def _has_clear(image: Image.Image) -> bool:
    return bool(np.asarray(image.convert("RGBA").getchannel("A")).min() < 255)


def _turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """By the tag's definition (EXIF 2.32, 4.6.4): which side of the stored picture is the upper, which the left."""
    turned: Any = image.transpose(1, 0, 2) if orientation > 4 else image
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
