"""The plainest layout: a folder of real and a folder of fake videos or images."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, REAL, MediaKind, Split, VideoRecord
from resgat_pl.data.layouts.base import (
    Entries,
    Layout,
    entries,
    images_in,
    is_image,
    is_video,
    skipped,
    split_name,
    tally,
)
from resgat_pl.data.layouts.same_files import SAME_FILE, same_files

_LABELS: Final = {"real": REAL, "fake": FAKE}
_SPLITS: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_BOUNDARY: Final = re.compile(r"[\W_]")
_SERIES: Final = 20
"""More fakes of one method are not named after one genuine video: it is a series that is counted up."""


class _Class(NamedTuple):
    """A ``real`` or ``fake`` folder."""

    split: Split | None
    label: int
    path: Path


class _Clip(NamedTuple):
    """A video, an image, or a folder of images; ``name`` is the stem, or the file's name where others share that."""

    method: str
    name: str
    stem: str
    kind: MediaKind
    files: tuple[Path, ...]


class Folder(Layout):
    """Videos or images in ``real`` and ``fake``, in capitals or not.

    ::

        [train/ val/ test/]real/{clip.mp4, image.png, clip/0000.png …}
        [train/ val/ test/]fake/[<method>/]{clip.mp4, image.png, clip/0000.png …}

    Each video file, each single image and each folder of images is one video; images are full frames. A folder in
    ``fake`` is a method if it holds videos or folders. If it holds only images it is the frames of one video, unless
    ``real`` holds single images too: then it is a method of single images. Fakes outside a method folder have the
    method ``fake``.

    A fake may have been made from the real one of its name in the same split, or of the beginning of its name
    (``000_003`` or ``000-fake`` of ``000``). With ``pairs`` ``auto`` it counts as its
    original, whose frames and boxes it is cut with, where the pixels agree outside the faces; ``resgat extract`` says
    how many do. Names that collections merely count up mean nothing: such a fake is cut by its own faces, and shares
    an identity with other fakes of its name only. Apart from that, videos with the same name in the same split share an
    identity; files that differ in the suffix alone are called by their whole names.

    Folders ``train`` (``training``), ``val`` (``valid``, ``validation``, ``dev``) and ``test`` (``testing``) prescribe
    the split, and the video is then called ``<name>@<split>``, as the same name may stand in several. Whether such
    files are the same is read from them: those of one content share an identity, so that they count as a leak, and
    others do not.

    Args:
        people: Whether the names are those of people, so that one name is one person in all splits, and different
            names are different people. Else it is unknown who is in a file.
        pairs: Whether names pair fakes with originals: ``auto``, where the pixels agree; ``names``, the same name
            always; ``none``, never, and then, unless names are people, no fake shares an identity with a real one.

    Example:
        >>> Folder().matches(Path("/"))
        False
    """

    name = "folder"
    expected = "real/ and fake/, or train/, val/, test/ with these in them"
    people_note = "names of files say nothing about who is in them; if yours name people: --layout.people true"

    def __init__(self, people: bool = False, pairs: Literal["auto", "names", "none"] = "auto") -> None:
        self.people = people
        if pairs not in {"auto", "names", "none"}:
            raise ConfigError(f"layout.pairs is {pairs!r}; it must be auto, names or none.")
        self.pairs = pairs

    def matches(self, root: Path) -> bool:
        """See base class."""
        return bool(_classes(root))

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        problems: list[str] = []
        records: list[VideoRecord] = []
        originals = _Originals()
        classes = _classes(root)
        reals = [place.path for place in classes if place.label == REAL]
        single_images = any(is_image(name) for path in reals for name in entries(path).files)
        for place in sorted(classes, key=lambda place: place.label):  # real first, so that fakes find their original
            clips = list(_clips(place, single_images, problems))
            named_after = originals.suggested(place, clips) if place.label == FAKE and self.pairs == "auto" else {}
            for clip in clips:
                at = f"@{place.split}" if place.split else ""
                video = f"{clip.name}{at}"
                original = originals.get(place, clip) if place.label == FAKE and self.pairs != "none" else None
                is_apart = place.label == FAKE and self.pairs == "none" and not self.people
                # Without an original of its whole name, the beginning of the name may suggest one.
                after = named_after.get(clip.stem) if original is None else None
                if after is not None:
                    original = originals.get(place, clip._replace(stem=after))
                name = clip.stem if self.people else f"{after or clip.stem}{at}"
                record = VideoRecord(
                    dataset=self.name,
                    method=clip.method,
                    compression="",
                    video=video,
                    label=place.label,
                    kind=clip.kind,
                    files=clip.files,
                    identities=(f"{clip.method}/{name}" if is_apart else name,),
                    original=original,
                    official_split=place.split,
                    pairing="given" if original is None else "asked" if self.pairs == "names" else "name",
                )
                if place.label == REAL:
                    originals.add(place, clip, record.key)
                records.append(record)
        if beside := _not_taken(root, classes):
            problems.append(f"{tally(beside, 'folder')} with images or videos not taken: no real/ or fake/ of a split")
        return _tie_same_files(records, problems, names_mean=self.pairs != "none"), problems


