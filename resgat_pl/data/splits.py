"""Protocols that divide the videos of a data set into train, val and test.

Every protocol is a pure function of (records, seed): the order of the records, the process and the machine do not
matter. Randomness comes from SHA-256 and from the raw stream of PCG64, which are the same everywhere, whereas ``hash``
differs between processes and numpy's distributions may differ between releases.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resgat_pl.data.groups import by_original, components, links, share_out
from resgat_pl.errors import ConfigError, SplitError
from resgat_pl.types import FAKE, REAL, Split, VideoRecord

SPLITS: Final[tuple[Split, ...]] = get_args(Split)


class ClassCounts(NamedTuple):
    """Number of videos (or crops) of each class; indexed by label."""

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
            msg = (
                f"The split {split!r} has no {lacks} video. All counts: {describe_counts(counts)}. Both classes are "
                "needed to train and to score: use more videos, a larger share, or another protocol or seed."
            )
            raise SplitError(msg)


class SplitProtocol(ABC):
    """A way to divide a data set.

    Attributes:
        name: Name of the protocol, for reports.
        leaky: True if the same video or person can stand on both sides, so that scores are too good.
    """

    name: ClassVar[str]
    leaky: ClassVar[bool] = False

    @abstractmethod
    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """Return the split of every video by its key.

        Raises:
            SplitError: The protocol does not fit these videos.
        """

    def assign_rows(self, videos: Sequence[VideoRecord], row_video: NDArray[np.int64]) -> NDArray[np.str_]:
        """Return the split of each row of a manifest.

        Args:
            videos: The videos of the manifest.
            row_video: ``(rows,)`` position in ``videos`` of each row's video.

        Returns:
            ``(rows,)`` of dtype ``U5``.

        Raises:
            SplitError: The protocol does not fit these videos.
        """
        chosen = self.assign(videos)
        return np.array([chosen[video.key] for video in videos], dtype="U5")[row_video]


class IdentitySplit(SplitProtocol):
    """Keeps together all videos that share a person or an original, also through other videos.

    Groups go to the split that is furthest behind its share, each class counted for itself, so that the classes are
    balanced as far as the groups allow. When all hangs together (the actors of DeepFakeDetection all swap faces with
    each other) no such split exists. Then, that is if one group leaves less than half of the ``val`` and ``test``
    share to all others, it is broken up by original, and a ``UserWarning`` says so: people then stand on both sides.

    Args:
        val: Share of the videos for validation, in [0, 1).
        test: Share of the videos for testing, in [0, 1); the rest is for training.
        seed: Another seed gives another split.
    """

    name = "identity"

    def __init__(self, val: float = 0.14, test: float = 0.14, seed: int = 0) -> None:
        self.shares = _shares(val, test, seed)
        self.seed = seed

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        return self.assign_some(videos, len(videos))

    def assign_some(self, videos: Sequence[VideoRecord], total: int) -> dict[str, Split]:
        """Return the split of ``videos`` that are part of a data set of ``total`` videos, the others being settled.

        A group is broken up only if it is too large for the data set as a whole.
        """
        groups: list[list[VideoRecord]] = []
        for group in components(videos):
            pieces = by_original(group)
            if total - len(group) >= (1 - self.shares["train"]) / 2 * total or len(pieces) == 1:
                groups.append(group)
                continue
            people = {name for video in group for name in video.identities}
            warnings.warn(
                f"{len(group):,} of {total:,} videos hang together through {len(people):,} people, so no split keeps "
                "these people apart. It is made by original instead: the same person can be in train and test, and "
                "scores can be too good. Test on another data set to be sure.",
                UserWarning,
                stacklevel=3,
            )
            groups += pieces
        return share_out(groups, self.shares, self.seed)


class PartSplit(SplitProtocol):
    """Divides DFDC by whole parts; parts that share a person or an original stay together.

    Args:
        val: Share of the videos for validation, in [0, 1).
        test: Share of the videos for testing, in [0, 1); the rest is for training.
        seed: Another seed gives another split.
    """

    name = "part"

    def __init__(self, val: float = 0.1, test: float = 0.1, seed: int = 0) -> None:
        self.shares = _shares(val, test, seed)
        self.seed = seed

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        parts = {video.part for video in videos if video.part}
        groups = components(videos, by_part=True)
        wanted = [split for split, share in self.shares.items() if share]
        if lost := [video.key for video in videos if not video.part]:
            msg = (
                f"{len(lost):,} videos are in no part, such as {min(lost)}: split by identity instead (IdentitySplit)."
            )
            raise SplitError(msg)
        if len(groups) < len(wanted):
            msg = (
                f"{len(parts)} parts make {len(groups)} groups without common originals, too few for "
                f"{', '.join(wanted)}: download more parts, or split by identity instead (IdentitySplit)."
            )
            raise SplitError(msg)
        return share_out(groups, self.shares, self.seed)


class OfficialSplit(SplitProtocol):
    """The split that the data set prescribes.

    Where it has a train but no val split, part of train is held out by identity.

    Args:
        val: Share of the train videos to hold out, in [0, 1), where no val split is prescribed.
        seed: Another seed holds out other videos.
    """

    name = "official"

    def __init__(self, val: float = 0.1, seed: int = 0) -> None:
        self._hold_out = IdentitySplit(val, 0.0, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        chosen = {video.key: video.official_split for video in videos if video.official_split}
        if not chosen:
            msg = (
                "No video has an official split. For FaceForensics++ put train.json, val.json and test.json (folder "
                "dataset/splits of its official repository) into ROOT/splits or ROOT, or name their folder with "
                "`splits` of the FFPP layout, and index or extract again. Otherwise choose IdentitySplit."
            )
            raise SplitError(msg)
        if lost := [video.key for video in videos if not video.official_split]:
            msg = (
                f"{len(lost):,} of {len(videos):,} videos have no official split, such as {min(lost)}: leave them out "
                "with the options of the layout, or choose AutoSplit, which splits them by identity."
            )
            raise SplitError(msg)
        if "val" not in chosen.values():
            chosen |= self._hold_out.assign([video for video in videos if video.official_split == "train"])
        return chosen


class AutoSplit(SplitProtocol):
    """What the data set prescribes, and without leaks where it prescribes nothing.

    Each data set is divided for itself. Videos with an official split keep it (``OfficialSplit``), and others follow
    the people they share with those. What is left is split by part if there are at least three parts that share
    nothing (DFDC), else by identity; if the data set prescribes a test set only, it is split into train and val.

    Args:
        val: Share of the videos for validation, in [0, 1), where nothing is prescribed.
        test: Share of the videos for testing, in [0, 1), where nothing is prescribed.
        seed: Another seed gives another split, where nothing is prescribed.
    """

    name = "auto"

    def __init__(self, val: float = 0.14, test: float = 0.14, seed: int = 0) -> None:
        _shares(val, test, seed)
        self.val = val
        self.test = test
        self.seed = seed

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        by_dataset: dict[str, list[VideoRecord]] = defaultdict(list)
        for video in videos:
            by_dataset[video.dataset].append(video)
        return {key: split for part in by_dataset.values() for key, split in self._assign_one(part).items()}

    def _assign_one(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        settled = [video for video in videos if video.official_split]
        if not settled:
            return self._divide(videos, len(videos), self.test)
        chosen = OfficialSplit(self.val, self.seed).assign(settled)
        known: dict[str, set[Split]] = defaultdict(set)
        for video in settled:
            for name in links(video):
                known[name].add(chosen[video.key])
        free: list[VideoRecord] = []
        for group in components([video for video in videos if not video.official_split]):
            ties = {split for video in group for name in links(video) for split in known.get(name, ())}
            if len(ties) > 1:
                msg = (
                    f"{group[0].key} and what hangs together with it shares people with the official splits "
                    f"{', '.join(sorted(ties))}: remove these videos, or choose IdentitySplit."
                )
                raise SplitError(msg)
            if ties:
                chosen |= dict.fromkeys((video.key for video in group), ties.pop())
            else:
                free += group
        only_test = {video.official_split for video in settled} == {"test"}
        return chosen | self._divide(free, len(videos), 0.0 if only_test else self.test)

    def _divide(self, videos: Sequence[VideoRecord], total: int, test: float) -> dict[str, Split]:
        if all(video.part for video in videos) and len(components(videos, by_part=True)) >= 3:
            return PartSplit(self.val, test, self.seed).assign(videos)
        return IdentitySplit(self.val, test, self.seed).assign_some(videos, total)


class FrameSplit(SplitProtocol):
    """Cuts each class by single crops: frames of one video stand on both sides, so scores are far too good.

    This is what the counts in Table 1 of the ResGAT paper are (an exact 80/20 cut of each class). It is offered to
    show what the leak is worth, and is taken only when asked for by name.

    Args:
        val: Share of the crops for validation, in [0, 1).
        test: Share of the crops for testing, in [0, 1); the rest is for training.
        seed: Another seed gives another split.
    """

    name = "frame"
    leaky = True

    def __init__(self, val: float = 0.1, test: float = 0.2, seed: int = 0) -> None:
        self.shares = _shares(val, test, seed)
        self.seed = seed

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """Refuse: one video stands in several splits.

        Raises:
            SplitError: Always.
        """
        msg = "FrameSplit divides crops, not videos: use assign_rows, or choose another protocol."
        raise SplitError(msg)

    def assign_rows(self, videos: Sequence[VideoRecord], row_video: NDArray[np.int64]) -> NDArray[np.str_]:
        """See base class; a crop is known by its video's key and its place among the rows of that video."""
        warnings.warn(
            "FrameSplit puts frames of one video into train and test: the scores say nothing about unseen videos.",
            UserWarning,
            stacklevel=2,
        )
        by_key = sorted(range(len(videos)), key=lambda place: videos[place].key)
        rank = np.empty(len(videos), np.int64)
        rank[by_key] = np.arange(len(videos))
        canonical = np.argsort(rank[row_video], kind="stable")
        labels = np.array([video.label for video in videos], np.int64)[row_video[canonical]]
        splits = np.full(len(row_video), "train", dtype="U5")
        for label in (REAL, FAKE):
            rows = canonical[labels == label]
            stream = np.random.PCG64(np.random.SeedSequence([self.seed, label]))
            shuffled = rows[np.argsort(stream.random_raw(len(rows)), kind="stable")]
            test, val = (round(self.shares[split] * len(rows)) for split in ("test", "val"))
            splits[shuffled[:test]] = "test"
            splits[shuffled[test : test + val]] = "val"
        return splits


def _shares(val: float, test: float, seed: int) -> dict[Split, float]:
    """Check a protocol's options and return the share of each split.

    Raises:
        ConfigError: A share or the seed is negative, or nothing is left for training.
    """
    if not (val >= 0 and test >= 0 and val + test < 1 and seed >= 0):
        msg = (
            f"val={val}, test={test}, seed={seed}: need shares from 0 that leave some for training, and a seed from 0."
        )
        raise ConfigError(msg)
    return {"train": 1 - val - test, "val": val, "test": test}
