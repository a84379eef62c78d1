"""Leaks between the videos that a checkpoint was trained or validated on and those it is tested on.

A checkpoint holds its training and validation videos, and their links to others (``groups.links``: originals, people,
source clips), as hashes of 8 bytes each. So a test that ``fit`` would refuse is refused whatever manifest the videos
come in.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from resgat_pl.core.errors import LeakageError, WeightsError
from resgat_pl.core.text import count_and_name
from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.layouts.crop_lists import CropLists
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import links
from resgat_pl.data.splits.known_people import PEOPLE_UNKNOWN, statements, unknown_in
from resgat_pl.data.splits.leakage import KIND_OF_LINK, declared

UNKNOWN: Final = "unknown"
"""Stamp of a test that may leak: the checkpoint does not list all it has seen."""
VALIDATION: Final = "validation"
"""Stamp of a test on videos that chose the epoch, the thresholds and the temperature."""
REMEMBERED: Final = ("train_videos", "train_links", "val_videos", "val_links")
"""Keys of the hashes in a checkpoint's provenance; older checkpoints have the first one only."""

_BY_NAME: Final = (Folder.name, CropLists.name)
"""Data sets of the user's own files: two of them may both number their files from 0."""
_SEEN: Final = {
    "video": "test videos were in its training split",
    "original": "test videos share an original with its training split",
    "identity": "test videos show people of its training split",
    "source": "test videos are from one YouTube video with its training split",
    "duplicate": "test videos hold files of its training split",
}


def video_hashes(keys: Sequence[str]) -> Tensor:
    """``(n,)`` int64, sorted: hashes of videos by data set, method and name.

    The compression is left out: a video in c40 is no unseen video to a detector that was trained on it in c23.
    """
    return _hashes([_without_compression(key) for key in keys])


def link_hashes(videos: Iterable[VideoRecord]) -> Tensor:
    """``(n,)`` int64, sorted, each once: hashes of the links of videos to others, without the compression."""
    return _hashes(sorted({name for video in videos for name in _links(video)}))


def hashes_to_store(manifest: Manifest) -> dict[str, Tensor]:
    """The hashes of a manifest's training and validation videos, by ``REMEMBERED``."""
    found = {}
    for split in ("train", "val"):
        videos = videos_of(manifest, split)
        found[f"{split}_videos"] = video_hashes([video.key for video in videos])
        found[f"{split}_links"] = link_hashes(videos)
    return found


