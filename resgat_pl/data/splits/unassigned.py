"""Videos and crops that no split takes, and why: nothing is left out in silence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.types import VideoRecord
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import links

_SHARED: Final = {
    "file": "hold a file of another split",
    "video": "share an original with another split",
    "source": "are from one YouTube video with a clip of another split",
    "person": "show a person of another split",
}
"""The reason in words for each kind of link to a video of a split, the plainest first."""


def why_unassigned(
    videos: Sequence[VideoRecord], row_video: NDArray[np.int64], taken: NDArray[np.bool_], noun: str = "crop"
) -> str:
    """Describe how much is in no split, and why.

    Args:
        videos: The videos.
        row_video: ``(rows,)`` position in ``videos`` of each row's video.
        taken: ``(rows,)`` whether the row is in a split.
        noun: What a row is.

    Returns:
        One line, without an end mark; empty where every row is in a split.
    """
    if taken.all():
        return ""
    if not taken.any():
        return f"none of the {len(taken):,} {noun}s is in a split"
    inside = np.zeros(len(videos), bool)
    inside[row_video[taken]] = True
    held: dict[str, set[str]] = defaultdict(set)
    for place in np.flatnonzero(inside).tolist():
        for link in links(videos[place]):
            held[link.partition(" ")[0]].add(link)
    out = np.bincount(row_video[~taken], minlength=len(videos))
    reasons: Counter[str] = Counter()
    for place in np.flatnonzero(out).tolist():
        names = set() if inside[place] else set(links(videos[place]))
        reason = next((said for kind, said in _SHARED.items() if names & held[kind]), "are left out by the protocol")
        reasons[reason] += int(out[place])
    said = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    count = int(np.count_nonzero(~taken))
    of = "" if noun == "video" else f" (of {int(np.count_nonzero(out)):,} videos)"
    return f"{count:,} of {len(taken):,} {noun}s{of} are in no split: {said}"


def unassigned(manifest: Manifest) -> str:
    """``why_unassigned`` of a manifest's crops."""
    taken = manifest.split_codes >= 0
    return "" if taken.all() else why_unassigned(manifest.videos(), manifest.video_codes, taken)
