"""Numbers of videos or crops of each class in each split, and the check that they suffice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import FAKE, REAL, Split

SPLITS: Final[tuple[Split, ...]] = get_args(Split)


class ClassCounts(NamedTuple):
    """Number of videos (or crops) of each class; indexed by label.

    Example:
        >>> class_counts([0, 1, 1], ["train", "train", "val"])["train"]
        ClassCounts(real=1, fake=1)
    """

    real: int
    fake: int


def class_counts(labels: ArrayLike, splits: ArrayLike) -> dict[Split, ClassCounts]:
    """Count each class in each split, of videos or of crops alike.

    Args:
        labels: ``(N,)`` int, 1 = fake.
        splits: ``(N,)`` str, the split of each; anything but train, val and test is left out.
    """
    labels, splits = np.asarray(labels), np.asarray(splits)
    return {
        split: ClassCounts(*(int(np.count_nonzero((splits == split) & (labels == label))) for label in (REAL, FAKE)))
        for split in SPLITS
    }


def describe_counts(counts: Mapping[Split, ClassCounts]) -> str:
    """Write counts for people: ``train 10 real and 40 fake, val …``."""
    return ", ".join(f"{split} {count.real:,} real and {count.fake:,} fake" for split, count in counts.items())


def check_splits(counts: Mapping[Split, ClassCounts], needed: Collection[Split] = SPLITS) -> None:
    """Make sure that each needed split holds both classes.

    Raises:
        SplitError: One is empty or has a single class; the message gives all counts.
    """
    for split in needed:
        if not all(counts[split]):
            lacks = " and no ".join(name for name, count in counts[split]._asdict().items() if not count)
            raise SplitError(
                f"The split {split!r} has no {lacks}. All counts: {describe_counts(counts)}. Both "
                "classes are needed to train and to score: use more videos, a larger share, another protocol or seed."
            )


def only_class(counts: ClassCounts) -> str | None:
    """The one class that a split holds, ``real`` or ``fake``; None if it holds both or nothing."""
    there = [name for name, count in counts._asdict().items() if count]
    return there[0] if len(there) == 1 else None
