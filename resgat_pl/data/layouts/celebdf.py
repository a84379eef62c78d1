"""Celeb-DF v2 (Li et al., CVPR 2020), as downloaded or as DeepfakeBench's face crops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE, REAL, VideoRecord, video_key
from resgat_pl.data.layouts.base import Layout, best_media, entries, read_text, skipped, tally

_CELEB: Final = "Celeb-real"
_YOUTUBE: Final = "YouTube-real"
_FAKES: Final = "Celeb-synthesis"
_NAMES: Final = {
    _CELEB: re.compile(r"(id\d+)_\d{4}"),
    _YOUTUBE: re.compile(r"\d{5}"),
    _FAKES: re.compile(r"(id\d+)_(id\d+)_(\d{4})"),
}
_SPELLED: Final = {name.lower(): name for name in _NAMES}  # some write Youtube-real
_LIST: Final = "List_of_testing_videos.txt"
_LINE: Final = re.compile(r"([01])\s+([^/]+)/(?:videos/)?([^/]+)\.mp4")
_UNKNOWN: Final = "youtube "
"""Beginning of the identity of a video whose person is unknown."""
_FORMS: Final = ("videos", "frames", "landmarks", "masks")  # beside frames/, DeepfakeBench writes the last two


class CelebDF(Layout):
    """Celeb-DF v2 as it is downloaded.

    ::

        Celeb-real/id0_0000.mp4                 person 0, clip 0
        YouTube-real/00000.mp4                  other people, one clip each
        Celeb-synthesis/id0_id1_0000.mp4        clip id0_0000 with the face of person 1
        List_of_testing_videos.txt              "<label> <path>" a line, 1 = real

    The videos may also lie in a folder ``videos/`` of each of these. Beside them there may be
    ``frames/<video>/000.png`` (face crops, written by DeepfakeBench); where a video is there in both forms, the video
    wins.

    The genuine videos of both folders have the method ``original``. A fake has both people as its identities ("aa is
    the original id, bb is swapped id", says the author in issue 6 of the official repository) and the target's clip as
    its original, which need not be on disk. Nothing is known of the people of YouTube-real, so each video there is a
    separate identity.

    Listed videos have the official split ``test``, and the others none. **The list's label is the reverse of ours**;
    it is only checked against the folder. The published list has 518 videos, 178 real and 340 fake. It is a list of
    videos and not of people: most people of the data set are in it, also those of the videos that are not listed, so
    that it is meant for models trained on other data sets.

    Example:
        >>> CelebDF().matches(Path("/"))
        False
    """

    name = "celebdf"
    expected = f"{_CELEB}/, {_YOUTUBE}/ or {_FAKES}/ with *.mp4"
    # README.md of Celeb-DF-v2 in the authors' repository: 590 in Celeb-real and 300 in YouTube-real; 5639 fakes.
    published: ClassVar[Mapping[str, int]] = {"original": 590 + 300, _FAKES: 5639}
    people = True
    people_note = f"nothing says who is in the videos of {_YOUTUBE}; those of {_CELEB} and the fakes are known"

    def knows_people(self, video: VideoRecord) -> bool:
        """See base class; those of YouTube-real are unknown."""
        return not any(name.startswith(_UNKNOWN) for name in video.identities)

    def matches(self, root: Path) -> bool:
        """See base class."""
        return bool(_folders(root))

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        problems: list[str] = []
        listed: set[str] = set()
        if _LIST in entries(root).files:
            listed = _read_list(root / _LIST)
        else:
            problems.append(f"{_LIST} missing from the root: no video has an official split")
        records = [record for name, path in _folders(root) for record in _records(name, path, listed, problems)]
        if absent := sorted(listed - {record.key for record in records}):
            videos = tally((key.rpartition("/")[2] for key in absent), "video")
            problems.append(f"{videos} of {_LIST} not on disk")
        return records, problems


def _folders(root: Path) -> list[tuple[str, Path]]:
    """List (official name, path) of the data set's folders."""
    return [(_SPELLED[name.lower()], root / name) for name in entries(root).folders if name.lower() in _SPELLED]


def _key(folder: str, video: str) -> str:
    return video_key(CelebDF.name, _method(folder), "", video)


def _method(folder: str) -> str:
    return _FAKES if folder == _FAKES else "original"


def _read_list(path: Path) -> set[str]:
    """Return the keys of the listed videos.

    Raises:
        LayoutError: A line has another form, or calls a video real that lies among the fakes, or the reverse.
    """
    keys = set()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        folder = _SPELLED.get(match[2].lower()) if match else None
        if match is None or folder is None:
            raise LayoutError(
                f"{path}, line {number}: {line!r}, expected a label and a path such as '1 {_CELEB}/id0_0000.mp4' or "
                f"'0 {_FAKES}/id0_id1_0000.mp4'. Restore the file from the data set's archive."
            )
        if (match[1] == "0") != (folder == _FAKES):
            raise LayoutError(
                f"{path}, line {number}: {line!r} says {'real' if match[1] == '1' else 'fake'}, but {folder}/ holds "
                f"{'fake' if folder == _FAKES else 'real'} videos. In this list 1 is real and 0 is fake: correct the "
                "line, or restore the file from the data set's archive."
            )
        keys.add(_key(folder, match[3]))
    return keys


def _records(folder: str, path: Path, listed: set[str], problems: list[str]) -> Iterator[VideoRecord]:
    strange, empty = [], []
    for video, kind, files in best_media([path, path / "videos"], {path / "frames": "crops"}):
        match = _NAMES[folder].fullmatch(video)
        if match is None:
            strange.append(video)
            continue
        if not files:
            empty.append(video)
            continue
        fake = folder == _FAKES
        yield VideoRecord(
            dataset=CelebDF.name,
            method=_method(folder),
            compression="",
            video=video,
            label=FAKE if fake else REAL,
            kind=kind,
            files=files,
            identities=match.group(1, 2) if fake else (match[1] if folder == _CELEB else f"{_UNKNOWN}{video}",),
            original=_key(_CELEB, f"{match[1]}_{match[3]}") if fake else None,
            official_split="test" if _key(folder, video) in listed else None,
        )
    problems += skipped(path.name, strange, "video", "named unlike Celeb-DF")
    problems += skipped(path.name, empty, "folder", "without an image")
    # Celeb-DF++ has its fakes one level deeper, by method: they must not be left out in silence.
    deeper = [name for name in entries(path).folders if name not in _FORMS]
    problems += skipped(path.name, deeper, "folder", "unknown to Celeb-DF v2")
