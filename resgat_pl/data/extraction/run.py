"""One extraction in four steps: plan, cut, pack, collect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from resgat_pl.core.disk_full import reporting_full_disk
from resgat_pl.core.errors import DatasetNotFoundError, ManifestError, SplitError
from resgat_pl.core.executors import check_workers, run_all
from resgat_pl.core.formats import stamp
from resgat_pl.core.storage import read_many, refresh, write_atomic
from resgat_pl.data.crop_store.reader import holds_shards
from resgat_pl.data.crop_store.writer import Store
from resgat_pl.data.extraction.crop_video import crops_folder
from resgat_pl.data.extraction.extract_video import FamilyExtractor, problem_on_worker
from resgat_pl.data.extraction.fragment import (
    fragment_path,
    is_to_be_cut,
    read_fragment,
    read_report,
    read_reports,
)
from resgat_pl.data.extraction.jobs import (
    Part,
    digest,
    families_of,
    jobs_of,
    reference_key,
    requests_of,
    videos_of_part,
)
from resgat_pl.data.extraction.output_folder import check_replaceable, check_settings, clean_up, note_settings
from resgat_pl.data.extraction.settings import EXTRACTION_VERSION, Extraction
from resgat_pl.data.extraction.shard_packing import Stored, index_shards, pack
from resgat_pl.data.extraction.summary import ExtractionSummary, FaceCounts, NameCounts, with_splits
from resgat_pl.data.layouts.base import Index, Layout, tally
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest, merge as merge_fragments
from resgat_pl.data.splits.known_people import noted
from resgat_pl.data.splits.protocols import SplitProtocol, divide
from resgat_pl.data.splits.skipped import SKIPPED, note
from resgat_pl.data.synth.record import made_by_synth


class ExtractionRun:
    """One extraction of a data set into a folder: ``plan``, ``cut``, ``pack`` and ``collect``, in this order.

    Each step finds on the disk what the one before has written, so that a killed run is repeated as a whole and does
    only what is missing. The folder must be locked while one runs.

    Args:
        root: Folder of the data set.
        out: Folder of the crops, which exists.
        index: The videos of the data set.
        layout: How the data set lies on disk.
        extraction: Settings.
        part: The part of the videos that is cut here; None for all.
    """

    def __init__(
        self, root: Path, out: Path, index: Index, layout: Layout, extraction: Extraction, part: Part | None = None
    ) -> None:
        self.root = root
        self.out = out
        self.layout = layout
        self.extraction = extraction
        self.part = part
        self.problems = index.problems
        self.records = {record.key: record for record in index.records}
        self.families = families_of(self.records)
        self.requests = requests_of(self.records, extraction.spec)
        self.keys = list(self.records) if part is None else sorted(videos_of_part(self.families, part))

    def plan(self, store: Store | None, timeout: float, merge: bool = False, replace: bool = False) -> list[str]:
        """Compare the folder with what is asked for, and prepare it.

        Args:
            store: How crops are to be stored; None as they are stored already.
            timeout: Seconds that a video may take: what took longer than that is not tried again.
            merge: Cut nothing.
            replace: Crops of other settings may be replaced.

        Returns:
            Keys of the videos to cut.

        Raises:
            ConfigError: The folder holds crops that must not be replaced.
            ManifestError: A newer program wrote what is there; or ``merge``, and some videos are not cut yet.
        """
        # Crops of another data set, a newer program or other settings stay as they are.
        check_replaceable(self.root, self.out, self.records)
        check_settings(self.out, self.extraction.spec, replace and not merge)
        if not merge:
            with reporting_full_disk(self.out):
                note_settings(self.out, self.extraction.spec)

        # A video is done if its fragment reports the same request and its crops are all there.
        reports = dict(zip(self.keys, read_reports(self.out, self.keys), strict=True))
        self.stored = Stored(self.out, store, self.requests)
        done = {key: self._is_done(key, report) for key, report in reports.items()}
        if merge:
            self._check_complete(done)

        # Parts work side by side, so that none knows what the others still need.
        if self.part is None:
            with reporting_full_disk(self.out):
                self.stored.clear()
                clean_up(self.out)
        return [] if merge else self._to_cut(reports, done, timeout)

    def cut(self, executor: Executor, keys: list[str], timeout: float, threads: int | None) -> None:
        """Cut the crops of some videos, each original before its fakes.

        Args:
            executor: Where the work is done.
            keys: The videos.
            timeout: Seconds that each may take.
            threads: Threads of OpenCV in each process; None leaves its default.

        Raises:
            EngineError: No process can be started, or the cluster was lost.
            StorageError: The disk is full.
        """
        check_workers(executor, partial(problem_on_worker, self.root, self.out, EXTRACTION_VERSION))
        store, max_faces = self.stored.store, self.layout.max_faces
        extractor = FamilyExtractor(self.extraction, self.out, store, timeout, threads, max_faces)
        jobs = jobs_of(self.records, self.families, self.requests, keys)
        total, done, crops = len(self.keys), len(self.keys) - len(keys), 0
        with (
            tqdm(total=total, initial=done, unit="video", desc="extract", smoothing=0.05) as bar,
            reporting_full_disk(self.out, bar),
            closing(run_all(executor, extractor, jobs)) as results,
        ):
            for counts in results:
                crops += sum(counts)
                bar.update(len(counts))
                bar.set_postfix_str(f"{crops} crops", refresh=False)
        refresh(self.out)  # a store's listing from before the work

    def pack(self, megabytes: float) -> None:
        """Remove what killed workers of a cluster left; gather crops into shards where they are stored so.

        Args:
            megabytes: Size of a shard.

        Raises:
            OSError, StorageError: The disk is full.
        """
        clean_up(self.out)
        if self.stored.store == "shards":
            pack(self.out, self.requests, megabytes)

    def collect(self, split: SplitProtocol) -> ExtractionSummary:
        """Write the manifest of all videos, their division into splits, and ``summary.json``.

        Raises:
            DatasetNotFoundError: Not one face was found.
            OSError: A file cannot be read or written.
        """
        # Rows and reports of all fragments.
        keys = list(self.records)
        paths = [fragment_path(self.out, key) for key in keys]
        tables = [
            read_fragment(pa.BufferReader(_content(data)), path)
            for data, path in zip(read_many(paths), paths, strict=True)
        ]
        reports = {key: read_report(table.schema.metadata) for key, table in zip(keys, tables, strict=True)}

        # The manifest, not written yet, and what is said of it.
        info = {
            "request": digest(sorted(self.requests.items())),
            "extraction": self.extraction.noted,
            "synthetic": made_by_synth(self.root),
            "people": noted(self.layout),
            SKIPPED: note(self.records, [key for key, report in reports.items() if "skipped" in report]),
        }
        manifest = merge_fragments(self.out, tables, info)
        summary = ExtractionSummary(
            manifest=self.out / MANIFEST_NAME,
            videos=len(keys),
            crops=len(manifest),
            skipped=_column(reports, "skipped"),
            notes=_column(reports, "note"),
            problems=list(self.problems),
            faces=FaceCounts.of(manifest),
            names=NameCounts.of(reports.values()),
        )
        if not len(manifest):
            key, reason = next(iter(summary.skipped.items()), ("", "no videos"))
            raise DatasetNotFoundError(f"Not one face was found in {summary.videos} videos. {key}: {reason}")

        # Splits. The crops are good without them: which video goes where can still be decided when they are read.
        try:
            manifest = divide(manifest, split)
        except SplitError as error:
            summary.problems.append(f"no split: {error}")
        summary = with_splits(summary, manifest)

        # The manifest is written after the index of shards that it needs.
        if holds_shards(self.out):
            index_shards(manifest)
        manifest.write()
        self._write_summary(summary, manifest)
        return summary

    def collect_part(self) -> ExtractionSummary:
        """Summarise the videos of this part; nothing is written."""
        reports = dict(zip(self.keys, read_reports(self.out, self.keys), strict=True))
        return ExtractionSummary(
            manifest=None,
            videos=len(self.keys),
            crops=sum(report.get("rows", 0) for report in reports.values()),
            skipped=_column(reports, "skipped"),
            notes=_column(reports, "note"),
            remark=f"part {self.part} is done. When all are, with the same options: "
            f"resgat extract {self.root} {self.out} --merge",
        )

    def _is_done(self, key: str, report: Mapping[str, Any]) -> bool:
        if report.get("request") != self.requests[key]:
            return False
        return "skipped" in report or self.stored.holds(key, dict(report), crops_folder(self.records[key]))

    def _check_complete(self, done: Mapping[str, bool]) -> None:
        missing = [key for key, is_done in done.items() if not is_done]
        if missing:
            raise ManifestError(
                f"{tally(missing, 'video')} of {len(done):,} not cut yet, or with other settings: the manifest would "
                "lack them. Run the unfinished parts again (their logs end without saying that they are done), or do "
                f"the rest here, with the same options: resgat extract {self.root} {self.out} …"
            )

    def _to_cut(self, reports: Mapping[str, dict[str, Any]], done: Mapping[str, bool], timeout: float) -> list[str]:
        """The videos to cut, or to try again."""
        chosen = {
            key for key, report in reports.items() if not done[key] or is_to_be_cut(report, self.requests[key], timeout)
        }
        for key, report in reports.items():
            original = reference_key(self.records, self.records[key])
            # Cut without boxes because no face was found in the original, which has or may now have one.
            if report.get("orphan") and (
                original in chosen or "skipped" not in reports.get(original or "", {"skipped": ""})
            ):
                chosen.add(key)
        return [key for key in self.keys if key in chosen]

    def _write_summary(self, summary: ExtractionSummary, manifest: Manifest) -> None:
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
            "extraction": self.extraction.spec,
        }
        write_atomic(self.out / "summary.json", json.dumps(document, indent=2, ensure_ascii=False).encode())


def _content(found: bytes | OSError) -> bytes:
    if isinstance(found, OSError):
        raise found
    return found


def _column(reports: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """One entry of the reports that have it, by video."""
    return {key: report[name] for key, report in reports.items() if name in report}
