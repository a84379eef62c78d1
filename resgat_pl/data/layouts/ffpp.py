"""FaceForensics++ (Rössler et al., ICCV 2019), with DeepFakeDetection, FaceShifter and DeepfakeBench's frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.storage import locate
from resgat_pl.core.types import FAKE, REAL, MediaKind, VideoRecord, video_key
from resgat_pl.data.layouts.base import CountRow, Layout, best_media, entries, skipped, tally, videos_in
from resgat_pl.data.layouts.ffpp_official import official_split
from resgat_pl.data.layouts.ffpp_sources import SAME_SOURCE

_ORIGINALS: Final = "original_sequences"
_FAKES: Final = "manipulated_sequences"
_DFD: Final = "DeepFakeDetection"
_METHODS: Final = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", _DFD)
_COMPRESSIONS: Final = {"raw": "raw", "c0": "raw", "c23": "c23", "c40": "c40"}  # folder name to recorded name
_FRAMES: Final[dict[str, MediaKind]] = {"images": "frames", "frames": "crops"}
_FLAT: Final = {re.sub(r"\W|_", "", name).lower(): name for name in _METHODS}
_FLAT_ORIGINALS: Final = ("original", "originals", "youtube", "actors")
_BESIDE: Final = ("csv", "splits", "masks")
"""Folders of mirrors beside those of the methods."""

_REAL: Final = re.compile(r"\d{3}|\d\d__.+")
_YOUTUBE_FAKE: Final = re.compile(r"(\d{3})_(\d{3})")
_ACTOR_FAKE: Final = re.compile(r"(\d\d)_(\d\d)__(.+)__[A-Z0-9]{8}")


class _Source(NamedTuple):
    """A folder of a method's videos: in compression folders, or as they are."""

    method: str
    folder: Path


class _Place(NamedTuple):
    """The folder of the videos of a source in one compression."""

    compression: str
    folder: Path


