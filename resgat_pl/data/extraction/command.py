"""From videos to face crops and a manifest: idempotent, resumable, the same bytes every time.

A video is done when its fragment carries the hash of the current request (settings, file sizes, original). A killed
run therefore continues with the same command and ends with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from resgat_pl.core.disk_full import reporting_full_disk, storage_error
from resgat_pl.core.errors import ConfigError, DatasetNotFoundError, ManifestError, SplitError
from resgat_pl.core.executors import EngineName, open_engine
from resgat_pl.core.folder_lock import folder_lock
from resgat_pl.core.formats import stamp
from resgat_pl.core.storage import absolute, is_remote, locate, names_in, read_many, readable, refresh, write_atomic
from resgat_pl.core.types import VideoRecord
from resgat_pl.data.crop_store.reader import holds_shards
from resgat_pl.data.crop_store.writer import Store, loose_path
from resgat_pl.data.extraction.crop_video import EXTRACTION_VERSION, Extraction, crops_folder
from resgat_pl.data.extraction.fragment import (
    VIDEO_TIMEOUT,
    VideoCropper,
    count_files,
    extract_video,
    fragment_path,
    has_files,
    is_done,
    is_to_be_cut,
    read_fragment,
    read_report,
)
from resgat_pl.data.extraction.jobs import (
    Family,
    Job,
    Part,
    digest,
    families_of,
    jobs_of,
    parse_part,
    reference_key,
    requests_of,
    videos_of_part,
)
from resgat_pl.data.extraction.output_folder import (
    check_replaceable,
    check_settings,
    clean_up,
    note_settings,
    prepare_out,
)
from resgat_pl.data.extraction.shard_packing import Stored, index_shards, pack
from resgat_pl.data.extraction.summary import ExtractionSummary, FaceCounts, NameCounts, with_splits
from resgat_pl.data.layouts.base import Layout, tally
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest, merge as merge_fragments, refuse_newer
from resgat_pl.data.splits.known_people import noted
from resgat_pl.data.splits.protocols import SplitProtocol, StrictSplit, divide
from resgat_pl.data.splits.skipped import SKIPPED, note
from resgat_pl.data.synth.record import made_by_synth


def extract(
    root: str | Path,
    out: str | Path,
    layout: Layout | None = None,
    extraction: Extraction | None = None,
    split: SplitProtocol | None = None,
    jobs: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
    shard: str | None = None,
    merge: bool = False,
    store: Store | None = None,
    shard_megabytes: float = 128,
    video_timeout: float = VIDEO_TIMEOUT,
    replace: bool = False,
) -> ExtractionSummary:
    """Cut the faces out of every video of a data set and write a manifest.

    Killed or failed, the same command continues where it stopped; finished, it has nothing to do. Who does the work
    changes no byte of the result. Each video is cut in a process that may die of it: a video that cannot be read,
    kills its decoder or takes too long is named with the cause, and all others are cut. The same command tries it
    again, but for one that took too long: that only with more time. While another command writes to the same folder,
    this one waits, and then does what is left.

    Args:
        root: Folder of the data set as it was downloaded (FaceForensics++, DFDC, or real/ and fake/ folders), or a
            URL such as s3://bucket/ffpp.
        out: Folder or URL for the crops, ``manifest.parquet`` and ``summary.json``.
        layout: How the data set lies on disk; null finds out.
        extraction: Frames per video, crop size, face detector.
        split: How videos are divided into train, val and test; null takes what the data set prescribes,
            without its leaks, and divides by part or person where it prescribes nothing (StrictSplit).
        jobs: Processes to work with on this machine.
        engine: Who does the work: processes of this machine, or an existing Dask or Ray cluster whose workers see
            ``root`` and ``out`` under the same names.
        address: The cluster's, e.g. tcp://host:8786 for Dask; for Ray host:6379, and null finds the one on this
            machine.
        shard: Do one part of the work only, such as 3/50, without a manifest: for arrays of batch jobs.
        merge: Cut nothing; write the manifest of what the shards have cut.
        store: How the crops are stored. "files": each a file of its own, best on a local disk. "shards": gathered into
            WebDataset tars (crop, mask and a JSON of the manifest's row), for network disks, which are slow with
            hundreds of thousands of small files; training then streams them. Crops and manifest are the same either
            way. null goes on as OUT was begun, with files in a new folder; "shards" on a folder of files moves them
            into shards without cutting again.
        shard_megabytes: Size of a shard. Training needs at least one for each loading process of each device.
        video_timeout: Seconds that one video may take; give more for every frame of long videos. It does not change
            the crops.
        replace: Let crops that were cut with other settings be replaced; else they are kept, and this is refused.

    Raises:
        DatasetNotFoundError: ``root`` is missing or has no known layout, or not one face was found.
        ConfigError: ``out`` cannot be used, or the options do not go together.
        EngineError: No process can be started, or the cluster was lost or does not answer.
        StorageError: The disk is full, or a bucket refuses to be written to.
        ManifestError: ``merge``, and some videos have not been cut yet; or a newer program made what is there.
    """
    share = None if shard is None else parse_part(shard)
    if merge and share is not None:
        raise ConfigError(f"--shard {shard} cuts and --merge collects: give --merge once, when all shards are done.")
    if shard_megabytes <= 0:
        raise ConfigError(f"shard_megabytes is {shard_megabytes}, must be more than 0")
    if not video_timeout > 0:
        raise ConfigError(f"--video_timeout is {video_timeout:g} seconds, must be more than 0; inf for no limit")
    root, out = absolute(locate(root)), absolute(locate(out))
    extraction = extraction or Extraction()
    chosen = layout or detect_layout(root)
    with open_engine(engine, address, jobs) as workers:
        index = chosen.index(root)
        prepare_out(root, out)
        # What is there is only looked at once others have ended; batch jobs work on one folder together.
        with folder_lock(out, shared=share is not None, wait=True):
            records = {record.key: record for record in index.records}
            requests = requests_of(records, extraction.spec)
            families = families_of(records)
            check_replaceable(root, out, records)
            check_settings(out, extraction.spec, replace and not merge)
            if not merge:
                with reporting_full_disk(out):
                    note_settings(out, extraction.spec)
            keys = list(records) if share is None else sorted(videos_of_part(families, share))
            reports = dict(zip(keys, _reports(out, keys), strict=True))
            stored = Stored(out, store, requests)
            cut = {
                key: report.get("request") == requests[key]
                and ("skipped" in report or stored.holds(key, report, crops_folder(records[key])))
                for key, report in reports.items()
            }
            if merge:
                _check_complete(root, out, cut)
            if share is None:
                with reporting_full_disk(out):
                    stored.clear()
                    clean_up(out)
            todo = [] if merge else _todo(records, requests, reports, cut, video_timeout)
            done = len(keys) - len(todo)
            with (
                tqdm(total=len(keys), initial=done, unit="video", desc="extract", smoothing=0.05) as bar,
                reporting_full_disk(out, bar),
            ):
                crops = 0
                probe = partial(_unseen, root, out, EXTRACTION_VERSION)
                threads = None if engine == "local" and jobs == 1 else 1  # the workers are the parallelism
                worker = _Worker(VideoCropper(extraction, video_timeout, threads), out, stored.store)
                for counts in workers.run(worker, jobs_of(records, families, requests, todo), probe):
                    crops += sum(counts)
                    bar.update(len(counts))
                    bar.set_postfix_str(f"{crops} crops", refresh=False)
            refresh(out)  # a store's listing from before the work
            if share is not None:
                return _tell(share, root, out, keys)
            with reporting_full_disk(out):
                clean_up(out)  # what a killed worker of a cluster left
                if stored.store == "shards":
                    pack(out, requests, shard_megabytes)
                info = {**_info(root, requests, extraction), "people": noted(chosen)}
                return _finish(out, records, info, index.problems, split or StrictSplit())


def arguments(given: Sequence[str]) -> list[str]:
    """Take ``--merge`` without a value, which the parser wants."""
    following = [*given[1:], ""][: len(given)]
    return [
        "--merge=true" if item == "--merge" and after not in {"true", "false"} else item
        for item, after in zip(given, following, strict=True)
    ]


def is_current(root: str | Path, out: str | Path, layout: Layout | None, extraction: Extraction) -> bool:
    """Whether ``out`` holds the finished manifest of exactly this data set and these settings.

    Raises:
        ManifestError: The manifest has a newer format.
    """
    root, out = locate(root), locate(out)
    try:
        manifest = Manifest.read(out)
    except ManifestError:
        refuse_newer(out)
        return False
    layout = layout or detect_layout(root)
    records = {record.key: record for record in layout.index(root).records}
    requests = requests_of(records, extraction.spec)
    same_people = manifest.info.get("people", {}) == noted(layout)
    return same_people and bool(manifest.info.get("request") == digest(sorted(requests.items())))


def _todo(
    records: dict[str, VideoRecord],
    requests: dict[str, str],
    reports: dict[str, dict[str, Any]],
    cut: dict[str, bool],
    timeout: float,
) -> list[str]:
    """The videos to cut, or to try again."""
    todo = {key for key, report in reports.items() if not cut[key] or is_to_be_cut(report, requests[key], timeout)}
    for key, report in reports.items():
        original = reference_key(records, records[key])
        # Cut without boxes, for want of a face in the original, which has or may now have one.
        if report.get("orphan") and (original in todo or "skipped" not in reports.get(original or "", {"skipped": ""})):
            todo.add(key)
    return [key for key in cut if key in todo]


class _Worker:
    """The work on an original and its fakes, as a picklable callable; returns the number of crops of each video."""

    def __init__(self, cutter: VideoCropper, out: Path, store: Store) -> None:
        self.cutter = cutter
        self.out = out
        self.store = store

    def __call__(self, family: Family) -> list[int]:
        return [self._cut(job) for job in family]

    def close(self) -> None:
        self.cutter.close()

    def _cut(self, job: Job) -> int:
        path = fragment_path(self.out, job.record.key)
        reference = None if job.reference is None else fragment_path(self.out, job.reference)
        report = _read_report(_read(path))
        if self.store == "files":
            is_there = "files" in report and has_files(self.out / crops_folder(job.record), report)
        else:
            is_there = loose_path(self.out, job.record.key).is_file()
        # A cluster repeats what a dead worker had done.
        if is_there and is_done(report, job.request) and not (report.get("orphan") and _has_crops(reference)):
            return int(pq.read_metadata(readable(path)).num_rows)
        try:
            return extract_video(job.record, self.cutter, self.out, job.request, reference, self.store, job.original)
        except OSError as error:  # what cannot be read is told otherwise, so this could not be written
            raise storage_error(error, self.out) from None


def _has_crops(fragment: Path | None) -> bool:
    return fragment is not None and pq.read_metadata(readable(fragment)).num_rows > 0


def _info(root: Path, requests: dict[str, str], extraction: Extraction) -> dict[str, Any]:
    """What the manifest says of itself."""
    return {
        "request": digest(sorted(requests.items())),
        "extraction": extraction.spec,
        "synthetic": made_by_synth(root),
    }


def _finish(
    out: Path,
    records: dict[str, VideoRecord],
    info: dict[str, Any],
    problems: Iterable[str],
    split: SplitProtocol,
) -> ExtractionSummary:
    keys = list(records)
    paths = [fragment_path(out, key) for key in keys]
    tables = [
        read_fragment(pa.BufferReader(_data(found)), path) for found, path in zip(read_many(paths), paths, strict=True)
    ]
    reports = [read_report(table.schema.metadata) for table in tables]
    without = [key for key, report in zip(keys, reports, strict=True) if "skipped" in report]
    info = {**info, SKIPPED: note(records, without)}
    manifest = merge_fragments(out, tables, info)
    summary = ExtractionSummary(
        manifest=out / MANIFEST_NAME,
        videos=len(keys),
        crops=len(manifest),
        skipped={k: r["skipped"] for k, r in zip(keys, reports, strict=True) if "skipped" in r},
        notes={k: r["note"] for k, r in zip(keys, reports, strict=True) if "note" in r},
        problems=list(problems),
        faces=FaceCounts.of(manifest),
        names=NameCounts.of(reports),
    )
    if not len(manifest):
        first = next(iter(summary.skipped.items()), ("", "no videos"))
        raise DatasetNotFoundError(f"Not one face was found in {summary.videos} videos. {first[0]}: {first[1]}")
    try:
        manifest = divide(manifest, split)
    except SplitError as error:
        # The crops are good; which video goes where can still be decided when they are read.
        summary.problems.append(f"no split: {error}")
    summary = with_splits(summary, manifest)
    if holds_shards(out):
        index_shards(manifest)
    manifest.write()
    document = {
        **stamp(1),
        "videos": summary.videos,
        "crops": summary.crops,
        "splits": summary.splits,
        "faces_of_fakes": FaceCounts.of(manifest)._asdict(),
        "fakes_named_like_a_real_one": summary.names._asdict(),
        "people_unknown": summary.people,
        "skipped": summary.skipped,
        "notes": summary.notes,
        "problems": summary.problems,
        "extraction": info["extraction"],
    }
    write_atomic(out / "summary.json", json.dumps(document, indent=2, ensure_ascii=False).encode())
    return summary


def _reports(out: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What the fragments of these videos report; nothing where there is none."""
    present = set(names_in(out / "fragments"))
    paths = {key: fragment_path(out, key) for key in keys}
    found = read_many([path for path in paths.values() if path.name in present])
    for path in paths.values():
        yield _read_report(next(found)) if path.name in present else {}


def _read(path: Path) -> bytes | OSError:
    return next(read_many([path]))


def _data(found: bytes | OSError) -> bytes:
    if isinstance(found, OSError):
        raise found
    return found


def _read_report(fragment: bytes | OSError) -> dict[str, Any]:
    """What a fragment reports, with the number of its crops and masks as ``files``."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(_data(fragment)))
        return {**read_report(metadata.metadata), "files": count_files(metadata)}
    except (OSError, pa.ArrowException, ValueError):
        return {}


def _check_complete(root: Path, out: Path, cut: dict[str, bool]) -> None:
    missing = [key for key, done in cut.items() if not done]
    if missing:
        raise ManifestError(
            f"{tally(missing, 'video')} of {len(cut):,} not cut yet, or with other settings: the manifest would lack "
            f"them. Run the unfinished shards again (their logs end without saying that they are done), or do the "
            f"rest here, with the same options: resgat extract {root} {out} …"
        )


def _tell(share: Part, root: Path, out: Path, keys: Sequence[str]) -> ExtractionSummary:
    found = dict(zip(keys, read_many([fragment_path(out, key) for key in keys]), strict=True))
    reports = {key: _read_report(fragment) for key, fragment in found.items()}
    return ExtractionSummary(
        manifest=None,
        videos=len(keys),
        crops=sum(pq.read_metadata(pa.BufferReader(_data(fragment))).num_rows for fragment in found.values()),
        skipped={key: report["skipped"] for key, report in reports.items() if "skipped" in report},
        notes={key: report["note"] for key, report in reports.items() if "note" in report},
        remark=f"shard {share} is done. When all are, with the same options: resgat extract {root} {out} --merge",
    )


def _unseen(root: Path, out: Path, version: int) -> str:
    """What a worker on another machine lacks."""
    for folder in (root, out / "fragments"):
        try:
            refresh(folder)
        except ConfigError as error:
            return f"cannot use {folder}: {error}"
        # A bucket has no empty folders.
        if not folder.is_dir() and (folder is root or not is_remote(folder)):
            return f"does not see {folder}: root and out must lie where all machines find them under this name"
    if version != EXTRACTION_VERSION:
        return f"has a resgat-pl that cuts otherwise (version {EXTRACTION_VERSION} of the extraction, here {version})"
    return ""
