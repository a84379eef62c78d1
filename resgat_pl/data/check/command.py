"""Auditing a data set before hours are spent on it: files, counts, balance, leaks."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, LeakageError, MediaError, ResGATError
from resgat_pl.core.executors import open_executor, run_all
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.path_checks import require_out_file
from resgat_pl.core.storage import locate, write_atomic
from resgat_pl.core.text import printable
from resgat_pl.core.types import MediaKind, Split, VideoRecord
from resgat_pl.data.check.report import Report
from resgat_pl.data.crop_store.reader import Member, crop_of, picture, shards_of
from resgat_pl.data.extraction.summary import FaceCounts
from resgat_pl.data.layouts.base import CountRow, Layout
from resgat_pl.data.layouts.detect import LAYOUTS, detect_layout
from resgat_pl.data.manifest.class_counts import class_counts
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.media.images import MOST_PIXELS, read_image
from resgat_pl.data.splits.fingerprints import Fingerprints, contrast, fingerprint
from resgat_pl.data.splits.known_people import unknown_people
from resgat_pl.data.splits.leakage import Leak, declared, find_leaks
from resgat_pl.data.splits.near_duplicates import find_duplicates
from resgat_pl.data.splits.protocols import (
    IdentitySplit,
    OfficialSplit,
    PaperSplit,
    PartSplit,
    SplitProtocol,
    StrictSplit,
    divide,
)
from resgat_pl.data.splits.unassigned import unassigned, why_unassigned

_FILE_SECONDS: Final = 300
"""A file of which one frame cannot be decoded within so long is reported as unreadable."""
_GLANCES: Final = (0, 12, 25, 50, 100, 200, 400)
"""Frames of a video that are looked at until one has detail. A later one for every video would double the time."""
_ENOUGH_CONTRAST: Final = 12.0  # standard deviation of the picture, grey levels; a dark room has 15


def check(
    target: str | Path,
    layout: Layout | None = None,
    split: SplitProtocol | None = None,
    json: Path | None = None,
    read: Literal["one", "all"] = "one",
    duplicates: bool = True,
    jobs: int = 2,
) -> None:
    """Audit a data set before hours are spent: files, counts, balance, and leaks between the splits.

    Looks for the same video, original, person or FaceForensics++ source clip in two splits, and for pictures that look
    the same. Exits with status 1 if there is a leak that the split protocol does not declare, or if the splits that the
    data set prescribes hold the same file or person, with 2 if a file cannot be read. Where nothing says who is in
    which video (DFDC), it says so: that is no leak, and not the absence of one either.

    Args:
        target: A manifest (or its folder), or a data set as it was downloaded; a folder or a URL.
        layout: How the data set lies on disk; null finds out.
        split: How videos are divided; null takes the manifest's split, and StrictSplit for a data set.
        json: File to write everything to.
        read: Of a manifest, whether two crops a video are decoded and the others only looked for, or all are decoded.
        duplicates: Whether pictures are compared: two crops a video and split, or the first frame with detail.
        jobs: Processes to read with.

    Raises:
        LeakageError: There is a leak that is not declared.
        MediaError: A file cannot be read.
    """
    if json is not None:
        require_out_file(json, "--json")
    target = locate(target)
    is_manifest = target.suffix == ".parquet" or (target / MANIFEST_NAME).is_file()
    if is_manifest:
        report = _check_manifest(target, split, read, duplicates, jobs)
    else:
        report = _check_root(target, layout, split, duplicates, jobs)
    print(printable(str(report)))  # noqa: T201 - the report is what this command is for
    if json is not None:
        try:
            json.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(json, json_format.dumps(report.plain(), indent=2, ensure_ascii=False).encode())
        except OSError as error:
            raise ConfigError(f"{json}: the report cannot be written ({error.strerror})") from None
    if report.undeclared:
        kinds = ", ".join(dict.fromkeys(leak.kind for leak in report.undeclared))
        remedy = "Choose another protocol with --split, such as StrictSplit or IdentitySplit."
        if all(leak.kind == "duplicate" for leak in report.undeclared):
            remedy = (
                "Their names do not say so, so that no protocol keeps these pictures apart: remove one of each pair, "
                "or put what belongs together into one split (train/, val/ and test/ with real/ and fake/ in each), "
                "and extract again."
            )
        if report.prescribed:
            remedy = (
                "The data set's own folders or lists do: keep each file in one of them, or divide it again with "
                "--split IdentitySplit."
            )
        raise LeakageError(f"{target}: the splits leak ({kinds}), see above. {remedy}")
    if report.unreadable:
        raise MediaError(f"{target}: {len(report.unreadable):,} files cannot be read, see above: restore them.")


def _check_manifest(
    target: Path, split: SplitProtocol | None, read: Literal["one", "all"], duplicates: bool, jobs: int
) -> Report:
    manifest = Manifest.read(target)
    if split is not None:
        manifest = divide(manifest, split)
    videos, row_split, known = manifest.videos(), manifest.column("split"), ~manifest.untouched
    report = Report(
        target=str(target),
        protocol=manifest.info.get("protocol", {}).get("name", "unknown"),
        counts=_compare(videos),
        balance=class_counts(manifest.column("label")[known], row_split[known]),
        faces=FaceCounts.of(manifest),
        leaks=find_leaks(videos, manifest.video_codes, row_split),
        declared=declared(manifest),
        unassigned=unassigned(manifest),
        people=unknown_people(videos),
    )
    report.prescribed = _prescribed(videos, report.protocol)
    shown = _rows_to_show(manifest.video_codes, row_split)
    rows = np.arange(len(manifest)) if read == "all" else shown
    paths = [crop_of(manifest, row) for row in rows.tolist()]
    shards = shards_of(manifest)
    if shards is not None:
        report.unreadable |= shards.problems()
    elif read == "one":
        names = manifest.column("crop_path")
        absent = [name for name in tqdm(names, desc="look for crops", unit="crop") if _is_empty(manifest.folder / name)]
        report.unreadable |= {str(manifest.folder / name): "missing or empty" for name in absent}
    pictures = _read([_Job((path,), "crops", stored=True) for path in paths], jobs, "read crops", "crop")
    report.files = len(manifest)
    report.unreadable |= {
        str(path): found for path, found in zip(paths, pictures, strict=True) if isinstance(found, str)
    }
    report.compared = duplicates
    if duplicates:
        by_row = dict(zip(rows.tolist(), pictures, strict=True))
        keys = {row: videos[manifest.video_codes[row]].key for row in shown.tolist()}
        report.leaks += _duplicates([(keys[row], row_split[row], by_row[row]) for row in shown.tolist()])
    return report


def _check_root(
    target: Path, layout: Layout | None, split: SplitProtocol | None, duplicates: bool, jobs: int
) -> Report:
    layout = layout or detect_layout(target)
    index = layout.index(target)
    protocol = split or StrictSplit()
    chosen = protocol.assign(index.records)
    sides = np.array([chosen.get(video.key, "") for video in index.records], dtype="U5")
    labels = [video.label for video in index.records]
    report = Report(
        target=str(target),
        protocol=protocol.name,
        counts=layout.compare_counts(index.records),
        balance=class_counts(labels, sides),
        leaks=find_leaks(index.records, np.arange(len(sides)), sides),
        declared=protocol.declares,
        prescribed=_prescribed(index.records, protocol.name),
        unassigned=why_unassigned(index.records, np.arange(len(sides)), sides != "", "video"),
        people=unknown_people(index.records),
        problems=list(index.problems),
    )
    pictures = _read([_Job(video.files, video.kind) for video in index.records], jobs, "read videos", "video")
    report.files = len(pictures)
    named = list(zip(index.records, sides.tolist(), pictures, strict=True))
    report.unreadable = {video.key: found for video, _, found in named if isinstance(found, str)}
    report.compared = duplicates
    if duplicates:
        report.leaks += _duplicates([(video.key, side, found) for video, side, found in named])
    return report


def _prescribed(videos: Sequence[VideoRecord], protocol: str) -> list[Leak]:
    """What splits of the data set's own share, but for the source clips, which ``OfficialSplit`` declares."""
    if protocol in {kind.name for kind in (PaperSplit, IdentitySplit, PartSplit)}:  # they take no notice of it
        return []
    sides = np.array([video.official_split or "" for video in videos], "U5")
    leaks = find_leaks(videos, np.arange(len(videos)), sides)
    return [leak for leak in leaks if leak.kind not in OfficialSplit.declares]


