"""Videos that gave no crop: they have no row, but a test that leaves them out must report it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from resgat_pl.core.storage import read_bytes
from resgat_pl.core.types import FAKE, Split, VideoRecord
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import links

SKIPPED: Final = "skipped"
"""Key in ``Manifest.info``."""
_FIELDS: Final = ("dataset", "method", "compression", "video", "label", "original", "part", "official_split")


@dataclass(frozen=True)
class Coverage:
    """The share of a split that was scored.

    Attributes:
        scored: Videos with a score.
        of: Videos of the split, with those that gave no crop; None where the manifest does not name these.
        real: Genuine videos of the split that gave no crop: no face, or unreadable.
        fake: Fakes likewise.
        elsewhere: Further videos of the data set that gave no crop and share nothing with a video whose split is
            known.
    """

    scored: int
    of: int | None
    real: int = 0
    fake: int = 0
    elsewhere: int = 0

    def __str__(self) -> str:
        if self.of is None:
            return f"{self.scored:,} videos scored; how many gave no face, the manifest does not say (extract again)"
        text = f"{self.scored:,} of {self.of:,} videos scored"
        if self.real or self.fake:
            text += f"; no face could be cut from {self.real + self.fake:,} ({self.real:,} real, {self.fake:,} fake)"
        left = self.of - self.scored - self.real - self.fake
        text += f"; {left:,} were not tested" if left > 0 else ""
        return text + (f"; nor from {self.elsewhere:,} more, of an unknown split" if self.elsewhere else "")

    @property
    def brief(self) -> str:
        """``n of m``."""
        return f"{self.scored:,} of {'?' if self.of is None else f'{self.of:,}'}"

    def plain(self) -> dict[str, int | None]:
        """For JSON."""
        return {
            "scored": self.scored,
            "of": self.of,
            "without_face": None if self.of is None else self.real + self.fake,
            "without_face_real": None if self.of is None else self.real,
            "without_face_fake": None if self.of is None else self.fake,
            "without_face_of_unknown_split": None if self.of is None else self.elsewhere,
        }


def note(records: Mapping[str, VideoRecord], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Describe the videos that gave no crop, for ``Manifest.info``: what is needed to know label and split."""
    return [
        {**{name: getattr(records[key], name) for name in _FIELDS}, "identities": list(records[key].identities)}
        for key in sorted(keys)
    ]


def coverage(manifest: Manifest, scored: int, split: Split = "test") -> Coverage:
    """Count how much of a split was scored, of a manifest with the splits in force.

    A video that gave no crop belongs to the split of the videos it shares a person, an original or a source clip with,
    if that is one; or to its official split, if the manifest's videos are in theirs.

    Args:
        manifest: The manifest.
        scored: Videos with a score.
        split: The split that was scored.
    """
    skipped = _skipped(manifest)
    present = len(np.unique(manifest.video_codes[manifest.rows_of(split)]))
    if skipped is None:
        return Coverage(scored, None)
    if not skipped:
        return Coverage(scored, present)
    videos = manifest.videos()
    pairs = np.unique(np.stack([manifest.video_codes, manifest.split_codes.astype(np.int64)]), axis=1)
    known: dict[str, set[Split]] = {}
    official = True
    for code, place in pairs[:, pairs[1] >= 0].T.tolist():
        for name in links(videos[code]):
            known.setdefault(name, set()).add(SPLITS[place])
        official &= videos[code].official_split in (None, SPLITS[place])
    counts, elsewhere = [0, 0], 0
    for video in skipped:
        if official and video.official_split is not None:
            found = {video.official_split}
        else:
            found = set[Split]().union(*(known.get(name, set()) for name in links(video)))
        if len(found) != 1:
            elsewhere += 1
        elif split in found:
            counts[video.label == FAKE] += 1
    return Coverage(scored, present + sum(counts), counts[0], counts[1], elsewhere)


def _skipped(manifest: Manifest) -> list[VideoRecord] | None:
    """None where nothing is known: manifests of earlier versions name them in ``summary.json`` alone."""
    noted = manifest.info.get(SKIPPED)
    try:
        if noted is None:
            document = json.loads(read_bytes(manifest.folder / "summary.json"))
            return [_record(key) for key in document["skipped"]]
        return [
            VideoRecord(
                **{name: entry[name] for name in _FIELDS},
                kind="crops",
                files=(),
                identities=tuple(entry["identities"]),
            )
            for entry in noted
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _record(key: str) -> VideoRecord:
    """The record of a video as far as its key goes; its people are not known."""
    dataset, method, compression, video = ("" if part == "-" else part for part in key.split("/", 3))
    label = int(method != "original")
    return VideoRecord(dataset, method, compression, video, label, "crops", (), (video,))
