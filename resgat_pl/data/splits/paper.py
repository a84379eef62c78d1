"""The split that the counts in Table 1 of the ResGAT paper imply, by frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord
from resgat_pl.data.manifest.class_counts import ClassCounts
from resgat_pl.data.splits.known_people import declared_of
from resgat_pl.data.splits.protocols import SplitProtocol

PAPER_COUNTS: Final[dict[str, dict[Split, ClassCounts]]] = {
    "dfdc": {"train": ClassCounts(real=47_700, fake=32_300), "test": ClassCounts(real=4_639, fake=4_027)},
}
"""Crops in Table 1 of the ResGAT paper, where they are not a fixed share of all there are."""


class PaperSplit(SplitProtocol):
    """Divides single crops, as the counts in Table 1 of the ResGAT paper imply: scores are far too good.

    On FaceForensics++ the paper's counts are an exact 80/20 cut of each class, which only a cut by frame gives. On
    DFDC they are the paper's own numbers of crops (all reduced alike if there are fewer); that these were drawn by
    frame as well is an *assumption*, since the paper does not say. Frames of one video are on both sides: every kind
    of leak is declared. It is offered to show what the leak is worth.

    Args:
        val: Share of the training crops to hold out for validation, in [0, 1); the paper has none.
        test: Share of the crops for testing, in [0, 1), where the paper's counts are a share.
        seed: Another seed gives another split.

    Example:
        >>> PaperSplit(val=0.1).spec["name"]
        'paper'
    """

    name = "paper"
    declares = frozenset({"video", "original", "identity", "source", "duplicate"})

    def __init__(self, val: float = 0.0, test: float = 0.2, seed: int = 0) -> None:
        self._set_shares(val, test, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """Refuse: one video is in several splits.

        Raises:
            SplitError: Always.
        """
        raise SplitError("PaperSplit divides crops, not videos: extract first, or choose another protocol.")

    def assign_rows(self, videos: Sequence[VideoRecord], row_video: NDArray[np.int64]) -> NDArray[np.str_]:
        """See base class; a crop is known by its video's key and its place among the rows of that video."""
        self.declares = PaperSplit.declares | declared_of(videos)
        warnings.warn(
            "PaperSplit puts frames of one video into train and test: the scores say nothing about unseen videos.",
            UserWarning,
            stacklevel=2,
        )
        by_key = sorted(range(len(videos)), key=lambda place: videos[place].key)
        rank = np.empty(len(videos), np.int64)
        rank[by_key] = np.arange(len(videos))
        canonical = np.argsort(rank[row_video], kind="stable")
        names = sorted({video.dataset for video in videos})
        datasets = np.array([names.index(video.dataset) for video in videos], np.int64)[row_video[canonical]]
        labels = np.array([video.label for video in videos], np.int64)[row_video[canonical]]
        splits = np.full(len(row_video), "", dtype="U5")
        for number, name in enumerate(names):
            members = [canonical[(datasets == number) & (labels == label)] for label in (REAL, FAKE)]
            for label, (train, test) in enumerate(self._counts(name, *map(len, members))):
                rows = members[label]
                stream = np.random.PCG64(np.random.SeedSequence([self.seed, label]))
                shuffled = rows[np.argsort(stream.random_raw(len(rows)), kind="stable")]
                splits[shuffled[:test]] = "test"
                splits[shuffled[test : test + train]] = "train"
                splits[shuffled[test : test + round(self.val * train)]] = "val"
        return splits

    def _counts(self, dataset: str, *available: int) -> Iterator[tuple[int, int]]:
        """Train (val included) and test crops to take of each label."""
        paper = PAPER_COUNTS.get(dataset)
        if paper is None:
            for count in available:
                test = round(self.test * count)
                yield count - test, test
            return
        wanted = [(paper["train"][label], paper["test"][label]) for label in (REAL, FAKE)]
        scale = min(1.0, *(count / sum(want) for count, want in zip(available, wanted, strict=True)))
        for train, test in wanted:
            yield int(scale * train), int(scale * test)
