"""``resgat extract``: from videos to face crops and a manifest; idempotent, resumable, the same bytes every time.

A video is done when its fragment carries the hash of the current request (settings, file sizes, original). A killed
run therefore continues with the same command and ends with the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from resgat_pl.core.disk_full import reporting_full_disk
from resgat_pl.core.errors import ConfigError, ManifestError
from resgat_pl.core.executors import EngineName, open_executor
from resgat_pl.core.folder_lock import folder_lock
from resgat_pl.core.storage import absolute, locate
from resgat_pl.data.crop_store.writer import Store
from resgat_pl.data.extraction.jobs import digest, parse_part, requests_of
from resgat_pl.data.extraction.output_folder import prepare_out
from resgat_pl.data.extraction.run import ExtractionRun
from resgat_pl.data.extraction.settings import VIDEO_TIMEOUT, Extraction
from resgat_pl.data.extraction.summary import ExtractionSummary
from resgat_pl.data.layouts.base import Layout
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.manifest.table import Manifest, refuse_newer
from resgat_pl.data.splits.known_people import noted
from resgat_pl.data.splits.protocols import SplitProtocol, StrictSplit


def extract(
    root: str | Path,
    out: str | Path,
    layout: Layout | None = None,
    extraction: Extraction | None = None,
    split: SplitProtocol | None = None,
    jobs: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
    part: str | None = None,
    merge: bool = False,
    store: Store | None = None,
    shard_megabytes: float = 128,
    video_timeout: float = VIDEO_TIMEOUT,
    replace: bool = False,
) -> ExtractionSummary:
    """Cut the faces out of every video of a data set and write a manifest.

    Killed or failed, the same command continues where it stopped; finished, it has nothing to do. Where the work is
    done changes no byte of the result. Each video is cut in a process that may die of it: a video that cannot be read,
    kills its decoder or takes too long is named with the cause, and all others are cut. The same command tries it
    again, except one that took too long: that only with more time. While another command writes to the same folder,
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
        engine: Where the work is done: in processes of this machine, or by an existing Dask cluster whose workers see
            ``root`` and ``out`` under the same names.
        address: Address of the Dask scheduler, e.g. tcp://host:8786.
        part: Do one part of the work only, such as 3/50, without a manifest: for arrays of batch jobs.
        merge: Cut nothing; write the manifest of what the parts have cut.
        store: How the crops are stored. "files": single files, best on a local disk. "shards": gathered into WebDataset
            tars (crop, mask and a JSON of the manifest's row), for network disks, which are slow with hundreds of
            thousands of small files; training then streams them. Crops and manifest are the same either way. null goes
            on as OUT was begun, with files in a new folder; "shards" on a folder of files moves them into shards
            without cutting again.
        shard_megabytes: Size of a shard.
        video_timeout: Seconds that one video may take; give more for every frame of long videos. It does not change
            the crops.
        replace: Let crops that were cut with other settings be replaced; else they stay, and this is refused.

    Raises:
        DatasetNotFoundError: ``root`` is missing or has no known layout, or not one face was found.
        ConfigError: ``out`` cannot be used, or the options do not go together.
        EngineError: No process can be started, or the cluster was lost or does not answer.
        StorageError: The disk is full, or a bucket refuses to be written to.
        ManifestError: ``merge``, and some videos have not been cut yet; or a newer program made what is there.
    """
    # Options that contradict each other.
    chosen_part = None if part is None else parse_part(part)
    if merge and chosen_part is not None:
        raise ConfigError(f"--part {part} cuts and --merge collects: give --merge once, when all parts are done.")
    if shard_megabytes <= 0:
        raise ConfigError(f"shard_megabytes is {shard_megabytes}, must be more than 0")
    if not video_timeout > 0:
        raise ConfigError(f"--video_timeout is {video_timeout:g} seconds, must be more than 0; inf for no limit")

    root, out = absolute(locate(root)), absolute(locate(out))
    layout = layout or detect_layout(root)
    extraction = (extraction or Extraction()).of_layout(layout.difference_masks)
    threads = None if engine == "local" and jobs == 1 else 1  # the workers are the parallelism
    with open_executor(engine, address, jobs) as executor:
        index = layout.index(root)
        prepare_out(root, out)
        # What is there is only looked at once others have ended; batch jobs work on one folder together.
        with folder_lock(out, shared=chosen_part is not None, wait=True):
            run = ExtractionRun(root, out, index, layout, extraction, chosen_part)
            keys = run.plan(store, video_timeout, merge, replace)
            run.cut(executor, keys, video_timeout, threads)
            if chosen_part is not None:
                return run.collect_part()
            with reporting_full_disk(out):
                run.pack(shard_megabytes)
                return run.collect(split or StrictSplit())


def is_current(root: str | Path, out: str | Path, layout: Layout | None, extraction: Extraction) -> bool:
    """True if ``out`` holds the finished manifest of exactly this data set and these settings.

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
    requests = requests_of(records, extraction.of_layout(layout.difference_masks).spec)
    same_people = manifest.info.get("people", {}) == noted(layout)
    return same_people and bool(manifest.info.get("request") == digest(sorted(requests.items())))