class _Originals:
    """Keys of the genuine videos by how fakes may be named after them."""

    def __init__(self) -> None:
        self._keys: dict[tuple[Split | None, str, str], str] = {}

    def add(self, place: _Class, clip: _Clip, key: str) -> None:
        for how in (clip.files[0].name, clip.kind, ""):
            self._keys.setdefault((place.split, clip.stem, how), key)

    def get(self, place: _Class, clip: _Clip) -> str | None:
        """That of the same name in the same split; of several the one of the same suffix, or else kind."""
        hows = (clip.files[0].name, clip.kind, "")
        return next((key for how in hows if (key := self._keys.get((place.split, clip.stem, how)))), None)

    def suggested(self, place: _Class, clips: Sequence[_Clip]) -> dict[str, str]:
        """By the stem of a fake that of the genuine video it may be named after: ``000_003``, ``x-fake`` of ``x``."""
        found = {}
        for stem in {clip.stem for clip in clips}:
            starts = [stem[: cut.start()] for cut in _BOUNDARY.finditer(stem)]
            after = next((start for start in reversed(starts) if (place.split, start, "") in self._keys), None)
            if after is not None:
                found[stem] = after
        series = Counter(found.values())
        return {stem: after for stem, after in found.items() if series[after] <= _SERIES}


def _not_taken(root: Path, classes: Sequence[_Class]) -> list[str]:
    """Folders beside those of the classes that hold media, or folders of media."""
    taken = {place.path for place in classes} | {place.path.parent for place in classes}
    places = sorted({root, *(place.path.parent for place in classes)})
    beside = [folder / name for folder in places for name in entries(folder).folders if folder / name not in taken]
    return [path.relative_to(root).as_posix() for path in beside if _has_media(path)]


def _has_media(folder: Path) -> bool:
    names = entries(folder)
    levels = [names, *(entries(folder / name) for name in names.folders[:8])]
    return any(is_video(name) or is_image(name) for level in levels for name in level.files)


def _tie_same_files(records: list[VideoRecord], problems: list[str], names_mean: bool) -> list[VideoRecord]:
    """Give files of one name and content in several splits an identity in common."""
    by_name: dict[str, list[VideoRecord]] = defaultdict(list)
    for record in records:
        by_name[record.video.rpartition("@")[0]].append(record)
    shared = {name: alike for name, alike in by_name.items() if len({record.official_split for record in alike}) > 1}
    ties: dict[Path, str] = {}
    same, called_both = [], []
    for name, alike in shared.items():
        for digest, copies in same_files(alike).items():
            same.append(name)
            if len({record.label for record in copies}) > 1:
                called_both.append(name)
            ties |= {record.files[0]: f"{SAME_FILE}{name} ({digest[:8]})" for record in copies}
    if same:
        problems.append(f"{tally(sorted(same), 'file')} in more than one split, with the same content: these leak")
    if called_both:
        problems.append(f"{tally(sorted(called_both), 'file')} both in real/ and in fake/, with the same content")
    if names_mean and (others := sorted(shared.keys() - set(same))):
        problems.append(
            f"{tally(others, 'name')} in more than one split, with other content: taken for other files. If these show "
            "the same people, it leaks"
        )
    return [
        replace(record, identities=(*record.identities, ties[record.files[0]])) if record.files[0] in ties else record
        for record in records
    ]


def _classes(root: Path) -> list[_Class]:
    found = []
    folders = entries(root).folders
    names = {name.lower() for name in folders}
    if "fake" in names and "real" not in names and names & {"original", "originals"}:
        return []  # the layout ``pairs``
    for name in folders:
        if name.lower() in _LABELS:
            found.append(_Class(None, _LABELS[name.lower()], root / name))
        elif split := _SPLITS.get(name.lower()):
            inner = [label for label in entries(root / name).folders if label.lower() in _LABELS]
            found += [_Class(split, _LABELS[label.lower()], root / name / label) for label in inner]
    return found


def _clips(place: _Class, single_images: bool, problems: list[str]) -> Iterator[_Clip]:
    """Yield what is in one ``real`` or ``fake`` folder, the methods of a ``fake`` folder included."""
    names = entries(place.path)
    if place.label == REAL:
        yield from _listed("original", place.path, names, problems)
        return
    methods = [name for name in names.folders if _is_method(entries(place.path / name), single_images)]
    outside = Entries([name for name in names.folders if name not in set(methods)], names.files)
    yield from _listed("fake", place.path, outside, problems)
    for method in methods:
        yield from _listed(method, place.path / method, entries(place.path / method), problems)


def _is_method(inside: Entries, single_images: bool) -> bool:
    return bool(inside.folders) or any(is_video(name) or (single_images and is_image(name)) for name in inside.files)


def _listed(method: str, folder: Path, names: Entries, problems: list[str]) -> Iterator[_Clip]:
    media = [name for name in names.files if is_video(name) or is_image(name)]
    stems = Counter([*(split_name(name)[0] for name in media), *names.folders])
    for name in media:
        stem = split_name(name)[0]
        kind: MediaKind = "video" if is_video(name) else "frames"
        yield _Clip(method, name if stems[stem] > 1 else stem, stem, kind, (folder / name,))
    empty, deeper = [], []
    for name in names.folders:
        if images := images_in(folder / name):
            yield _Clip(method, name, name, "frames", images)
        elif any(map(is_video, entries(folder / name).files)):
            deeper.append(name)
        else:
            empty.append(name)
    where = f"{folder.parent.name}/{folder.name}"
    if deeper:
        problems.append(f"{where}: {tally(deeper, 'folder')} skipped with the videos in it: move these up")
    problems += skipped(where, empty, "folder", "without an image")
