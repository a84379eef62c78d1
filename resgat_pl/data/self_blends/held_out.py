"""``resgat blend``: a fixed set of self-blends of genuine crops, with their genuine partners and masks, to test on.

A self-blend and its partner went through one camera, so that the two differ in the forgery alone. Their untouched crop
is not in the same split: it would be the only kind without a camera, and a detector of compression would seem to be
one of forgeries.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from resgat_pl.core.disk_full import reporting_full_disk
from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.folder_lock import LOCK_NAME, folder_lock
from resgat_pl.core.formats import stamp
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import absolute, locate, make_folder, names_in, read_bytes, readable, refresh, write_atomic
from resgat_pl.core.text import nearest
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.extraction.fragment import fragment_path, read_fragment
from resgat_pl.data.extraction.jobs import digest
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.manifest.table import Manifest, merge
from resgat_pl.data.self_blends.blender import DEFAULT_SHAPES, SelfBlend
from resgat_pl.data.self_blends.camera import Source
from resgat_pl.data.self_blends.families import FAMILIES
from resgat_pl.data.self_blends.held_out_video import LeftOut, VideoTask, Writer
from resgat_pl.data.splits.groups import components
from resgat_pl.data.splits.skipped import SKIPPED

RECORD: Final = "self_blends.json"
"""File with what was asked for, written before the first crop."""
INFO: Final = "self_blends"
"""Key in ``Manifest.info``."""
VERSION: Final = 1
"""Raised whenever the same request would give other pixels or rows."""
_GOLDEN: Final = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly however many there are: so are the families over the videos."""


@dataclass(frozen=True)
class BlendSummary:
    """The content of a set of self-blends.

    Attributes:
        manifest: Path of the manifest.
        linked: Genuine crops taken over as they are.
        pairs: Number of pairs of a genuine crop and a fake.
        families: Number of pairs of each family.
        splits: Number of pairs of each split.
        left_out: Reason by crop, for crops that no pair was made of.

    Example:
        >>> print(BlendSummary(Path("held_out/manifest.parquet"), 2, 1, {"clone": 1}, {"test": 1}, {}))
        1 pair of a self-blend and its genuine partner (test 1): clone 1; 2 genuine crops as they are
        manifest: held_out/manifest.parquet
    """

    manifest: Path
    linked: int
    pairs: int
    families: dict[str, int]
    splits: dict[str, int]
    left_out: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = f"{self.pairs:,} pair{'' if self.pairs == 1 else 's'} of a self-blend and its genuine partner"
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        families = ", ".join(f"{name} {count:,}" for name, count in self.families.items())
        lines = [f"{pairs} ({splits}): {families}; {self.linked:,} genuine crops as they are"]
        for reason, count in Counter(self.left_out.values()).most_common():
            names = [name for name, why in self.left_out.items() if why == reason]
            shown = ", ".join(names[:3]) + (", …" if count > 3 else "")
            lines.append(f"{count:,} left out, {reason}: {shown}")
        return "\n".join([*lines, f"manifest: {self.manifest}"])


class _Request(NamedTuple):
    """All that decides the bytes."""

    splits: list[str]
    per_face: int
    families: list[str]
    shapes: dict[str, float]
    source: Source
    seed: int

    def plain(self, manifest: Manifest) -> dict[str, Any]:
        genuine = {"manifest": manifest.fingerprint(), "division": manifest.split_fingerprint()}
        return {"version": VERSION, **genuine, **self._asdict()}