def merge_stored_hashes(earlier: Mapping[str, Any] | None, now: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hashes for a checkpoint whose training was resumed from another one.

    Where that one does not list what it saw, the hashes are left out from which one could wrongly conclude that a test
    is clean, unless all its training videos are known to be trained on again.

    Args:
        earlier: The provenance of the checkpoint that was resumed.
        now: ``hashes_to_store`` of the manifest in force.
    """
    if earlier is None:
        return dict(now)
    there = {name: value for name in REMEMBERED if isinstance(value := earlier.get(name), Tensor)}
    both = {name: torch.unique(torch.cat([there[name], now[name]])) for name in there}
    again = "train_videos" in there and bool(torch.isin(there["train_videos"], now["train_videos"]).all())
    missing = {name: now[name] for name in REMEMBERED if name not in there} if again else {}
    return {"train_videos": now["train_videos"], **both, **missing}


def videos_of(manifest: Manifest, split: Split) -> list[VideoRecord]:
    """The videos with at least one crop in a split."""
    videos = manifest.videos()
    return [videos[code] for code in np.unique(manifest.video_codes[manifest.rows_of(split)]).tolist()]


def check_unseen(
    checkpoint: str | Path, stored: dict[str, Any] | None, manifest: Manifest, allow_leakage: bool = False
) -> list[str]:
    """Make sure that a test is on unseen videos, as ``fit`` does for its own splits.

    Refused are test videos that a checkpoint was trained or validated on, fakes of such and genuine videos that such
    fakes were made from, people and source clips, whatever the compression. A kind of leak that the protocol of the
    tested splits declares is stamped instead, and so is one of the checkpoint's own splits that ``fit`` let pass.

    Args:
        checkpoint: Path, for messages.
        stored: The checkpoint's provenance; None where it has none.
        manifest: The manifest to be tested on, with its splits.
        allow_leakage: Warn instead of refusing.

    Returns:
        Kinds of leak to stamp the results with: see ``groups.LeakKind``, ``validation`` for videos that it was
        validated on, ``unknown`` where the checkpoint does not list what it has seen.

    Raises:
        LeakageError: Names the videos.
        WeightsError: The checkpoint carries no provenance.
    """
    if stored is None or not isinstance(stored.get("train_videos"), Tensor):
        message = f"The checkpoint {checkpoint} does not say what it was trained on: it carries no provenance."
        if not allow_leakage:
            raise WeightsError(
                f"{message} Train again with this version, or test it nevertheless with --data.allow_leakage true: "
                "results are then stamped as of unknown leakage."
            )
        rank_zero_warn(f"{message} Results are stamped as of unknown leakage.")
        return [UNKNOWN]
    same_splits = (stored.get("data") or {}).get("splits") == manifest.split_fingerprint()
    leaky = set(map(str, stored.get("leaky", ()))) if same_splits else set()
    allowed = declared(manifest) | (leaky - {"video"})
    refused = []
    for (kind, what), keys in _shared(stored, videos_of(manifest, "test")).items():
        if same_splits and kind in leaky and kind in allowed:
            continue  # as fit found, reported and stamped
        said = count_and_name(keys, what, what)
        stamp = VALIDATION if what == _validation("video") else kind
        if kind not in allowed and not allow_leakage:
            refused.append(said)
            continue
        if stamp not in leaky:
            rank_zero_warn(f"{checkpoint}: {said}. Results are stamped as leaky.")
        leaky.add(stamp)
    if refused:
        hint = ""
        if any(video.dataset in _BY_NAME for video in videos_of(manifest, "test")):
            hint = " Own files are known by their names only: if these are others of the same names, rename them."
        raise LeakageError(
            f"{checkpoint} cannot be tested on {manifest.folder}: {'; '.join(refused)}.{hint} Test under the split "
            "it was trained under (its config.yaml), on other videos, or accept it with --data.allow_leakage true: "
            "results are then stamped as leaky."
        )
    if (not same_splits or stored.get("incomplete")) and any(name not in stored for name in REMEMBERED):
        rank_zero_warn(
            f"{checkpoint} says which videos it was trained on, but not which people, originals and validation videos "
            "it has seen: whether they are in this test is unknown for this checkpoint. Results are stamped as of "
            "unknown leakage. Training again with this version notes them."
        )
        leaky.add(UNKNOWN)
    return sorted(leaky)


def people_unknown(stored: Mapping[str, Any] | None, manifest: Manifest) -> list[str]:
    """Statements on people who are unknown, in the test or in the training: one line per data set."""
    noted = ((stored or {}).get("data") or {}).get("people_unknown")
    trained = {str(name): str(why) for name, why in noted.items()} if isinstance(noted, dict) else {}
    return statements({**trained, **unknown_in(manifest)})


def describe(leaky: Sequence[str], people: Sequence[str]) -> list[str]:
    """Lines to be shown below scores: leaks, and what is unknown."""
    kinds = [kind for kind in leaky if kind != UNKNOWN]
    lines = [f"LEAKY: these scores suffer from leaks between splits ({', '.join(kinds)})"] if kinds else []
    if UNKNOWN in leaky:
        lines.append(f"LEAKAGE UNKNOWN ({UNKNOWN}): the checkpoint does not say all that it has seen")
    return [*lines, *people]


def mark_of_leaks(leaky: Sequence[str], people: Sequence[str]) -> str:
    """The same in a table: `` (leaky: video; people unknown)``, or nothing."""
    said = [f"leaky: {', '.join(leaky)}"] if leaky else []
    said += [PEOPLE_UNKNOWN] if people else []
    return f" ({'; '.join(said)})" if said else ""


def _shared(stored: Mapping[str, Any], tested: Sequence[VideoRecord]) -> dict[tuple[str, str], list[str]]:
    """Keys of the tested videos by the kind of leak and what they share with what a checkpoint has seen."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for split, say in (("train", _SEEN.__getitem__), ("val", _validation)):
        videos, ties = (
            set(value.tolist()) if isinstance(value := stored.get(f"{split}_{name}"), Tensor) else set()
            for name in ("videos", "links")
        )
        for video in tested:
            if int(video_hashes([video.key])[0]) in videos:
                found["video", say("video")].append(video.key)
                continue
            for kind in _kinds(video, ties):
                found[kind, say(kind)].append(video.key)
    return found


def _kinds(video: VideoRecord, ties: set[int]) -> list[str]:
    """Kinds of leak by what a video shares with others. One clip twice is no leak of two clips of one source."""
    names = [name for name in _links(video) if int(_hashes([name])[0]) in ties]
    kinds = dict.fromkeys(str(KIND_OF_LINK[name.partition(" ")[0]]) for name in names)
    if "identity" in kinds:
        kinds.pop("source", None)
    return list(kinds)


def _validation(kind: str) -> str:
    chosen = "its validation split, which chose epoch, thresholds and temperature"
    return _SEEN[kind].replace("its training split", chosen)


def _links(video: VideoRecord) -> list[str]:
    names = []
    for link in links(video):
        kind, _, name = link.partition(" ")
        names.append(f"video {_without_compression(name)}" if kind == "video" else link)
    return names


def _without_compression(key: str) -> str:
    return "/".join(part for place, part in enumerate(key.split("/", 3)) if place != 2)


def _hashes(names: Sequence[str]) -> Tensor:
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in names)
    return torch.from_numpy(np.sort(np.frombuffer(digests, "<i8").astype(np.int64)))
