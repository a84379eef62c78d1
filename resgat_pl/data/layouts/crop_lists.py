"""Face crops in the form the paper's authors published theirs: images named after their video, and four lists."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.storage import is_remote, locate
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord
from resgat_pl.data.layouts.base import Layout, entries, read_text, skipped, tally


class _List(NamedTuple):
    """The meaning of a list."""

    split: Split
    label: int


_LISTS: Final = {
    "TRAIN_CLIENT.txt": _List("train", REAL),
    "TRAIN_IMPOSTER.txt": _List("train", FAKE),
    "TEST_CLIENT.txt": _List("test", REAL),
    "TEST_IMPOSTER.txt": _List("test", FAKE),
}
_CROP_NAME: Final = re.compile(r"(?P<video>.+)\.mp4_face_(?P<number>\d+)\.(?:jpe?g|png)", re.IGNORECASE)


class CropLists(Layout):
    """Lists of face crops, one path a line, relative to the root or absolute: client is real, imposter is fake.

    ::

        {TRAIN,TEST}_{CLIENT,IMPOSTER}.txt
        **/<video>.mp4_face_<n>.jpg

    The crops of one video make one record of kind ``crops``, in the order of ``n`` and wherever they lie. The lists
    prescribe the split. They were cut by frame, so that one video can stand on a train and on a test list: the record
    is therefore called ``<video>@train`` or ``<video>@test``, and both share the video's name as their identity.

    Args:
        allow_outside: Take images that lie outside the root too, by absolute paths, ``..`` or URLs. The lists of others
            could name any file of yours, which would then become part of your crops.

    Example:
        >>> CropLists().matches(Path("/"))
        False
    """

    name = "crop_lists"
    expected = f"at least one of {', '.join(_LISTS)}"
    people_note = "its identities are names of videos; the lists do not say who is in which"

    def __init__(self, allow_outside: bool = False) -> None:
        self.allow_outside = allow_outside

    def matches(self, root: Path) -> bool:
        """See base class."""
        return not _LISTS.keys().isdisjoint(entries(root).files)

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        problems: list[str] = []
        disk = _Disk(root, self.allow_outside)
        files = set(entries(root).files)
        lists = {name: _read(root / name, disk, problems) for name in _LISTS if name in files}
        for one, other in combinations(lists, 2):
            if both := sorted(map(str, lists[one] & lists[other])):
                if _LISTS[one].label != _LISTS[other].label:
                    raise LayoutError(
                        f"{one} and {other} in {root} both name {both[0]}: a face is real or fake, correct the lists."
                    )
                problems.append(f"{tally(both, 'image')} on both {one} and {other}")
        return [record for name, images in lists.items() for record in _records(name, images, problems)], problems


class _Disk:
    """Finds files by listing each folder once: a call for each of a million crops is slow on a network disk."""

    def __init__(self, root: Path, allow_outside: bool) -> None:
        self._root = root
        self._allow_outside = allow_outside
        self._folders: dict[Path, tuple[Path, frozenset[str]]] = {}

    def find(self, line: str, where: str) -> Path | None:
        """Return the absolute path of an existing file, links and ``..`` of its folder resolved, else None.

        Args:
            line: How a list names it.
            where: The list and the line, for the message.

        Raises:
            LayoutError: It would lie outside the root, which is not looked into.
        """
        path = locate(line) if "://" in line else self._root / line
        if path.parent not in self._folders:
            if not (self._allow_outside or self._is_inside(path.parent)):
                raise LayoutError(
                    f"{where} names {line!r}, which is not below {self._root}. Write the paths relative to that "
                    "folder. If the list is your own and its images lie elsewhere, allow it: --layout CropLists "
                    "--layout.allow_outside true (of fit: data.layout)."
                )
            names = frozenset(entries(path.parent).files)
            self._folders[path.parent] = (path.parent.resolve(), names)
        folder, names = self._folders[path.parent]
        return folder / path.name if path.name in names else None

    def _is_inside(self, folder: Path) -> bool:
        """True for a folder below the root by its name, or by where the disk says that it is."""
        if is_remote(folder) or is_remote(self._root):
            return ".." not in str(folder).split("/") and f"{folder}/".startswith(f"{str(self._root).rstrip('/')}/")
        root = self._root.resolve()
        if ".." not in folder.parts and (folder.is_relative_to(self._root) or folder.is_relative_to(root)):
            return True  # links on the way are the user's, as in all layouts
        return folder.resolve().is_relative_to(root)


def _read(path: Path, disk: _Disk, problems: list[str]) -> set[Path]:
    """Return the existing images of a list."""
    numbered = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    lines = [line for _, line in numbered]
    if not lines:
        problems.append(f"{path.name} is empty")
        return set()
    found = [disk.find(line, f"{path}, line {number},") for number, line in numbered]
    if missing := [line for line, image in zip(lines, found, strict=True) if image is None]:
        if len(missing) == len(lines):
            raise LayoutError(
                f"{path} names {tally(missing, 'image')} and none exists: write the paths relative to {path.parent}."
            )
        problems.append(f"{path.name}: {tally(missing, 'image')} not on disk")
    images = {image for image in found if image is not None}
    if repeated := len(lines) - len(missing) - len(images):
        problems.append(f"{path.name}: {repeated:,} lines repeat an image and are skipped")
    return images


def _records(name: str, images: set[Path], problems: list[str]) -> list[VideoRecord]:
    split, label = _LISTS[name]
    videos: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    strange = []
    for image in images:
        if match := _CROP_NAME.fullmatch(image.name):
            videos[match["video"]].append((int(match["number"]), image))
        else:
            strange.append(image.name)
    problems += skipped(name, sorted(strange), "image", "not named <video>.mp4_face_<n>.jpg")
    return [
        VideoRecord(
            dataset=CropLists.name,
            method="original" if label == REAL else "fake",
            compression="",
            video=f"{video}@{split}",
            label=label,
            kind="crops",
            files=tuple(image for _, image in sorted(crops)),
            identities=(video,),
            official_split=split,
        )
        for video, crops in videos.items()
    ]
