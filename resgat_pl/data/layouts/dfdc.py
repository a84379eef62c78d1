"""Deepfake Detection Challenge (Dolhansky et al., 2020): training parts, Kaggle's sample, and the full test set."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord, video_key
from resgat_pl.data.layouts.base import Layout, entries, read_json, read_text, skipped, split_name, tally, videos_in

_PART: Final = re.compile(r"dfdc_train_part_0*(\d+)")
_SAMPLE: Final = "train_sample_videos"
_TESTS: Final = ("test_videos", "test", "videos", "test/videos")
_METADATA: Final = "metadata.json"
_LABEL_FILES: Final = (_METADATA, "labels.csv", "label.csv")
_EXPECTED_ENTRY: Final = '{"label": "REAL" or "FAKE", "original": name or null} or {"is_fake": 0 or 1}'


class _Truth(NamedTuple):
    """The entry of one video in a label file."""

    label: int
    original: str | None = None
    official_split: Split | None = None


class _Folder(NamedTuple):
    """A folder of videos and the places where its labels may lie, the best first."""

    path: Path
    label_places: tuple[Path, ...]


class DFDC(Layout):
    """Deepfake Detection Challenge as it is downloaded, whole or in part.

    ::

        [train/]dfdc_train_part_<n>/{*.mp4,metadata.json}     n may be zero-padded; may be nested twice by unpacking
        train_sample_videos/{*.mp4,metadata.json}
        test[_videos]/[videos/]*.mp4                          with metadata.json, labels.csv or label.csv in the same
                                                              folder or in one above it

    The root may also be one such folder itself. A video is known by its own name and by its original's, and these
    names are its identities, which are clips and not people (``people_note``); the original need not be on disk. Videos
    labelled by ``labels.csv`` or by ``is_fake`` are the official test set. Videos without a label are left out with a
    problem line. ``part`` is the folder's name without zero-padding. A video of the sample that is also in a part is
    taken from the part.

    Example:
        >>> DFDC().matches(Path("/"))
        False
    """

    name = "dfdc"
    max_faces = 2  # many clips show two people, one of whom was altered
    expected = "dfdc_train_part_<n>/, train_sample_videos/ or test_videos/, or *.mp4 with metadata.json or labels.csv"
    # Dolhansky et al. (2020), on the training set, which is the 50 parts together: 119,154 clips, 100,000 of them fake.
    published: ClassVar[Mapping[str, int]] = {"original": 119_154 - 100_000, "dfdc": 100_000}
    # Dolhansky et al. (2020): 486 people in the training set, 260 in the test set, half of whom are in training too.
    people_note = (
        "its identities are clips, about 39 of each of 486 people; who is in which clip is not published, and half of "
        "the people of the official test set are in the training parts"
    )

    def matches(self, root: Path) -> bool:
        """See base class."""
        own = {folder.path for folder in _parts(root)} | {root / _SAMPLE, root / "test_videos"}
        return any(folder.path in own or _label_file(folder) for folder in _folders(root))

    def counted_as(self, video: VideoRecord) -> str | None:
        """Count the training parts only: the numbers are those of all 50, without the sample and the test sets."""
        return video.method if _PART.fullmatch(video.part) else None

    def scan(self, root: Path) -> tuple[list[VideoRecord], list[str]]:
        """See base class."""
        problems: list[str] = []
        truths: dict[Path, dict[str, _Truth]] = {}
        absent: dict[Path, set[str]] = {}
        records: list[VideoRecord] = []
        for folder in _folders(root):
            where = folder.path.name if folder.path == root else folder.path.relative_to(root).as_posix()
            videos = {path.name: path for _, path in videos_in(folder.path)}
            labels = _label_file(folder)
            if labels is None:
                problems += skipped(where, [*videos], "video", f"no {' or '.join(_LABEL_FILES)}")
                continue
            if labels not in truths:
                truths[labels] = _read_metadata(labels) if labels.name == _METADATA else _read_csv(labels)
            truth = truths[labels]
            absent[labels] = absent.get(labels, set(truth)) - videos.keys()
            unlabelled = [name for name in videos if name not in truth]
            problems += skipped(where, unlabelled, "video", f"missing from {labels.name}")
            records += _records({videos[name]: truth[name] for name in videos if name in truth}, folder.path.name)
        problems += [
            f"{tally(sorted(names), 'video')} of {labels.relative_to(root)} not on disk"
            for labels, names in absent.items()
            if names
        ]
        return records, problems


def _folders(root: Path) -> list[_Folder]:
    """List the folders that hold videos, training parts first."""
    tests = [root / name for name in _TESTS]
    candidates = [
        *_parts(root),
        _Folder(root / _SAMPLE, (root / _SAMPLE,)),
        _Folder(root, (root,)),
        *(_Folder(test, (test, *(folder for folder in test.parents if folder.is_relative_to(root)))) for test in tests),
    ]
    return [folder for folder in candidates if any(name.endswith(".mp4") for name in entries(folder.path).files)]


def _parts(root: Path) -> Iterator[_Folder]:
    for place in (root, root / "train"):
        for name in sorted(filter(_PART.fullmatch, entries(place).folders), key=_part_name):
            inner = [name for name in entries(place / name).folders if _PART.fullmatch(name)]
            for path in (place / name, *(place / name / nested for nested in inner)):
                yield _Folder(path, (path,))


def _part_name(folder: str) -> str:
    """Write ``dfdc_train_part_07`` as ``dfdc_train_part_7``, so that splits do not depend on the padding."""
    match = _PART.fullmatch(folder)
    return f"dfdc_train_part_{match[1]}" if match else folder


def _label_file(folder: _Folder) -> Path | None:
    return next(
        (place / name for place in folder.label_places for name in _LABEL_FILES if (place / name).is_file()), None
    )


def _records(truths: dict[Path, _Truth], folder: str) -> Iterator[VideoRecord]:
    for path, truth in truths.items():
        video = split_name(path.name)[0]
        original = truth.original and split_name(truth.original)[0]
        yield VideoRecord(
            dataset=DFDC.name,
            method="original" if truth.label == REAL else "dfdc",
            compression="",
            video=video,
            label=truth.label,
            kind="video",
            files=(path,),
            identities=(original or video,),
            original=video_key(DFDC.name, "original", "", original) if original and truth.label == FAKE else None,
            part=_part_name(folder),
            official_split=truth.official_split,
        )


def _read_metadata(path: Path) -> dict[str, _Truth]:
    metadata = read_json(path, dict, f'an object of {{"<video>.mp4": {_EXPECTED_ENTRY}}}')
    return {name: _read_entry(path, name, entry) for name, entry in metadata.items()}


def _read_entry(path: Path, name: str, entry: object) -> _Truth:
    match entry:
        case {"label": "REAL" | "FAKE" as label, **rest} if isinstance(original := rest.get("original"), str | None):
            return _Truth(FAKE if label == "FAKE" else REAL, original or None)
        case {"is_fake": 0 | 1 as label}:
            return _Truth(FAKE if label else REAL, official_split="test")
    raise LayoutError(
        f"{path}, key {name!r}: {entry!r}, expected {_EXPECTED_ENTRY}. Restore the file from the data set's archive."
    )


def _read_csv(path: Path) -> dict[str, _Truth]:
    rows = csv.DictReader(read_text(path).splitlines(), quoting=csv.QUOTE_NONE)
    if not {"filename", "label"} <= set(rows.fieldnames or ()):
        raise LayoutError(f"{path} starts with {rows.fieldnames}: expected the header filename,label.")
    truths = {}
    for row in rows:
        if row["label"] not in ("0", "1"):
            raise LayoutError(
                f"{path}, line {rows.line_num}: label {row['label']!r} of {row['filename']!r}, expected 0 or 1 (fake)."
            )
        truths[row["filename"]] = _Truth(FAKE if row["label"] == "1" else REAL, official_split="test")
    return truths
