"""Videos of unknown people: no protocol can separate people there, and every result carries a note of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, Literal

import numpy as np

from resgat_pl.core.types import VideoRecord
from resgat_pl.data.layouts.base import Layout
from resgat_pl.data.layouts.detect import LAYOUTS, layout_of
from resgat_pl.data.manifest.table import Manifest

PEOPLE_UNKNOWN: Final = "people unknown"
"""Declared by protocols and stamped on results where identities are no people. It is no leak: it is not known whether
people are on both sides of a split."""


@cache
def _layouts() -> dict[str, Layout]:
    """This package's layouts; of others the manifest says it, for they may not be installed where it is read."""
    return {kind.name: kind() for kind in LAYOUTS}


def has_known_people(video: VideoRecord) -> bool:
    """True if the identities of a video are known to be people."""
    if video.people is not None:
        return video.people
    layout = _layouts().get(video.dataset)
    return layout is not None and layout.knows_people(video)


def unknown_people(videos: Iterable[VideoRecord]) -> dict[str, str]:
    """Data sets with videos of unknown people, and why they are unknown."""
    names = sorted({video.dataset for video in videos if not has_known_people(video)})
    return {name: (layout_of(name) or Layout).people_note for name in names}


def declared_of(videos: Iterable[VideoRecord]) -> frozenset[Literal["people unknown"]]:
    """The part of a protocol's ``declares`` that depends on the videos alone."""
    return frozenset({PEOPLE_UNKNOWN} if unknown_people(videos) else ())


def unknown_in(manifest: Manifest) -> dict[str, str]:
    """``unknown_people`` of the videos that have a crop in any split."""
    videos = manifest.videos()
    taken = np.unique(manifest.video_codes[manifest.split_codes >= 0])
    return unknown_people(videos[code] for code in taken.tolist())


def statements(unknown: dict[str, str]) -> list[str]:
    """``people unknown for dfdc: …``, one line per data set."""
    return [f"{PEOPLE_UNKNOWN} for {name}: {note}" for name, note in unknown.items()]


def noted(layout: Layout) -> dict[str, Any]:
    """Notes for a manifest on a layout's people, where they do not follow from the name of its data set."""
    known = _layouts().get(layout.name)
    return {layout.name: True} if layout.people and not (known is not None and known.people) else {}