class FFPP(Layout):
    """FaceForensics++ as its download script leaves it, or flat, as mirrors hand it out.

    ::

        original_sequences/{youtube,actors}/{raw|c0,c23,c40}/videos/*.mp4
        manipulated_sequences/<Method>/{raw|c0,c23,c40}/videos/*.mp4
        manipulated_sequences/<Method>/masks/videos/*.mp4
        splits/{train,val,test}.json                                       (optional)

    ::

        {original,youtube,actors}/*.mp4                   also with {raw|c0,c23,c40}/videos/ or videos/ between
        {Deepfakes,Face2Face,FaceSwap,NeuralTextures,FaceShifter,DeepFakeDetection}/*.mp4      in any spelling

    Nothing says which compression flat files have (mirrors mostly hand out c23): it stays empty unless ``compressions``
    names one.

    Beside ``videos/`` there may be ``images/<video>/0000.png`` (full frames, written by the official script) or
    ``frames/<video>/000.png`` (face crops, written by DeepfakeBench). Where the same video exists in several of these
    forms, the video wins over full frames and these over crops. Mask videos lie in full-frame pixels, so crops get
    none. ``c0`` is recorded as ``raw``.

    A fake is named ``<target>_<source>`` and has both as identities; its original is the target in the same
    compression. In DeepFakeDetection the identities are the actors, and the original is ``<target>__<scene>``.

    The official split (``[["071", "054"], …]`` in each of three JSON files) does not come with the videos. The user's
    files win; else the official ones, which come with this program, are taken where they fit what is on the disk
    (``ffpp_official``). Otherwise ``official_split`` stays None, and a problem line says why.

    Args:
        methods: Manipulation methods to take, by folder name; None takes all there are. Originals always come along:
            the actors for DeepFakeDetection, the YouTube clips for every other method.
        compressions: Compressions to take, of ``raw``, ``c23`` and ``c40``; None takes the only one there is. Of a
            flat copy: the one that it has.
        splits: Folder that holds ``train.json``, ``val.json`` and ``test.json``; None looks in the ``splits`` folder
            of the root, then in the root itself, and then takes the official ones.

    Example:
        >>> FFPP().matches(Path("/"))
        False
    """

    name = "ffpp"
    people = True
    people_note = ""
    same_source = SAME_SOURCE
    expected = (
        f"{_ORIGINALS}/ or {_FAKES}/ with {{raw,c23,c40}}/videos/*.mp4 two levels below, or original/ and "
        f"{', '.join(f'{name}/' for name in _METHODS[:2])} … with *.mp4"
    )
    # 1000 YouTube clips and as many fakes of each method: dataset/README.md of the authors' repository (FaceShifter was
    # added in 2020). 363 clips of actors and 3068 fakes of them: Table 1 of the Celeb-DF paper (Li et al., 2020); the
    # repository says "over 363" and "over 3000".
    published: ClassVar[Mapping[str, int]] = {
        "original (youtube)": 1000,
        "original (actors)": 363,
        "Deepfakes": 1000,
        "Face2Face": 1000,
        "FaceSwap": 1000,
        "NeuralTextures": 1000,
        "FaceShifter": 1000,
        _DFD: 3068,
    }

    def __init__(
        self,
        *,
        methods: list[str] | None = None,
        compressions: list[str] | None = None,
        splits: str | Path | None = None,
    ) -> None:
        self.methods = methods
        self.compressions = compressions
        self.splits = None if splits is None else locate(splits)

    def matches(self, root: Path) -> bool:
        """See base class."""
        folders = entries(root).folders
        if not {_ORIGINALS, _FAKES}.isdisjoint(map(str.lower, folders)):
            return True
        return root.name.lower() != _FAKES and any(_flat_method(name) for name in folders)

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class.

        Raises:
            SplitError: An id stands in two of the official split files, or is none of FaceForensics++.
        """
        problems: list[str] = []
        sources = self._sources(root, problems)
        chosen = self._chosen_compressions(sources)
        records = [record for source in sources for record in self._records(source, chosen, problems)]
        official = official_split(root, self.splits, records, problems)
        if not official:
            return records, problems
        divided, crossing = [], []
        for record in records:
            splits = {official.get(name) for name in record.identities}
            if len(splits) > 1:
                crossing.append(record.key)
            divided.append(replace(record, official_split=splits.pop() if len(splits) == 1 else None))
        if crossing:
            problems.append(f"{tally(crossing, 'video')} without an official split: its ids are not in one split")
        return divided, problems

    def counted_as(self, video: VideoRecord) -> str | None:
        """Distinguish the two kinds of originals, which come in other numbers, by the scene in an actor's name."""
        if video.method != "original":
            return video.method
        return f"original ({'actors' if '__' in video.video else 'youtube'})"

    def compare_counts(self, videos: Sequence[VideoRecord]) -> list[CountRow]:
        """See base class; what ``methods`` leaves out is not missing and has no row."""
        return [row for row in super().compare_counts(videos) if row.found or self.methods is None]

    def _sources(self, root: Path, problems: list[str]) -> list[_Source]:
        tops = {name.lower(): root / name for name in entries(root).folders}
        nested = tops.get(_FAKES, root / _FAKES)
        fakes = [_Source(name, nested / name) for name in entries(nested).folders]
        flat = {name: _flat_method(name) for name in entries(root).folders}
        fakes += [_Source(method, root / name) for name, method in flat.items() if method]
        there = list(dict.fromkeys(source.method for source in fakes))
        methods = there if self.methods is None else self.methods
        if unknown := [name for name in methods if name not in there]:
            raise LayoutError(
                f"No method {', '.join(unknown)} in {nested if nested.name in entries(root).folders else root}: there "
                f"are {', '.join(there) or 'none'}. Correct `methods` (originals come along without being named) or "
                "download what is missing."
            )
        wanted = {"actors" if method == _DFD else "youtube" for method in methods}
        if self.methods is None:
            wanted = {"actors", "youtube"}
        originals = _originals(tops, wanted, problems)
        known = (*_FLAT_ORIGINALS, *_BESIDE, _ORIGINALS, _FAKES)
        strange = [name for name in flat if not flat[name] and name.lower() not in known]
        if strange and any(flat.values()):
            problems.append(f"{tally(strange, 'folder')} of {root.name}/ unknown and not taken")
        return [*originals, *(source for source in fakes if source.method in methods)]

    def _chosen_compressions(self, sources: Sequence[_Source]) -> list[str]:
        present = sorted({place.compression for source in sources for place in self._places(source)})
        if self.compressions is None:
            if len(present) > 1:
                names = [name or "one that is not known (videos outside raw/, c23/ and c40/)" for name in present]
                raise LayoutError(
                    f"FaceForensics++ is there in {len(present)} compressions, {', '.join(names)}: choose with "
                    f"`compressions` of the FFPP layout, for example `compressions: [{present[-1]}]`."
                )
            return present
        chosen = [_COMPRESSIONS.get(name, name) for name in self.compressions]
        if strange := [name for name in chosen if name not in _COMPRESSIONS.values()]:
            raise LayoutError(
                f"No compression {', '.join(strange)}: `compressions` of the FFPP layout knows raw, c23 and c40."
            )
        if absent := [name for name in chosen if name not in present]:
            named = ", ".join(name or "one that is not known: name one alone, to say which it is" for name in present)
            raise LayoutError(
                f"No videos in compression {', '.join(absent)}: there are {named or 'none'}. "
                "Correct `compressions` or download what is missing."
            )
        return sorted(set(chosen))

    def _places(self, source: _Source) -> list[_Place]:
        """The folders of a source that hold anything, by compression."""
        folder = source.folder
        found = [
            _Place(_COMPRESSIONS[name], folder / name)
            for name in entries(folder).folders
            if name in _COMPRESSIONS and _holds_media(folder / name)
        ]
        if videos_in(folder) or _holds_media(folder):
            named = self.compressions if self.compressions is not None and len(self.compressions) == 1 else [""]
            found.append(_Place(_COMPRESSIONS.get(named[0], named[0]), folder))
        return found

    def _records(self, source: _Source, chosen: Sequence[str], problems: list[str]) -> Iterator[VideoRecord]:
        where = f"{source.folder.parent.name}/{source.folder.name}"
        masks = dict(videos_in(source.folder / "masks" / "videos")) if source.method != "original" else {}
        places = self._places(source)
        there = {place.compression for place in places}
        problems += [f"{where} has nothing in compression {name}" for name in chosen if name not in there]
        if beside := [name for name in entries(source.folder).folders if not places and _parse(source.method, name)]:
            problems.append(
                f"{where}: {tally(beside, 'folder')} not taken: put them into {source.folder.name}/images/ if they "
                "hold full frames, or into frames/ if they hold cut out faces"
            )

        # The videos, by what their names say.
        strange, empty, seen = [], [], set()
        for place in places:
            if place.compression not in chosen:
                continue
            folder = place.folder
            inside = "" if folder == source.folder else f"{folder.name}/"
            forms = {folder / form: kind for form, kind in _FRAMES.items()}
            for video, kind, files in best_media([folder / "videos", folder], forms):
                parsed = _parse(source.method, video)
                if parsed is None:
                    strange.append(f"{inside}{video}")
                    continue
                if not files:
                    empty.append(f"{inside}{video}")
                    continue
                identities, target = parsed
                seen.add(video)
                yield VideoRecord(
                    dataset=FFPP.name,
                    method=source.method,
                    compression=place.compression,
                    video=video,
                    label=REAL if target is None else FAKE,
                    kind=kind,
                    files=files,
                    identities=identities,
                    original=None if target is None else video_key(FFPP.name, "original", place.compression, target),
                    mask=None if kind == "crops" else masks.get(video),
                )
        problems += skipped(where, strange, "video", "named unlike FaceForensics++")
        problems += skipped(where, empty, "folder", "without an image")
        if orphans := sorted(masks.keys() - seen):
            problems.append(f"{where}: {tally(orphans, 'mask')} without a video")