def _compare(videos: Sequence[VideoRecord]) -> list[CountRow]:
    """Counts of each data set among the videos, beside the published ones."""
    rows = []
    for name in dict.fromkeys(video.dataset for video in videos):
        layout = next((kind for kind in LAYOUTS if kind.name == name), None)
        if layout is not None:
            rows += layout().compare_counts([video for video in videos if video.dataset == name])
    return rows


def _rows_to_show(video_codes: NDArray[np.int64], row_split: NDArray[np.object_]) -> NDArray[np.int64]:
    """Rows of the pictures of each video in each split that are compared."""
    groups: dict[tuple[int, str], list[int]] = {}
    for row, key in enumerate(zip(video_codes.tolist(), row_split.tolist(), strict=True)):
        if key[1]:
            groups.setdefault(key, []).append(row)
    return np.array(sorted(rows[place] for rows in groups.values() for place in _places(len(rows))), np.int64)


def _duplicates(pictures: Iterable[tuple[str, Any, Fingerprints | str]]) -> list[Leak]:
    by_split: dict[Split, tuple[list[str], list[Fingerprints]]] = {}
    for name, side, found in pictures:
        if side and not isinstance(found, str):
            names, prints = by_split.setdefault(side, ([], []))
            names += [name] * len(found)
            prints.append(found)
    return find_duplicates({side: (names, np.concatenate(prints)) for side, (names, prints) in by_split.items()})


