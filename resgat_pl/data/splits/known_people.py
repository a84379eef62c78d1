"""Whether it is known who is in a video: where it is not, no protocol can keep people apart, and everything says so."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, Literal

import numpy as np

from resgat_pl.core.types import VideoRecord
from resgat_pl.data.layouts.base import Layout
from resgat_pl.data.layouts.detect import LAYOUTS
from resgat_pl.data.manifest.table import Manifest

PEOPLE_UNKNOWN: Final = "people unknown"
"""What a protocol declares, and results are stamped with, where identities are no people. It is no leak: whether people
stand on both sides of a split is not known."""


@cache
def _layouts() -> dict[str, Layout]:
    return {kind.name: kind() for kind in LAYOUTS}


def has_known_people(video: VideoRecord) -> bool:
    """Whether the identities of a video are people; not where nothing says so."""
    if video.people is not None:
        return video.people
    layout = _layouts().get(video.dataset)
    return layout is not None and layout.knows_people(video)


def unknown_people(videos: Iterable[VideoRecord]) -> dict[str, str]:
    """Data sets with videos of unknown people, and why they are unknown."""
    names = sorted({video.dataset for video in videos if not has_known_people(video)})
    return {name: _layouts()[name].people_note if name in _layouts() else Layout.people_note for name in names}


def declared_of(videos: Iterable[VideoRecord]) -> frozenset[Literal["people unknown"]]:
    """What any protocol declares about these videos, whatever it does with them."""
    return frozenset({PEOPLE_UNKNOWN} if unknown_people(videos) else ())


def unknown_in(manifest: Manifest) -> dict[str, str]:
    """``unknown_people`` of the videos that have a crop in any split."""
    videos = manifest.videos()
    taken = np.unique(manifest.video_codes[manifest.split_codes >= 0])
    return unknown_people(videos[code] for code in taken.tolist())


def statements(unknown: dict[str, str]) -> list[str]:
    """``people unknown for dfdc: …``, one line a data set."""
    return [f"{PEOPLE_UNKNOWN} for {name}: {note}" for name, note in unknown.items()]


def noted(layout: Layout) -> dict[str, Any]:
    """What a manifest has to note about a layout's people, because its data set's name does not say it."""
    known = _layouts().get(layout.name)
    return {layout.name: True} if layout.people and not (known is not None and known.people) else {}