def _flat_method(folder: str) -> str | None:
    """The method whose videos a folder holds by its name, in whatever spelling: ``neural_textures``."""
    return _FLAT.get(re.sub(r"\W|_", "", folder).lower())


def _originals(tops: Mapping[str, Path], wanted: set[str], problems: list[str]) -> list[_Source]:
    """Folders of genuine videos: below ``original_sequences/``, in it, or beside the methods."""
    found = []
    if _ORIGINALS in tops:
        top = tops[_ORIGINALS]
        names = entries(top).folders
        found = [_Source("original", top / name) for name in names if name in wanted]
        if videos_in(top) or any(name in (*_COMPRESSIONS, "videos") for name in names):
            found.append(_Source("original", top))
        known = ("actors", "youtube", "videos", *_COMPRESSIONS, *_FRAMES)
        if strange := [name for name in names if name not in known]:
            problems.append(f"{tally(strange, 'folder')} of {_ORIGINALS}/ unknown: only youtube and actors are taken")
    for name in _FLAT_ORIGINALS:
        if name in tops and wanted & ({name} if name in ("youtube", "actors") else {"youtube", "actors"}):
            found.append(_Source("original", tops[name]))
    return found


def _holds_media(folder: Path) -> bool:
    return any(any(entries(folder / form)) for form in ("videos", *_FRAMES))


def _parse(method: str, video: str) -> tuple[tuple[str, ...], str | None] | None:
    """Read (identities, name of the original or None) from a video's name; None if the name is strange."""
    if method == "original":
        return ((video.partition("__")[0],), None) if _REAL.fullmatch(video) else None
    if match := _YOUTUBE_FAKE.fullmatch(video):
        return (match[1], match[2]), match[1]
    if match := _ACTOR_FAKE.fullmatch(video):
        return (match[1], match[2]), f"{match[1]}__{match[3]}"
    return None
