"""Aligned pairs: a folder of originals, one of fakes made of them, and where there are some one of masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from resgat_pl.core.types import FAKE, REAL, MediaKind, VideoRecord, video_key
from resgat_pl.data.layouts.base import (
    Layout,
    entries,
    images_in,
    is_image,
    is_video,
    skipped,
    split_name,
)

_NAMES: Final = {"original": "original", "originals": "original", "fake": "fake", "mask": "mask", "masks": "mask"}
_BOUNDARY: Final = re.compile(r"[\W_]")


class _Clip(NamedTuple):
    """A video, an image, or a folder of images, and the name of the folder of its method; empty outside one."""

    method: str
    name: str
    kind: MediaKind
    files: tuple[Path, ...]


class Pairs(Layout):
    """Fakes beside the originals that they were made of, frame for frame and pixel for pixel; all to test on.

    ::

        original/{NAME.png, NAME.mp4, NAME/0000.png …}
        fake/[<method>/]{NAME.png, NAME.mp4, NAME/0000.png …}
        mask/[<method>/]{NAME.png, NAME.mp4, NAME/0000.png …}              (optional)

    A fake has the name of its original, or begins with it: ``519_515`` is made of ``519``. Its mask has the name of the
    fake, in the folder of the same method; white is what was manipulated. Where it has none, the mask is computed from
    the difference to the original (``extraction.difference_masks``). Images are full frames in which faces are looked
    for. Fakes outside a method folder have the method ``fake``. A folder in ``fake`` is a method unless an original
    has its name: then it is the frames of one video.

    A fake that is not aligned with its original is left out, with the measure: what is computed from pairs would be
    wrong of it. All videos have the official split ``test``.

    Args:
        cropped: Whether the pictures are faces that were cut out already, and are used as they are. A pair must have
            been cut alike.

    Example:
        >>> Pairs().matches(Path("/"))
        False
    """

    name = "pairs"
    expected = "original/ and fake/ with files of the same names"
    people_note = "names of files say nothing about who is in them"
    difference_masks = True

    def __init__(self, cropped: bool = False) -> None:
        self.cropped = cropped

    def matches(self, root: Path) -> bool:
        """See base class."""
        return {"original", "fake"} <= set(_places(root))

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        problems: list[str] = []
        places = _places(root)
        originals = {clip.name: clip for clip in _clips(places["original"], "", problems)}
        fakes = list(_with_methods(places["fake"], originals, problems))
        masks = {}
        if "mask" in places:
            known = {clip.name for clip in fakes}
            masks = {(clip.method, clip.name): clip for clip in _with_methods(places["mask"], known, problems)}
        records = [self._record(clip, clip.name) for clip in originals.values()]
        alone = []
        for clip in fakes:
            original = _original_of(clip.name, originals)
            if original is None:
                alone.append(f"{clip.method or 'fake'}/{clip.name}")
            else:
                records.append(self._record(clip, original, masks.pop((clip.method, clip.name), None)))
        problems += skipped("fake", alone, "fake", "without an original of the same name")
        if masks:
            names = sorted(f"{method or 'mask'}/{name}" for method, name in masks)
            problems += skipped("mask", names, "mask", "without a fake")
        return records, problems

    def _record(self, clip: _Clip, original: str, mask: _Clip | None = None) -> VideoRecord:
        is_original = clip.method == "original"
        return VideoRecord(
            dataset=self.name,
            method=clip.method or "fake",
            compression="",
            video=clip.name,
            label=REAL if is_original else FAKE,
            kind="crops" if self.cropped and clip.kind == "frames" else clip.kind,
            files=clip.files,
            identities=(original,),
            original=None if is_original else video_key(self.name, "original", "", original),
            official_split="test",
            mask=None if mask is None else mask.files[0] if len(mask.files) == 1 else mask.files[0].parent,
            pairing="given" if is_original else "aligned",
        )


def _places(root: Path) -> dict[str, Path]:
    """Folders by what they hold; none if this is the layout ``folder``, with real/ and fake/."""
    names = entries(root).folders
    if "real" in map(str.lower, names):
        return {}
    return {_NAMES[name.lower()]: root / name for name in names if name.lower() in _NAMES}


def _with_methods(folder: Path, known: Mapping[str, object] | set[str], problems: list[str]) -> Iterator[_Clip]:
    """The clips of a folder, in it or in folders of methods, which are those that have no known name."""
    for name in entries(folder).folders:
        inside = entries(folder / name)
        is_clip = _original_of(name, known) is not None and not inside.folders and not any(map(is_video, inside.files))
        if not is_clip:
            yield from _clips(folder / name, name, problems)
    yield from (clip for clip in _clips(folder, "", problems, known))


def _clips(
    folder: Path, method: str, problems: list[str], known: Mapping[str, object] | set[str] | None = None
) -> Iterator[_Clip]:
    """Videos, images and folders of images; of the folders those with a known name where names are given."""
    names = entries(folder)
    method = method or ("original" if known is None else "")
    seen: set[str] = set()
    twice, empty = [], []
    for file in (name for name in names.files if is_video(name) or is_image(name)):
        stem = split_name(file)[0]
        if stem in seen:
            twice.append(file)
            continue
        seen.add(stem)
        yield _Clip(method, stem, "video" if is_video(file) else "frames", (folder / file,))
    for name in names.folders:
        if name in seen or (known is not None and _original_of(name, known) is None):
            continue
        files = images_in(folder / name)
        if files:
            yield _Clip(method, name, "frames", files)
        elif known is None:
            empty.append(name)
    problems += skipped(folder.name, twice, "file", "another one has its name up to the suffix")
    problems += skipped(folder.name, empty, "folder", "without an image")


def _original_of(name: str, originals: Mapping[str, object] | set[str]) -> str | None:
    """The name of the original of a fake: its own, or its longest beginning that is one's."""
    starts = [name, *(name[: cut.start()] for cut in reversed(list(_BOUNDARY.finditer(name))))]
    return next((start for start in starts if start in originals), None)
