"""The preview of the Deepfake Detection Challenge (Dolhansky et al., 2019), whose people are known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final, NamedTuple

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord
from resgat_pl.data.layouts.base import Layout, entries, is_video, read_json, split_name, tally

_LIST: Final = "dataset.json"
_REALS: Final = "original_videos"
_FAKES: Final = ("method_A", "method_B")
_SPLITS: Final[dict[str, Split]] = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_ENTRY: Final = '{"label": "real" or "fake", "set": "train" or "test", "target_id": …, "swapped_id": …}'


class _Truth(NamedTuple):
    """The entry of one video in the list."""

    label: int
    split: Split | None
    people: tuple[str, ...]


class DFDCPreview(Layout):
    """The DFDC preview set as it is downloaded.

    ::

        dataset.json                        {"method_A/…/x.mp4": {"label": "fake", "set": "train", "target_id": …,
                                            "swapped_id": …}, …}
        original_videos/**/*.mp4            genuine
        method_A/**/*.mp4, method_B/**/*.mp4

    The identities are the people: who is seen (``target_id``), and of a fake also whose face was put in
    (``swapped_id``). Which clip a fake was made from is not said, so that none has an original. The list prescribes
    the official split, ``train`` or ``test``. A video is called by its file's name, or by its path in the method's
    folder where that name is there twice.

    Example:
        >>> DFDCPreview().matches(Path("/"))
        False
    """

    name = "dfdc_preview"
    expected = f"{_LIST} with {_REALS}/ and {'/, '.join(_FAKES)}/"
    people = True
    people_note: ClassVar[str] = "the list does not name the people of some of its videos"

    def matches(self, root: Path) -> bool:
        """See base class."""
        folders, files = entries(root)
        return _LIST in files and not {_REALS, *_FAKES}.isdisjoint(folders)

    def knows_people(self, video: VideoRecord) -> bool:
        """See base class; a video whose people are not listed has its own name as its identity."""
        return video.video not in video.identities

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        truths = _read_list(root / _LIST)
        names = Counter((_method(path), split_name(PurePosixPath(path).name)[0]) for path in truths)
        listed: dict[PurePosixPath, set[str]] = {}
        records, absent = [], []
        # Each folder is listed once: asking for every file is slow on a network disk.
        for path, truth in truths.items():
            place = PurePosixPath(path)
            if place.parent not in listed:
                listed[place.parent] = set(entries(root / place.parent).files)
            if place.name not in listed[place.parent]:
                absent.append(path)
                continue
            method = _method(path)
            stem = split_name(place.name)[0]
            inner = "/".join(place.parts[1:])
            video = stem if names[method, stem] == 1 else split_name(inner)[0].replace("/", "+")
            records.append(
                VideoRecord(
                    dataset=self.name,
                    method="original" if truth.label == REAL else method,
                    compression="",
                    video=video,
                    label=truth.label,
                    kind="video",
                    files=(root / path,),
                    identities=truth.people or (video,),
                    official_split=truth.split,
                )
            )
        problems = [f"{tally(sorted(absent), 'video')} of {_LIST} not on disk"] if absent else []
        if unlisted := sorted(_on_disk(root) - truths.keys()):
            problems.append(f"{tally(unlisted, 'video')} skipped, missing from {_LIST}")
        return records, problems


def _method(path: str) -> str:
    return PurePosixPath(path).parts[0]


def _on_disk(root: Path) -> set[str]:
    """Paths of the videos in the folders of the set, up to three levels deep."""
    found: set[str] = set()
    level: list[str] = [name for name in (_REALS, *_FAKES) if name in entries(root).folders]
    for _ in range(3):
        deeper = []
        for folder in level:
            names = entries(root / folder)
            found |= {f"{folder}/{name}" for name in names.files if is_video(name)}
            deeper += [f"{folder}/{name}" for name in names.folders]
        level = deeper
    return found


def _read_list(path: Path) -> dict[str, _Truth]:
    listed = read_json(path, dict, f'an object of {{"method_A/…/<video>.mp4": {_ENTRY}}}')
    return {_inside(path, name): _read_entry(path, name, entry) for name, entry in listed.items()}


def _inside(path: Path, name: str) -> str:
    """The listed path in one form, below the root."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or len(place.parts) < 2:
        raise LayoutError(f"{path} names {name!r}, expected a path below its folder such as method_A/…/x.mp4.")
    return str(place)


def _read_entry(path: Path, name: str, entry: object) -> _Truth:
    match entry:
        case {"label": str(label), **rest} if label.lower() in ("real", "fake"):
            split = rest.get("set", rest.get("split"))
            ids = [rest.get("target_id"), rest.get("swapped_id")]
            known = [str(person) for person in ids if isinstance(person, int | str) and str(person)]
            fake = label.lower() == "fake"
            if fake and len(known) < len(ids):
                known = []  # of one of two people nothing is known
            if split is None or str(split).lower() in _SPLITS:
                return _Truth(FAKE if fake else REAL, _SPLITS.get(str(split).lower()), tuple(dict.fromkeys(known)))
    raise LayoutError(
        f"{path}, key {name!r}: {entry!r}, expected {_ENTRY}. Restore the file from the data set's archive."
    )