class _Job(NamedTuple):
    """What one picture is read from."""

    files: tuple[Path | Member, ...]
    kind: MediaKind
    stored: bool = False  # by an extraction


def _look(job: _Job) -> Fingerprints | str:
    """Fingerprints of its pictures, or why there are none."""
    try:
        if job.kind == "video":
            return _look_at_video(FrameReader([file for file in job.files if not isinstance(file, Member)], job.kind))
        # Other people's pictures may end as they like, as long as they can be decoded.
        images = (
            picture(file) if job.stored or isinstance(file, Member) else read_image(file, MOST_PIXELS)
            for file in (job.files[place] for place in _places(len(job.files)))
        )
        return np.concatenate([fingerprint(image) for image in images])
    except ResGATError as error:
        return str(error)


def _places(count: int) -> list[int]:
    """Which of a video's pictures are compared: the middle one, and a later one for a copy that begins elsewhere."""
    return sorted({count // 2, count * 5 // 6})


def _look_at_video(media: FrameReader) -> Fingerprints | str:
    """The first frame with detail: many videos begin black, or fade in."""
    best: Fingerprints | None = None
    last = max(0, len(media.indices) - 1)
    for place in sorted({min(place, last) for place in _GLANCES}):
        try:
            frame = next(iter(media.read([place])), None)
        except MediaError:
            if best is None:
                raise
            break  # it has fewer frames than it claims
        if frame is not None:
            found = fingerprint(frame.image)
            best = found if best is None or contrast(found) > contrast(best) else best
            if contrast(best) >= _ENOUGH_CONTRAST:
                break
    return "no frame can be decoded" if best is None else best


def _looks(job: _Job) -> Iterator[Fingerprints | str]:
    yield _look(job)


class _Looker:
    """Looks at files in a process that may die of them, see ``cells``."""

    def __init__(self) -> None:
        self.cell: IsolatedProcess[_Job, Fingerprints | str] = IsolatedProcess(_looks, threads=1)

    def __reduce__(self) -> tuple[type[_Looker], tuple[()]]:
        return _Looker, ()

    def __call__(self, numbered: Sequence[tuple[int, _Job]]) -> list[tuple[int, Fingerprints | str]]:
        return [(number, self._look(job)) for number, job in numbered]

    def _look(self, job: _Job) -> Fingerprints | str:
        try:
            (found,) = self.cell.run(job, _FILE_SECONDS)
        except (ProcessDiedError, ProcessTimeoutError) as error:
            return f"{job.files[0]}: {error}"
        return found

    def close(self) -> None:
        self.cell.close()


def _read(work: Sequence[_Job], jobs: int, title: str, unit: str) -> list[Fingerprints | str]:
    bar = tqdm(total=len(work), desc=title, unit=unit)
    found: dict[int, Fingerprints | str] = {}
    with bar:
        if all(job.stored for job in work) and (jobs <= 1 or len(work) < 200):
            # This program's own crops; starting processes takes longer.
            for number, job in enumerate(work):
                found[number] = _look(job)
                bar.update()
            return list(found.values())
        numbered = list(enumerate(work))
        size = 32 if len(work) > 2000 else 1  # handing out millions one by one takes memory
        portions = [numbered[start : start + size] for start in range(0, len(work), size)]
        with open_executor(jobs=max(1, jobs)) as executor, closing(run_all(executor, _Looker(), portions)) as parts:
            for part in parts:
                found.update(part)
                bar.update(len(part))
    return [found[number] for number in range(len(work))]


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True
