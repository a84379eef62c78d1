"""FaceForensics++ (Rössler et al., ICCV 2019), with DeepFakeDetection, FaceShifter and DeepfakeBench's frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from resgat_pl.data.layouts.base import CountRow, Layout, entries, images_in, read_json, tally, videos_in
from resgat_pl.data.locations import absolute, locate
from resgat_pl.errors import LayoutError, SplitError
from resgat_pl.types import FAKE, REAL, MediaKind, Split, VideoRecord, video_key

_ORIGINALS: Final = "original_sequences"
_FAKES: Final = "manipulated_sequences"
_DFD: Final = "DeepFakeDetection"
_COMPRESSIONS: Final = {"raw": "raw", "c0": "raw", "c23": "c23", "c40": "c40"}  # folder name to recorded name
_SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
_FRAMES: Final[tuple[tuple[str, MediaKind], ...]] = (("images", "frames"), ("frames", "crops"))

_REAL: Final = re.compile(r"\d{3}|\d\d__.+")
_ID: Final = re.compile(r"\d{3}")
_YOUTUBE_FAKE: Final = re.compile(r"(\d{3})_(\d{3})")
_ACTOR_FAKE: Final = re.compile(r"(\d\d)_(\d\d)__(.+)__[A-Z0-9]{8}")


class _Source(NamedTuple):
    """A folder of the data set with compression folders in it."""

    method: str
    folder: Path


class FFPP(Layout):
    """FaceForensics++ as its download script leaves it.

    ::

        original_sequences/{youtube,actors}/{raw|c0,c23,c40}/videos/*.mp4
        manipulated_sequences/<Method>/{raw|c0,c23,c40}/videos/*.mp4
        manipulated_sequences/<Method>/masks/videos/*.mp4
        splits/{train,val,test}.json                                       (optional)

    Beside ``videos/`` there may be ``images/<video>/0000.png`` (full frames, written by the official script) or
    ``frames/<video>/000.png`` (face crops, written by DeepfakeBench). Where the same video exists in several of these
    forms, the video wins over full frames and these over crops. Mask videos lie in full-frame pixels, so crops get
    none. ``c0`` is recorded as ``raw``.

    A fake is named ``<target>_<source>`` and has both as identities; its original is the target in the same
    compression. In DeepFakeDetection the identities are the actors, and the original is ``<target>__<scene>``.

    The official split (``[["071", "054"], …]`` in each of three JSON files) does not come with the videos. Without
    it ``official_split`` stays None.

    Args:
        methods: Manipulation methods to take, by folder name; None takes all there are. Originals always come along:
            the actors for DeepFakeDetection, the YouTube clips for every other method.
        compressions: Compressions to take, of ``raw``, ``c23`` and ``c40``; None takes the only one there is.
        splits: Folder that holds ``train.json``, ``val.json`` and ``test.json``; None looks in the ``splits`` folder
            of the root and then in the root itself.
    """

    name = "ffpp"
    people = True
    people_note = ""
    expected = f"{_ORIGINALS}/ or {_FAKES}/ with {{raw,c23,c40}}/videos/*.mp4 two levels below"
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
        return not {_ORIGINALS, _FAKES}.isdisjoint(entries(root).folders)

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class.

        Raises:
            SplitError: An id stands in two of the official split files, or is none of FaceForensics++.
        """
        problems: list[str] = []
        official = self._official(root, problems)
        sources = self._sources(root, problems)
        chosen = self._chosen_compressions(sources)
        records = [record for source in sources for record in _records(source, chosen, official, problems)]
        youtube = {name for record in records for name in record.identities if len(name) == 3}
        if youtube and (absent := sorted(official.keys() - youtube)):
            problems.append(f"{tally(absent, 'id')} of the official split not on disk")
        return records, problems

    def counted_as(self, video: VideoRecord) -> str | None:
        """Tell the two kinds of originals apart, which come in other numbers, by the scene in an actor's name."""
        if video.method != "original":
            return video.method
        return f"original ({'actors' if '__' in video.video else 'youtube'})"

    def compare_counts(self, videos: Sequence[VideoRecord]) -> list[CountRow]:
        """See base class; what ``methods`` leaves out is not missing and has no row."""
        return [row for row in super().compare_counts(videos) if row.found or self.methods is None]

    def _sources(self, root: Path, problems: list[str]) -> list[_Source]:
        fakes = {name: root / _FAKES / name for name in entries(root / _FAKES).folders}
        methods = list(fakes) if self.methods is None else self.methods
        if unknown := [name for name in methods if name not in fakes]:
            msg = (
                f"No method {', '.join(unknown)} in {root / _FAKES}: there are {', '.join(fakes) or 'none'}. "
                "Correct `methods` (originals come along without being named) or download what is missing."
            )
            raise LayoutError(msg)
        wanted = {"actors" if method == _DFD else "youtube" for method in methods}
        if self.methods is None:
            wanted = {"actors", "youtube"}
        present = entries(root / _ORIGINALS).folders
        if strange := [name for name in present if name not in ("actors", "youtube")]:
            problems.append(f"{tally(strange, 'folder')} of {_ORIGINALS}/ unknown: only youtube and actors are taken")
        originals = [_Source("original", root / _ORIGINALS / name) for name in present if name in wanted]
        return [*originals, *(_Source(method, fakes[method]) for method in dict.fromkeys(methods))]

    def _chosen_compressions(self, sources: Sequence[_Source]) -> list[str]:
        present = sorted({_COMPRESSIONS[name] for source in sources for name in _compression_folders(source.folder)})
        if self.compressions is None:
            if len(present) > 1:
                msg = (
                    f"FaceForensics++ is there in {len(present)} compressions, {', '.join(present)}: choose with "
                    f"`compressions` of the FFPP layout, for example `compressions: [{present[0]}]`."
                )
                raise LayoutError(msg)
            return present
        chosen = [_COMPRESSIONS.get(name, name) for name in self.compressions]
        if absent := [name for name in chosen if name not in present]:
            msg = (
                f"No videos in compression {', '.join(absent)}: there are {', '.join(present) or 'none'}. "
                "Correct `compressions` or download what is missing."
            )
            raise LayoutError(msg)
        return sorted(set(chosen))

    def _official(self, root: Path, problems: list[str]) -> dict[str, Split]:
        """Read which split each YouTube id belongs to; empty where the files are missing."""
        folder = absolute(self.splits) if self.splits else root / "splits"
        files = {split: folder / f"{split}.json" for split in _SPLITS if f"{split}.json" in entries(folder).files}
        if not files and self.splits is not None:
            msg = f"None of train.json, val.json and test.json in {folder}: correct `splits` of the FFPP layout."
            raise LayoutError(msg)
        if not files:
            files = {split: root / f"{split}.json" for split in _SPLITS if f"{split}.json" in entries(root).files}
        if files and (missing := [f"{split}.json" for split in _SPLITS if split not in files]):
            problems.append(
                f"{', '.join(missing)} missing beside the other split files: its ids have no official split"
            )
        official: dict[str, Split] = {}
        for split, path in files.items():
            for name in _read_ids(path):
                if not _ID.fullmatch(name):
                    msg = (
                        f"{path} names the id {name!r}, which FaceForensics++ does not have: its ids are 000 to 999. "
                        "Restore the official files."
                    )
                    raise SplitError(msg)
                if official.setdefault(name, split) != split:
                    msg = f"The id {name} is in both {official[name]}.json and {path}: restore the official files."
                    raise SplitError(msg)
        return official


def _read_ids(path: Path) -> list[str]:
    expected = 'a list of pairs of ids such as [["071", "054"], ["087", "081"]]'
    pairs = read_json(path, expected)
    if not isinstance(pairs, list):
        msg = f"{path} holds a {type(pairs).__name__}: expected {expected}."
        raise LayoutError(msg)
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            msg = f"{path} holds {pair!r}: expected {expected}."
            raise LayoutError(msg)
    return [name for pair in pairs for name in pair]


def _compression_folders(folder: Path) -> list[str]:
    """Name the compression folders that hold anything."""
    forms = ("videos", *(form for form, _ in _FRAMES))
    return [
        name
        for name in entries(folder).folders
        if name in _COMPRESSIONS and any(any(entries(folder / name / form)) for form in forms)
    ]


def _records(
    source: _Source, chosen: Sequence[str], official: dict[str, Split], problems: list[str]
) -> Iterator[VideoRecord]:
    where = f"{source.folder.parent.name}/{source.folder.name}"
    masks = dict(videos_in(source.folder / "masks" / "videos")) if source.method != "original" else {}
    compressions = {name: _COMPRESSIONS[name] for name in _compression_folders(source.folder)}
    problems += [f"{where} has nothing in compression {name}" for name in chosen if name not in compressions.values()]
    strange, empty, crossing, seen = [], [], [], set()
    for folder, compression in compressions.items():
        if compression not in chosen:
            continue
        for video, kind, files in _media(source.folder / folder):
            parsed = _parse(source.method, video)
            if parsed is None:
                strange.append(f"{folder}/{video}")
                continue
            if not files:
                empty.append(f"{folder}/{video}")
                continue
            identities, target = parsed
            splits = {official.get(name) for name in identities}
            if len(splits) > 1:
                crossing.append(video)
            seen.add(video)
            yield VideoRecord(
                dataset=FFPP.name,
                method=source.method,
                compression=compression,
                video=video,
                label=REAL if target is None else FAKE,
                kind=kind,
                files=files,
                identities=identities,
                original=None if target is None else video_key(FFPP.name, "original", compression, target),
                official_split=splits.pop() if len(splits) == 1 else None,
                mask=None if kind == "crops" else masks.get(video),
            )
    if strange:
        problems.append(f"{where}: {tally(strange, 'video')} skipped, named unlike FaceForensics++")
    if empty:
        problems.append(f"{where}: {tally(empty, 'folder')} skipped, without an image")
    if crossing:
        problems.append(f"{where}: {tally(crossing, 'video')} without an official split: its ids are not in one split")
    if orphans := sorted(masks.keys() - seen):
        problems.append(f"{where}: {tally(orphans, 'mask')} without a video")


def _media(folder: Path) -> Iterator[tuple[str, MediaKind, tuple[Path, ...]]]:
    """Yield (video, kind, files) of one compression folder, each video in its best form only."""
    seen = set()
    for video, path in videos_in(folder / "videos"):
        seen.add(video)
        yield video, "video", (path,)
    for form, kind in _FRAMES:
        for video in entries(folder / form).folders:
            if video not in seen:
                files = images_in(folder / form / video)
                seen.update([video] * bool(files))  # an empty folder must not hide the next form
                yield video, kind, files


def _parse(method: str, video: str) -> tuple[tuple[str, ...], str | None] | None:
    """Read (identities, name of the original or None) from a video's name; None if the name is strange."""
    if method == "original":
        return ((video.partition("__")[0],), None) if _REAL.fullmatch(video) else None
    if match := _YOUTUBE_FAKE.fullmatch(video):
        return (match[1], match[2]), match[1]
    if match := _ACTOR_FAKE.fullmatch(video):
        return (match[1], match[2]), f"{match[1]}__{match[3]}"
    return None
