"""The base of all layouts: the index they return, how folders are listed, how mistakes are reported."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from resgat_pl.core.errors import DatasetNotFoundError, LayoutError
from resgat_pl.core.storage import absolute, listing, locate, read_bytes, refresh
from resgat_pl.core.text import count_and_name, first_few
from resgat_pl.core.types import FAKE, REAL, MediaKind, VideoRecord
from resgat_pl.data.media.file_type import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_T = TypeVar("_T")
_DESCRIPTIONS = frozenset({"csv", "json", "md", "npy", "txt"})
"""Suffixes of what data sets themselves put beside their videos: labels, landmarks, terms."""


@dataclass(frozen=True, slots=True)
class Index:
    """The videos of a data set as they lie on disk.

    Attributes:
        records: One record a video, sorted by key; keys are unique and there is at least one record.
        problems: One readable line for each thing that is odd but does not stop the work.
    """

    records: tuple[VideoRecord, ...]
    problems: tuple[str, ...]


class CountRow(NamedTuple):
    """Number of videos of a method on disk and in the complete data set.

    Attributes:
        method: Manipulation method, or the name under which its videos are published.
        compression: As in ``VideoRecord``.
        found: Number of videos on disk.
        published: Number of videos in the complete data set, or None if there is no such number.
    """

    method: str
    compression: str
    found: int
    published: int | None


class Layout(ABC):
    """The way a data set lies on disk.

    Attributes:
        name: Name of the layout; ``dataset`` of its records.
        expected: What the layout looks for in the root, for messages.
        published: Number of videos of the complete data set in one compression, by method (see ``counted_as``), as its
            authors give it; empty where there is no such number.
        max_faces: Faces to cut out of each video unless the settings of the extraction say otherwise.
        same_source: Names of clips, as in ``VideoRecord.identities``, that were cut from one source video and so show
            one person, in groups; the leak ``source``.
        difference_masks: Whether fakes without a mask get one computed from the difference to their original, unless
            the settings of the extraction say otherwise.
        people: Whether the identities of its records are people, so that videos can be divided by person. Where they
            are clips or names of files, it is not known who stands on both sides of a split, and everything that is
            said about leaks says so.
        people_note: Why they are not, for messages; empty if they are.

    Example:
        >>> from resgat_pl.data.layouts.folder import Folder
        >>> Folder().matches(Path("/"))
        False
    """

    name: ClassVar[str]
    expected: ClassVar[str]
    published: ClassVar[Mapping[str, int]] = {}
    max_faces: ClassVar[int] = 1
    same_source: ClassVar[tuple[tuple[str, ...], ...]] = ()
    difference_masks: ClassVar[bool] = False
    people: bool = False
    people_note: ClassVar[str] = "nothing says which videos show the same person"

    @abstractmethod
    def matches(self, root: Path) -> bool:
        """Return true if the existing folder ``root`` looks like this layout, without listing every video."""

    @abstractmethod
    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """Return the records in any order, those to be preferred among equal keys first, and the problem lines.

        Raises:
            LayoutError: A file or an option contradicts the layout.
        """

    def index(self, root: str | Path) -> Index:
        """List the videos under ``root``.

        Symbolic links are followed, but only to the depth the layout knows, so that a loop of links ends. Hidden
        files are ignored, others that are not media are counted. Files are known by name only: nothing is opened.

        Raises:
            DatasetNotFoundError: The root is missing, empty, of another layout, or holds no video at all.
            LayoutError: A file or an option contradicts the layout.
        """
        root = check_root(root)
        if not self.matches(root):
            raise DatasetNotFoundError(
                f"{root} does not have the layout {self.name!r}: expected {self.expected}, found {contents(root)}."
            )
        # One record per key: the first one that the layout gives.
        found, problems = self.scan(root)
        unique: dict[str, VideoRecord] = {}
        twice, unreadable = [], []
        for record in found:
            if record.people is None and self.knows_people(record):
                record = replace(record, people=True)  # noqa: PLW2901 - the same record, with what the layout knows
            key = record.key
            if not _is_unicode(key):
                unreadable.append(ascii(key))
            elif unique.setdefault(key, record) is not record:
                twice.append(key)

        # What is left out, and what is missing.
        if unreadable:
            problems.append(f"{tally(unreadable, 'video')} skipped, the name is not UTF-8: rename")
        if twice:
            problems.append(f"{tally(twice, 'video')} found more than once under one name: the first one is taken")
        if not unique:
            lack = f"{root} has the layout {self.name!r} but no labelled video in it. Expected {self.expected}."
            raise DatasetNotFoundError(" ".join([lack, *(f"{line}." for line in problems)]))
        if others := _not_media(unique.values()):
            problems.append(others)
        labels = {record.label for record in unique.values()}
        problems += [
            f"no {word} video found" for label, word in ((REAL, "real"), (FAKE, "fake")) if label not in labels
        ]
        return Index(tuple(unique[key] for key in sorted(unique)), tuple(problems))

    def knows_people(self, video: VideoRecord) -> bool:
        """True if the identities of a record of this layout are people."""
        return self.people

    def counted_as(self, video: VideoRecord) -> str | None:
        """Return the name in ``published`` that counts a video, or None if it belongs to none of what is published."""
        return video.method

    def compare_counts(self, videos: Sequence[VideoRecord]) -> list[CountRow]:
        """Compare the videos on disk with the published numbers.

        Args:
            videos: Records of this layout, such as those of its ``index``.

        Returns:
            The rows of each compression there is: what is published in the published order, also where nothing of it
            was found, then what else was found. No row at all if none of the videos is counted.
        """
        named = ((self.counted_as(video), video.compression) for video in videos)
        found = Counter((name, compression) for name, compression in named if name is not None)
        names = dict.fromkeys([*self.published, *sorted(name for name, _ in found)])
        return [
            CountRow(name, compression, found[name, compression], self.published.get(name))
            for compression in sorted({compression for _, compression in found})
            for name in names
            if name in self.published or (name, compression) in found
        ]


def _not_media(records: Iterable[VideoRecord]) -> str:
    """A line on the files beside the videos that are none by their suffix; empty if there are none."""
    folders = {file.parent for record in records for file in record.files[:1]}
    found = [
        folder / name
        for folder in sorted(folders)
        for name in entries(folder).files
        if not is_video(name) and not is_image(name) and split_name(name)[1] not in _DESCRIPTIONS
    ]
    if not found:
        return ""
    suffixes = Counter(f".{split_name(path.name)[1]}" if path.suffix else "without one" for path in found)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
    names = tally([f"{path.parent.name}/{path.name}" for path in found], "file")
    return f"{names} beside the videos not looked at: not of a known image or video suffix ({kinds})"


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8 came in as lone surrogates
        return False
    return True


class Entries(NamedTuple):
    """Names in a folder, each list sorted, hidden ones left out."""

    folders: list[str]
    files: list[str]


def entries(folder: Path) -> Entries:
    """List a folder with one system call per block of names and none per file; a missing folder is empty.

    Whatever is not a folder counts as a file, a broken link too, so that it is reported when it is read.

    Raises:
        DatasetNotFoundError: The folder exists but cannot be read.
    """
    try:
        found = listing(folder)
    except (FileNotFoundError, NotADirectoryError):
        return Entries([], [])
    except OSError as error:
        raise DatasetNotFoundError(
            f"The folder {folder} cannot be read ({error.strerror}): check its permissions and its disk."
        ) from error
    return Entries(*(sorted(name for name in names if not name.startswith(".")) for names in found))


def split_name(name: str) -> tuple[str, str]:
    """Cut a file name into its stem and its suffix in lower case without the dot: ``a.b.MP4`` -> ``a.b``, ``mp4``."""
    stem, _, suffix = name.rpartition(".")
    return stem, suffix.lower()


def videos_in(folder: Path) -> list[tuple[str, Path]]:
    """List (stem, path) of the video files in a folder, sorted by name."""
    return [(split_name(name)[0], folder / name) for name in entries(folder).files if is_video(name)]


def images_in(folder: Path) -> tuple[Path, ...]:
    """List the images in a folder by the numbers in their names: ``9.png`` is before ``10.png``."""
    return tuple(folder / name for name in sorted(filter(is_image, entries(folder).files), key=_frame_order))


def best_media(
    places: Sequence[Path], forms: Mapping[Path, MediaKind]
) -> Iterator[tuple[str, MediaKind, tuple[Path, ...]]]:
    """Yield (video, kind, files), each video in its best form only.

    Args:
        places: Folders of videos.
        forms: Folders that hold a folder of images per video, the better ones first; what kind they are.
    """
    seen = set()
    for place in places:
        for video, path in videos_in(place):
            seen.add(video)
            yield video, "video", (path,)
    for place, kind in forms.items():
        for video in entries(place).folders:
            if video not in seen:
                files = images_in(place / video)
                seen.update([video] * bool(files))  # an empty folder must not hide the next form
                yield video, kind, files


def is_video(name: str) -> bool:
    """Recognise a video file by the suffix of its name."""
    return split_name(name)[1] in VIDEO_SUFFIXES


def is_image(name: str) -> bool:
    """Recognise an image file by the suffix of its name."""
    return split_name(name)[1] in IMAGE_SUFFIXES


def _frame_order(name: str) -> tuple[list[int | str], str]:
    parts = re.split(r"(\d+)", name)  # text and digits take turns, so equal positions compare
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def check_root(root: str | Path) -> Path:
    """Return ``root`` as an absolute path, ``~`` expanded, or as it is behind a URL.

    Raises:
        DatasetNotFoundError: It is missing, a file, or empty.
        ConfigError: The store behind a URL does not answer.
    """
    root = absolute(locate(root))
    refresh(root)
    if root.is_file():
        raise DatasetNotFoundError(
            f"The data set root {root} is a file: give the folder that holds the data set; unpack an archive first."
        )
    if not root.is_dir():
        parent = next((folder for folder in root.parents if folder.is_dir() and any(entries(folder))), None)
        near = "" if parent is None else f" The nearest folder that exists is {parent}, with {contents(parent)}."
        raise DatasetNotFoundError(
            f"The data set root {root} does not exist: check the path for a typing error or an unmounted disk.{near}"
        )
    if not any(entries(root)):
        raise DatasetNotFoundError(
            f"The data set root {root} is empty: wait for the download to end, or give the folder it went to."
        )
    return root


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises:
        LayoutError: It cannot be read or is not UTF-8 text.
    """
    try:
        text = TextIOWrapper(BytesIO(read_bytes(path)), encoding="utf-8-sig").read()
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(
            f"{path} cannot be read as UTF-8 text ({error}): restore it from the data set's archive."
        ) from error
    if "\0" in text:  # what an interrupted copy leaves on some file systems
        raise LayoutError(
            f"{path} holds zero bytes, so it is no text or was cut off: restore it from the data set's archive."
        )
    return text


def read_json(path: Path, kind: type[_T], expected: str) -> _T:
    """Parse a JSON file that holds one value of a kind, ``dict`` or ``list``.

    Raises:
        LayoutError: It cannot be read, is not JSON, or holds something else; the message says what was expected.
    """
    try:
        parsed = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise LayoutError(
            f"{path} is not valid JSON ({error}): expected {expected}. Restore it from the data set's archive."
        ) from error
    if not isinstance(parsed, kind):
        raise LayoutError(f"{path} holds a {type(parsed).__name__}: expected {expected}.")
    return parsed


def skipped(where: str, names: Sequence[str], noun: str, why: str) -> list[str]:
    """The problem line on things that are left out; no line if there are none."""
    return [f"{where}: {tally(names, noun)} skipped, {why}"] if names else []


def tally(names: Iterable[str], noun: str) -> str:
    """Count things and name the first few: ``12 videos (a, b, c, …)``."""
    return count_and_name(names, noun, most=3)


def contents(folder: Path) -> str:
    """Name the first few entries of a folder, for messages."""
    folders, files = entries(folder)
    return first_few([*(f"{name}/" for name in folders), *files], 8) or "nothing"
