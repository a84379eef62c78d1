"""Face crops in the form the paper's authors published theirs: images named after their video, and four lists."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple

from resgat_pl.data.layouts.base import Layout, entries, read_text, tally
from resgat_pl.data.locations import locate
from resgat_pl.errors import LayoutError
from resgat_pl.types import FAKE, REAL, Split, VideoRecord


class _List(NamedTuple):
    """What standing on a list means."""

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
    """Lists of face crops, one path a line, absolute or relative to the root: client is real, imposter is fake.

    ::

        {TRAIN,TEST}_{CLIENT,IMPOSTER}.txt
        **/<video>.mp4_face_<n>.jpg

    The crops of one video make one record of kind ``crops``, in the order of ``n`` and wherever they lie. The lists
    prescribe the split. They were cut by frame, so that one video can stand on a train and on a test list: the record
    is therefore called ``<video>@train`` or ``<video>@test``, and both share the video's name as their identity.
    """

    name = "crop_lists"
    expected = f"at least one of {', '.join(_LISTS)}"

    def matches(self, root: Path) -> bool:
        """See base class."""
        return not _LISTS.keys().isdisjoint(entries(root).files)

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        problems: list[str] = []
        disk = _Disk(root)
        files = set(entries(root).files)
        lists = {name: _read(root / name, disk, problems) for name in _LISTS if name in files}
        for one, other in combinations(lists, 2):
            if both := sorted(map(str, lists[one] & lists[other])):
                if _LISTS[one].label != _LISTS[other].label:
                    msg = f"{one} and {other} in {root} both name {both[0]}: a face is real or fake, correct the lists."
                    raise LayoutError(msg)
                problems.append(f"{tally(both, 'image')} on both {one} and {other}")
        return [record for name, images in lists.items() for record in _records(name, images, problems)], problems


class _Disk:
    """Tells which files exist by listing each folder once: a call for each of a million crops is slow on a share."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, tuple[Path, frozenset[str]]] = {}

    def find(self, line: str) -> Path | None:
        """Return the absolute path of an existing file, links and ``..`` of its folder resolved, else None."""
        path = locate(line) if "://" in line else self._root / line
        if path.parent not in self._folders:
            names = frozenset(entries(path.parent).files)
            self._folders[path.parent] = (path.parent.resolve(), names)
        folder, names = self._folders[path.parent]
        return folder / path.name if path.name in names else None


def _read(path: Path, disk: _Disk, problems: list[str]) -> set[Path]:
    """Return the existing images of a list."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        problems.append(f"{path.name} is empty")
        return set()
    found = [disk.find(line) for line in lines]
    if missing := [line for line, image in zip(lines, found, strict=True) if image is None]:
        if len(missing) == len(lines):
            msg = (
                f"{path} names {tally(missing, 'image')} and none exists: write the paths relative to {path.parent}, "
                "or absolute as they are on this machine."
            )
            raise LayoutError(msg)
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
    if strange:
        problems.append(f"{name}: {tally(sorted(strange), 'image')} skipped, not named <video>.mp4_face_<n>.jpg")
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