def blend(
    crops: str | Path,
    out: str | Path,
    splits: str | list[str] = "val,test",
    per_face: int = 1,
    families: str | list[str] | None = None,
    shapes: str | list[str] | None = None,
    source: Source = "video",
    jobs: int = 1,
    seed: int = 0,
) -> BlendSummary:
    """Make a fixed set of self-blends of genuine crops, to validate and test on.

    Of the splits that are named, each genuine crop with landmarks gives pairs: a self-blend, and its genuine partner,
    which went through the same camera (size, blur, noise, compression); the manifest names the partner as the original
    of the fake. Genuine crops of the other splits are taken over as they are, by hard links where the disk has them;
    fakes of CROPS are left out. The method of a fake is its family, so that tests list each by itself. The same
    arguments give the same bytes, and a killed command continues where it stopped.

    Args:
        crops: Folder that `resgat extract` made; files or shards.
        out: Folder for the new crops and their manifest; new, empty, or begun by the same command.
        splits: Splits to make pairs in, separated by commas: train, val, test.
        per_face: Pairs of each genuine crop.
        families: Families to draw from, separated by commas, in equal numbers: blend, clone, inpaint, liquify, smooth,
            relight, render, patch; null takes all. Name one alone to test on a family that was left out of training.
        shapes: Shapes of masks, separated by commas: whole, lower, eyes, part, blob; null takes all.
        source: What the crops come from: video, or photo (portraits), which are compressed more, to look like frames.
        jobs: Threads.
        seed: Another seed gives other pairs.

    Returns:
        The content of the set.

    Raises:
        ConfigError: An option is unknown or out of range, ``out`` holds something else, or no genuine crop of the
            splits has landmarks.
        ManifestError: ``crops`` has no usable manifest.
        SplitError: None of the splits has genuine crops.
        StorageError: The disk is full.
    """
    request = _Request(
        splits=_named("splits", splits, SPLITS),
        per_face=per_face,
        families=_named("families", families if families is not None else list(FAMILIES), FAMILIES),
        shapes=DEFAULT_SHAPES if shapes is None else dict.fromkeys(_named("shapes", shapes, DEFAULT_SHAPES), 1.0),
        source=source,
        seed=seed,
    )
    for name, value, least in (("per_face", per_face, 1), ("jobs", jobs, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"--{name} is {value}, must be at least {least}")
    SelfBlend(shapes=request.shapes, source=source)
    crops, out = absolute(locate(crops)), absolute(locate(out))
    require_folder(out, "OUT")
    manifest = Manifest.read(crops)
    if manifest.folder == out:
        raise ConfigError(
            f"The self-blends would be written into the crops they are made of ({out}). Name another OUT."
        )
    genuine = _genuine(manifest, request.splits)

    asked = request.plain(manifest)
    make_folder(out)
    with folder_lock(out, wait=True), reporting_full_disk(out):
        _begin(out, asked)
        left_out = _write(manifest, genuine, out, request, jobs, digest(asked))
        return _collect(manifest, genuine, out, request, asked, left_out)


def _named(option: str, given: str | list[str], known: Sequence[str] | dict[str, Any]) -> list[str]:
    """Names separated by commas, in the order of ``known``."""
    names = [name.strip() for name in (given.split(",") if isinstance(given, str) else given) if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"--{option} has {name!r}; there are {', '.join(known)}.{nearest(name, list(known))}")
    if not names:
        raise ConfigError(f"--{option} names nothing; there are {', '.join(known)}.")
    return [name for name in known if name in names]


def _genuine(manifest: Manifest, splits: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the genuine crops; some of them are in the splits, and have landmarks.

    Raises:
        ConfigError: None has landmarks.
        SplitError: None is in the splits.
    """
    genuine = np.flatnonzero(manifest.column("label") == REAL)
    if not len(genuine):
        raise ConfigError(
            f"{manifest.folder} has no genuine crop among {len(manifest):,}: self-blends are made of genuine faces. "
            "Extract genuine videos or portraits (a folder with real/ in it)."
        )
    where = manifest.column("split")[genuine]
    wanted = genuine[np.isin(where, list(splits))]
    if not len(wanted):
        raise SplitError(_why_none(manifest, genuine, where, splits))
    landmarks = manifest.take(wanted, ["landmarks"]).column("landmarks")
    if landmarks.null_count == len(wanted):
        raise ConfigError(
            f"None of the {len(wanted):,} genuine crops of {', '.join(splits)} in {manifest.folder} has landmarks, by "
            "which masks are laid over the face. Extract them with a detector that finds landmarks, as the default one "
            "does; crops that were made elsewhere have none."
        )
    return genuine


def _why_none(manifest: Manifest, genuine: NDArray[np.int64], where: NDArray[Any], splits: Sequence[str]) -> str:
    videos = [video for video in manifest.videos() if video.label == REAL]
    groups = components(videos)
    if len(groups) == 1:
        who = ", ".join(sorted({name for video in videos for name in video.identities})[:3])
        return (
            f"All {len(genuine):,} genuine crops of {manifest.folder} are of one person or recording ({who}), and none "
            f"is in {', '.join(splits)}: training and test cannot be apart. Add other people; or, to test only, name "
            "the split they are in with --splits."
        )
    found = Counter(str(name or "no split") for name in where)
    there = ", ".join(f"{name} {count:,}" for name, count in found.items())
    return (
        f"None of the {len(genuine):,} genuine crops of {manifest.folder} is in {', '.join(splits)} (there are: "
        f"{there}). Name other --splits, or divide them: resgat extract ROOT {manifest.folder} --split ..."
    )


def _begin(out: Path, asked: dict[str, Any]) -> None:
    """Note what is asked for, unless the folder holds something else.

    Raises:
        ConfigError: It does.
    """
    refresh(out)
    path = out / RECORD
    if path.is_file():
        try:
            found = json.loads(read_bytes(path))["request"]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = {}
        plain = json.loads(json.dumps(asked))
        if found != plain:
            names = [name for name in plain if not isinstance(found, dict) or found.get(name) != plain[name]]
            raise ConfigError(
                f"{out} holds self-blends of another request (other {', '.join(names) or 'options'}), and nothing was "
                "changed. Name another folder, or remove that one."
            )
    elif others := [name for name in names_in(out) if not name.startswith(LOCK_NAME)]:
        raise ConfigError(f"{out} is not empty ({others[0]}) and holds no self-blends. Name a new or empty folder.")
    else:
        write_atomic(path, json.dumps({**stamp(1), "request": asked}, indent=1).encode())
    make_folder(out / "fragments")


def _tasks(manifest: Manifest, genuine: NDArray[np.int64], request: _Request) -> Iterator[VideoTask]:
    """The work on each genuine video: taken over, or ``per_face`` pairs of each of its crops."""
    videos = manifest.videos()
    splits = manifest.column("split")
    taken = {video.video for video in videos}
    number = dict.fromkeys(request.splits, 0)
    codes = manifest.video_codes[genuine]
    for code in np.unique(codes).tolist():
        rows = genuine[codes == code]
        # Frames of one video may stand in several splits, where a protocol divides frames.
        blended = np.isin(splits[rows], request.splits)
        if not blended.all():
            yield VideoTask(videos[code], rows[~blended])
        if not blended.any():
            continue
        split = str(splits[rows[blended][0]])
        for place in range(request.per_face):
            name = f"{videos[code].video}~{place}"
            while name in taken:
                name += "~"
            share = (0.5 + number[split] * _GOLDEN) % 1.0
            family = request.families[int(share * len(request.families))]
            number[split] += 1
            yield VideoTask(videos[code], rows[blended], name, family, place)


def _write(
    manifest: Manifest, genuine: NDArray[np.int64], out: Path, request: _Request, jobs: int, asked: str
) -> LeftOut:
    """Write the crops and the fragment of each video that is not written yet; return what was left out."""
    writer = Writer(manifest, out, request.shapes, request.source, request.seed, asked)
    tasks = list(_tasks(manifest, genuine, request))
    todo = writer.to_do(tasks)
    total = sum(len(task.rows) for task in tasks)
    left = sum(len(task.rows) for task in todo)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads are the parallelism
    try:
        with (
            ThreadPoolExecutor(jobs) as pool,
            tqdm(total=total, initial=total - left, unit="crop", desc=f"blend {out.name}") as bar,
        ):
            try:
                for count in pool.map(writer, todo):
                    bar.update(count)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        cv2.setNumThreads(threads)
    return writer.left_out(tasks)


def _collect(
    manifest: Manifest,
    genuine: NDArray[np.int64],
    out: Path,
    request: _Request,
    asked: dict[str, Any],
    left_out: LeftOut,
) -> BlendSummary:
    """Write the manifest of all videos.

    Raises:
        ConfigError: There is not one pair.
    """
    keys = [video.key for task in _tasks(manifest, genuine, request) for video in task.written]
    paths = [fragment_path(out, key) for key in keys]
    tables: list[pa.Table] = [read_fragment(readable(path), path) for path in paths]
    kept = {name: value for name, value in manifest.info.items() if name not in {"request", "version", SKIPPED}}
    info = {**kept, SKIPPED: [], INFO: {**asked, "left_out": dict(Counter(left_out.values()))}}
    made = merge(out, tables, info)
    fake = made.column("label") == FAKE
    if not fake.any():
        name, reason = next(iter(left_out.items()))
        raise ConfigError(f"Not one self-blend could be made of {len(left_out):,} genuine crops. {name}: {reason}.")
    made.write()
    counted = {name: dict(sorted(Counter(made.column(name)[fake].tolist()).items())) for name in ("method", "split")}
    pairs = int(fake.sum())
    return BlendSummary(
        out / "manifest.parquet", len(made) - 2 * pairs, pairs, counted["method"], counted["split"], left_out
    )
