"""``resgat check``: audits a data set before hours are spent on it: files, counts, balance, leaks."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from resgat_pl.core.errors import ConfigError, LeakageError, MediaError
from resgat_pl.core.path_checks import require_out_file
from resgat_pl.core.storage import locate, write_atomic
from resgat_pl.core.text import printable
from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.check.pictures import PictureSource, places, read_all
from resgat_pl.data.check.report import Report
from resgat_pl.data.crop_store.reader import crop_of, shards_of
from resgat_pl.data.extraction.summary import FaceCounts
from resgat_pl.data.layouts.base import CountRow, Layout
from resgat_pl.data.layouts.detect import default_layout, detect_layout
from resgat_pl.data.manifest.class_counts import class_counts
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest
from resgat_pl.data.splits.fingerprints import Fingerprints
from resgat_pl.data.splits.known_people import unknown_people
from resgat_pl.data.splits.leakage import Leak, declared, find_leaks
from resgat_pl.data.splits.near_duplicates import find_duplicates
from resgat_pl.data.splits.paper import PaperSplit
from resgat_pl.data.splits.protocols import IdentitySplit, OfficialSplit, PartSplit, SplitProtocol, StrictSplit, divide
from resgat_pl.data.splits.unassigned import unassigned, why_unassigned


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
        layout: Layout of the data set on disk; null detects it.
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
    _raise_for(report, target)


def _raise_for(report: Report, target: Path) -> None:
    """Give the command its exit status: a leak counts more than a file that cannot be read."""
    if report.undeclared:
        kinds = ", ".join(dict.fromkeys(leak.kind for leak in report.undeclared))
        raise LeakageError(f"{target}: the splits leak ({kinds}), see above. {_remedy(report)}")
    if report.unreadable:
        raise MediaError(f"{target}: {len(report.unreadable):,} files cannot be read, see above: restore them.")


def _remedy(report: Report) -> str:
    if report.prescribed:
        return (
            "The data set's own folders or lists do: keep each file in one of them, or divide it again with "
            "--split IdentitySplit."
        )
    if all(leak.kind == "duplicate" for leak in report.undeclared):
        return (
            "Their names do not say so, so that no protocol keeps these pictures apart: remove one of each pair, "
            "or put what belongs together into one split (train/, val/ and test/ with real/ and fake/ in each), "
            "and extract again."
        )
    return "Choose another protocol with --split, such as StrictSplit or IdentitySplit."


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

    # Crops that are missing or cannot be read.
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
    compared = np.isin(rows, shown) & duplicates
    sources = [
        PictureSource((path,), "crops", stored=True, compared=each)
        for path, each in zip(paths, compared.tolist(), strict=True)
    ]
    pictures = read_all(sources, jobs, "read crops", "crop")
    report.files = len(manifest)
    report.unreadable |= {
        str(path): found for path, found in zip(paths, pictures, strict=True) if isinstance(found, str)
    }

    # Copies under other names.
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
    pictures = read_all(
        [PictureSource(video.files, video.kind, compared=duplicates) for video in index.records],
        jobs,
        "read videos",
        "video",
    )
    report.files = len(pictures)
    named = list(zip(index.records, sides.tolist(), pictures, strict=True))
    report.unreadable = {video.key: found for video, _, found in named if isinstance(found, str)}

    # Copies under other names.
    report.compared = duplicates
    if duplicates:
        report.leaks += _duplicates([(video.key, side, found) for video, side, found in named])
    return report


def _prescribed(videos: Sequence[VideoRecord], protocol: str) -> list[Leak]:
    """Leaks between splits that the data set prescribes, except source clips, which ``OfficialSplit`` declares."""
    if protocol in {kind.name for kind in (PaperSplit, IdentitySplit, PartSplit)}:  # they take no notice of it
        return []
    sides = np.array([video.official_split or "" for video in videos], "U5")
    leaks = find_leaks(videos, np.arange(len(videos)), sides)
    return [leak for leak in leaks if leak.kind not in OfficialSplit.declares]


def _compare(videos: Sequence[VideoRecord]) -> list[CountRow]:
    """Counts of each data set among the videos, beside the published ones."""
    rows = []
    for name in dict.fromkeys(video.dataset for video in videos):
        layout = default_layout(name)
        if layout is not None:
            rows += layout.compare_counts([video for video in videos if video.dataset == name])
    return rows


def _rows_to_show(video_codes: NDArray[np.int64], row_split: NDArray[np.object_]) -> NDArray[np.int64]:
    """Rows of the pictures of each video in each split that are compared."""
    groups: dict[tuple[int, str], list[int]] = {}
    for row, key in enumerate(zip(video_codes.tolist(), row_split.tolist(), strict=True)):
        if key[1]:
            groups.setdefault(key, []).append(row)
    return np.array(sorted(rows[place] for rows in groups.values() for place in places(len(rows))), np.int64)


def _duplicates(pictures: Iterable[tuple[str, Any, Fingerprints | str]]) -> list[Leak]:
    by_split: dict[Split, tuple[list[str], list[Fingerprints]]] = {}
    for name, side, found in pictures:
        if side and not isinstance(found, str):
            names, prints = by_split.setdefault(side, ([], []))
            names += [name] * len(found)
            prints.append(found)
    return find_duplicates({side: (names, np.concatenate(prints)) for side, (names, prints) in by_split.items()})


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True
