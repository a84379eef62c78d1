"""From videos to face crops and a manifest: idempotent, resumable, the same bytes every time.

A video is done when its fragment carries the hash of the current request (settings, file sizes, original). A killed
run therefore continues with the same command and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from resgat_pl.data.crop_writer import Store
from resgat_pl.data.cutting import Extraction, extract_video, fragment_path, read_report
from resgat_pl.data.layouts import Layout, detect_layout
from resgat_pl.data.manifest import MANIFEST_NAME, Manifest, merge, write_atomic
from resgat_pl.data.packing import Stored, index_shards, pack
from resgat_pl.data.shards import FOLDER
from resgat_pl.data.splits import SplitProtocol, StrictSplit, divide
from resgat_pl.errors import ConfigError, DatasetNotFoundError, ManifestError, MediaError, SplitError
from resgat_pl.types import VideoRecord


@dataclass(frozen=True)
class Summary:
    """What came of an extraction.

    Attributes:
        manifest: Path of the manifest.
        videos: Videos in the index.
        crops: Face crops in the manifest.
        skipped: Reason by video key, for videos that gave no crop at all.
        notes: Remark by video key, for videos that gave less than asked for.
        problems: Contradictions found in the data set's own files.
        splits: Crops by split and label, e.g. ``{"train": {"real": 10, "fake": 10}}``.
    """

    manifest: Path
    videos: int
    crops: int
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.videos - len(self.skipped)} of {self.videos} videos read, {self.crops} face crops"]
        for split, counts in self.splits.items():
            lines.append(f"  {split}: {counts['real']} real, {counts['fake']} fake crops")
        for title, entries in (
            ("skipped", [f"{key}: {reason}" for key, reason in self.skipped.items()]),
            ("incomplete", [f"{key}: {note}" for key, note in self.notes.items()]),
            ("problems of the data set", self.problems),
        ):
            if entries:
                lines += [f"{len(entries)} {title}:", *(f"  {entry}" for entry in entries[:10])]
                if len(entries) > 10:
                    lines.append(f"  … and {len(entries) - 10} more, see summary.json")
        lines.append(f"manifest: {self.manifest}")
        return "\n".join(lines)


def extract(
    root: Path,
    out: Path,
    layout: Layout | None = None,
    extraction: Extraction | None = None,
    split: SplitProtocol | None = None,
    jobs: int = 1,
    store: Store | None = None,
    shard_megabytes: float = 128,
) -> Summary:
    """Cut the faces out of every video of a data set and write a manifest.

    Killed or failed, the same command continues where it stopped; finished, it has nothing to do.

    Args:
        root: Folder of the data set as it was downloaded (FaceForensics++, DFDC, or real/ and fake/ folders).
        out: Folder for the crops, ``manifest.parquet`` and ``summary.json``.
        layout: How the data set lies on disk; null finds out.
        extraction: Frames per video, crop size, face detector.
        split: How videos are divided into train, val and test; null takes what the data set prescribes,
            without its leaks, and divides by part or person where it prescribes nothing (StrictSplit).
        jobs: Processes to work with.
        store: How the crops are stored. "files": each a file of its own, best on a local disk. "shards": gathered into
            WebDataset tars (crop, mask and a JSON of the manifest's row), for network disks, which are slow with
            hundreds of thousands of small files; training then streams them. Crops and manifest are the same either
            way. null goes on as OUT was begun, with files in a new folder; "shards" on a folder of files moves them
            into shards without cutting again.
        shard_megabytes: Size of a shard. Training needs at least one for each loading process of each device.

    Raises:
        DatasetNotFoundError: ``root`` is missing or has no known layout, or not one face was found.
        ConfigError: ``out`` cannot be used.
    """
    extraction = extraction or Extraction()
    chosen = layout or detect_layout(root)
    index = chosen.index(root)
    out = _prepare_out(root, out)
    records = {record.key: record for record in index.records}
    requests = _requests(records, extraction)
    (out / "fragments").mkdir(exist_ok=True)
    for folder in (out, out / "fragments"):
        for stale in folder.glob(".*.tmp"):  # left by a killed run
            stale.unlink(missing_ok=True)

    if shard_megabytes <= 0:
        raise ConfigError(f"shard_megabytes is {shard_megabytes}, must be more than 0")
    stored = Stored(out, store, requests)
    crops = 0
    todo = [k for k in records if not (_is_done(out, k, requests[k]) and stored.holds(k, requests[k]))]
    with tqdm(
        total=len(records), initial=len(records) - len(todo), unit="video", desc="extract", smoothing=0.05
    ) as bar:
        # Originals first: their fakes copy the frame numbers and boxes.
        for fakes in (False, True):
            stage = [records[key] for key in todo if (_reference_key(records, records[key]) is not None) == fakes]
            work = [_Job(record, requests[record.key], _reference_key(records, record)) for record in stage]
            for count in _map(_Worker(extraction, out, stored.store), work, jobs):
                crops += count
                bar.update()
                bar.set_postfix_str(f"{crops} crops", refresh=False)
    if stored.store == "shards":
        pack(out, requests, shard_megabytes)
    return _finish(out, list(records), requests, extraction, index.problems, split or StrictSplit())


def is_current(root: Path, out: Path, layout: Layout | None, extraction: Extraction) -> bool:
    """Whether ``out`` holds the finished manifest of exactly this data set and these settings."""
    try:
        manifest = Manifest.read(out)
    except ManifestError:
        return False
    records = {record.key: record for record in (layout or detect_layout(root)).index(root).records}
    return bool(manifest.info.get("request") == _digest(sorted(_requests(records, extraction).items())))


class _Job(NamedTuple):
    """One video, the hash of what is asked of it, and the key of its original."""

    record: VideoRecord
    request: str
    reference: str | None


class _Worker:
    """The work on one video, as a picklable callable."""

    def __init__(self, extraction: Extraction, out: Path, store: Store) -> None:
        self.extraction = extraction
        self.out = out
        self.store = store

    def __call__(self, job: _Job) -> int:
        reference = None if job.reference is None else fragment_path(self.out, job.reference)
        return extract_video(job.record, self.extraction, self.out, job.request, reference, self.store)


_worker: _Worker | None = None


def _start_process(worker: _Worker) -> None:
    global _worker  # noqa: PLW0603 - one detector a process, not one a video
    cv2.setNumThreads(1)
    _worker = worker
    # A worker whose parent was killed would wait for work for ever.
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_process(job: _Job) -> int:
    if _worker is None:
        raise RuntimeError("the process was not initialised")
    return _worker(job)


def _map(worker: _Worker, work: Sequence[_Job], jobs: int) -> Iterator[int]:
    if jobs <= 1 or len(work) <= 1:
        yield from map(worker, work)
        return
    # spawn, not fork: OpenCV and PyAV hold threads that do not survive a fork.
    with ProcessPoolExecutor(
        min(jobs, len(work)), mp_context=get_context("spawn"), initializer=_start_process, initargs=(worker,)
    ) as pool:
        futures = [pool.submit(_run_in_process, job) for job in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise MediaError(
                "A worker process died, killed by the system or by a decoder. What was finished is kept: run the same "
                "command again, with fewer --jobs if memory ran out."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finish(
    out: Path,
    keys: Sequence[str],
    requests: dict[str, str],
    extraction: Extraction,
    problems: Iterable[str],
    split: SplitProtocol,
) -> Summary:
    tables = [pq.read_table(fragment_path(out, key)) for key in keys]
    reports = [read_report(table.schema.metadata) for table in tables]
    info = {"request": _digest(sorted(requests.items())), "extraction": extraction.spec}
    manifest = merge(out, tables, info)
    summary = Summary(
        manifest=out / MANIFEST_NAME,
        videos=len(keys),
        crops=len(manifest),
        skipped={k: r["skipped"] for k, r in zip(keys, reports, strict=True) if "skipped" in r},
        notes={k: r["note"] for k, r in zip(keys, reports, strict=True) if "note" in r},
        problems=list(problems),
    )
    if not len(manifest):
        first = next(iter(summary.skipped.items()), ("", "no videos"))
        raise DatasetNotFoundError(f"Not one face was found in {summary.videos} videos. {first[0]}: {first[1]}")
    try:
        manifest = divide(manifest, split)
    except SplitError as error:
        # The crops are good; which video goes where can still be decided when they are read.
        summary.problems.append(f"no split: {error}")
    summary = replace(summary, splits=_count_splits(manifest))
    if (out / FOLDER).is_dir():
        index_shards(manifest)
    manifest.write()
    document = {
        "videos": summary.videos,
        "crops": summary.crops,
        "splits": summary.splits,
        "skipped": summary.skipped,
        "notes": summary.notes,
        "problems": summary.problems,
        "extraction": extraction.spec,
    }
    write_atomic(out / "summary.json", json.dumps(document, indent=2, ensure_ascii=False).encode())
    return summary


def _count_splits(manifest: Manifest) -> dict[str, dict[str, int]]:
    counts = Counter(zip(manifest.column("split").tolist(), manifest.column("label").tolist(), strict=True))
    names = [name for name in ("train", "val", "test", None) if (name, 0) in counts or (name, 1) in counts]
    return {name or "unassigned": {"real": counts[name, 0], "fake": counts[name, 1]} for name in names}


def _prepare_out(root: Path, out: Path) -> Path:
    if out.resolve() == root.resolve():
        raise ConfigError(f"The crops would be written into the data set itself ({out}). Name another folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: the folder for the crops cannot be made ({error.strerror})") from None
    return out


def _requests(records: dict[str, VideoRecord], extraction: Extraction) -> dict[str, str]:
    """Hash of everything that decides a video's crops: settings, files and their sizes, and the original's hash."""
    spec = extraction.spec
    requests: dict[str, str] = {}

    def request(key: str) -> str:
        if key not in requests:
            record = records[key]
            reference = _reference_key(records, record)
            files = [[path.name, _size(path)] for path in record.files]
            mask = None if record.mask is None else _size(record.mask)
            names = [record.official_split, record.part, list(record.identities), record.label]
            origin = None if reference is None else request(reference)
            requests[key] = _digest([spec, key, record.kind, files, mask, names, origin])
        return requests[key]

    for key in records:
        request(key)
    return requests


def _reference_key(records: dict[str, VideoRecord], record: VideoRecord) -> str | None:
    original = records.get(record.original) if record.original is not None else None
    return original.key if original is not None and original.key != record.key and original.original is None else None


def _is_done(out: Path, key: str, request: str) -> bool:
    try:
        report = read_report(pq.read_schema(fragment_path(out, key)).metadata)
    except (OSError, pa.ArrowInvalid, ValueError):
        return False
    # Failed videos are tried again: the disk may be back, the download complete.
    return report.get("request") == request and "skipped" not in report


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # named in the index but absent, or unreadable: reading it says which


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
