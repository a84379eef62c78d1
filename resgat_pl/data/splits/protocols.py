"""Protocols that divide the videos of a data set into train, val and test.

Every protocol is a pure function of (records, seed): the order of the records, the process and the machine do not
matter. Randomness comes from SHA-256 and from the raw stream of PCG64, which are the same everywhere, whereas ``hash``
differs between processes and numpy's distributions may differ between releases.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from inspect import signature
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.core.parts import is_ours
from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import LeakKind, by_original, components, links, share_out
from resgat_pl.data.splits.known_people import declared_of

Declared = LeakKind | Literal["people unknown"]


class SplitProtocol(ABC):
    """A way to divide a data set.

    Attributes:
        name: Name of the protocol, for reports.
        declares: Kinds of leak that are in the protocol's nature, so that scores are too good. They are printed and
            stamped on every result; any other leak is an error. After assigning, ``people unknown`` stands beside
            them where nothing says who is in the videos (``data.people``): that is no leak, and no promise either.

    Example:
        >>> IdentitySplit(seed=1).spec["seed"]
        1
    """

    name: ClassVar[str]
    declares: frozenset[Declared] = frozenset()

    @abstractmethod
    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """Return the split of every video by its key; videos that are absent take no part.

        Raises:
            SplitError: The protocol does not fit these videos.
        """

    def assign_rows(self, videos: Sequence[VideoRecord], row_video: NDArray[np.int64]) -> NDArray[np.str_]:
        """Return the split of each row of a manifest.

        Args:
            videos: The videos of the manifest.
            row_video: ``(rows,)`` position in ``videos`` of each row's video.

        Returns:
            ``(rows,)`` of dtype ``U5``; empty text where the row takes no part.

        Raises:
            SplitError: The protocol does not fit these videos.
        """
        chosen = self.assign(videos)
        return np.array([chosen.get(video.key, "") for video in videos], dtype="U5")[row_video]

    def _set_shares(self, val: float, test: float, seed: int) -> None:
        """Check and store a protocol's options.

        Raises:
            ConfigError: A share or the seed is negative, or nothing is left for training.
        """
        if not (val >= 0 and test >= 0 and val + test < 1 and seed >= 0):
            raise ConfigError(
                f"val={val}, test={test}, seed={seed}: need shares from 0 that leave some for training, and a seed "
                "from 0."
            )
        self.val, self.test, self.seed = val, test, seed
        self.shares: dict[Split, float] = {"train": 1 - val - test, "val": val, "test": test}

    @property
    def spec(self) -> dict[str, Any]:
        """Name, declared leaks and options as plain values, for the manifest; read after assigning.

        A protocol from outside this package has its class path beside its name, by which ``from_spec`` finds it, and as
        options the attributes that have the name of an argument: numbers, texts, and lists of them.
        """
        kind = type(self)
        outside = not is_ours(kind)
        path = {"class_path": f"{kind.__module__}.{kind.__name__}"} if outside else {}
        kept = _plain_arguments(self) if outside else vars(self)
        options = {name: value for name, value in kept.items() if outside or isinstance(value, int | float)}
        return {"name": self.name, "declares": sorted(self.declares), **path, **options}


def _plain_arguments(protocol: SplitProtocol) -> dict[str, Any]:
    """Attributes with the name of an argument, as JSON returns them; without those that are no plain values."""
    taken = signature(type(protocol)).parameters
    every = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    found = {}
    for name, value in vars(protocol).items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        if (every or name in taken) and all(isinstance(one, int | float | str | None) for one in values):
            found[name] = values if isinstance(value, list | tuple) else value
    return found


class IdentitySplit(SplitProtocol):
    """Divides groups of videos that share a person or an original, directly or through other videos.

    Groups go to the split that is furthest behind its share, each class counted for itself, so that the classes are
    balanced as far as the groups allow. When all are one group (the actors of DeepFakeDetection all swap faces with
    each other) no such split exists. Then, that is if one group leaves less than half of the ``val`` and ``test``
    share to all others, it is broken up by original, and a ``UserWarning`` says so: people then stand on both sides,
    and the leak ``identity`` is declared.

    Args:
        val: Share of the videos for validation, in [0, 1).
        test: Share of the videos for testing, in [0, 1); the rest is for training.
        seed: Another seed gives another split.

    Example:
        >>> from resgat_pl.core.types import REAL, VideoRecord
        >>> videos = [VideoRecord("d", "original", "", str(n), REAL, "video", (), (str(n),)) for n in range(10)]
        >>> sorted(IdentitySplit().assign(videos).values())
        ['test', 'test', 'train', 'train', 'train', 'train', 'train', 'train', 'val', 'val']
    """

    name = "identity"

    def __init__(self, val: float = 0.14, test: float = 0.14, seed: int = 0) -> None:
        self._set_shares(val, test, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        self.declares = declared_of(videos)
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
            self.declares |= frozenset({"identity", "source"})
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
    """Divides DFDC by whole parts; parts that share an identity or an original stay together.

    An identity of DFDC is a clip: whether parts share people is not known.

    Args:
        val: Share of the videos for validation, in [0, 1).
        test: Share of the videos for testing, in [0, 1); the rest is for training.
        seed: Another seed gives another split.

    Example:
        >>> PartSplit().spec["name"]
        'parts'
    """

    name = "parts"

    def __init__(self, val: float = 0.1, test: float = 0.1, seed: int = 0) -> None:
        self._set_shares(val, test, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        self.declares = declared_of(videos)
        parts = {video.part for video in videos if video.part}
        groups = components(videos, by_part=True)
        wanted = [split for split, share in self.shares.items() if share]
        if lost := [video.key for video in videos if not video.part]:
            raise SplitError(
                f"{len(lost):,} videos are in no part, such as {min(lost)}: split by identity instead (IdentitySplit)."
            )
        if len(groups) < len(wanted):
            raise SplitError(
                f"{len(parts)} parts make {len(groups)} groups without common originals, too few for "
                f"{', '.join(wanted)}: download more parts, or split by identity instead (IdentitySplit)."
            )
        return share_out(groups, self.shares, self.seed)


class OfficialSplit(SplitProtocol):
    """The split that the data set prescribes.

    Where it names a test set only (DFDC, Celeb-DF), all else is for training, people of the test set included. Where
    there is no val split, part of train is held out by identity. That of FaceForensics++ puts seven people on both
    sides (``Layout.same_source``): the leak ``source`` is declared.

    Args:
        val: Share of the train videos to hold out, in [0, 1), where no val split is prescribed.
        seed: Another seed holds out other videos.

    Example:
        >>> OfficialSplit().spec["name"]
        'official'
    """

    name = "official"
    declares = frozenset({"source"})

    def __init__(self, val: float = 0.1, seed: int = 0) -> None:
        self.val = val
        self.seed = seed
        self._hold_out = IdentitySplit(val, 0.0, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        chosen = {video.key: video.official_split for video in videos if video.official_split}
        if not chosen:
            raise SplitError(
                "No video has an official split. That of FaceForensics++ comes with this program, but is not taken for "
                "clips and fakes that it does not fit (the summary of the extraction says why): put train.json, "
                "val.json and test.json that fit into ROOT/splits, or name their folder with `splits` of the FFPP "
                "layout, and extract again, as crops of an older version need too. Otherwise choose IdentitySplit."
            )
        lost = [video.key for video in videos if not video.official_split]
        if set(chosen.values()) == {"test"}:
            chosen |= dict.fromkeys(lost, "train")
        elif lost:
            raise SplitError(
                f"{len(lost):,} of {len(videos):,} videos have no official split, such as {min(lost)}: leave them out "
                "with the options of the layout, or choose StrictSplit, which splits them by identity."
            )
        if "val" not in chosen.values():
            chosen |= self._hold_out.assign([video for video in videos if chosen[video.key] == "train"])
        self.declares = OfficialSplit.declares | self._hold_out.declares | declared_of(videos)
        return chosen


class StrictSplit(SplitProtocol):
    """The prescribed split without its leaks, and one without leaks where nothing is prescribed.

    Each data set is divided for itself. Videos with an official split keep it (``OfficialSplit``), but the test set
    comes first: a training or validation video that shares a person, an original or a source clip with the test set
    takes no part, nor does a training video that shares one with the validation set. So FaceForensics++ loses the
    seven pairs of clips of one person that cross its splits, and its test set stays whole. Videos without an official
    split follow the people they share with those, or take no part if only a test set is prescribed. What is left is
    split by part if there are at least three parts that share nothing (DFDC), else by identity; if the data set
    prescribes a test set only, it is split into train and val. Where identities are no people, people can stand on
    both sides, and ``people unknown`` is declared.

    Args:
        val: Share of the videos for validation, in [0, 1), where nothing is prescribed.
        test: Share of the videos for testing, in [0, 1), where nothing is prescribed.
        seed: Another seed gives another split, where nothing is prescribed.

    Example:
        >>> StrictSplit().spec["name"]
        'strict'
    """

    name = "strict"

    def __init__(self, val: float = 0.14, test: float = 0.14, seed: int = 0) -> None:
        self._set_shares(val, test, seed)

    def assign(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        """See base class."""
        self.declares = declared_of(videos)
        by_dataset: dict[str, list[VideoRecord]] = defaultdict(list)
        for video in videos:
            by_dataset[video.dataset].append(video)
        return {key: split for part in by_dataset.values() for key, split in self._assign_one(part).items()}

    def _assign_one(self, videos: Sequence[VideoRecord]) -> dict[str, Split]:
        settled = [video for video in videos if video.official_split]
        if not settled:
            return self._divide(videos, len(videos), self.test)
        chosen = _without_leaks(settled, OfficialSplit(self.val, self.seed).assign(settled))
        known: dict[str, set[Split]] = defaultdict(set)
        for video in settled:
            for name in links(video):
                known[name].update({chosen[video.key]} if video.key in chosen else ())
        only_test = {video.official_split for video in settled} == {"test"}
        rest = [video for video in videos if not video.official_split]
        if only_test:
            rest = [video for video in rest if known.keys().isdisjoint(links(video))]
        free: list[VideoRecord] = []
        for group in components(rest):
            ties = {split for video in group for name in links(video) for split in known.get(name, ())}
            if len(ties) > 1:
                raise SplitError(
                    f"{group[0].key} and what hangs together with it shares people with the official splits "
                    f"{', '.join(sorted(ties))}: remove these videos, or choose IdentitySplit."
                )
            if ties:
                chosen |= dict.fromkeys((video.key for video in group), ties.pop())
            else:
                free += group
        return chosen | self._divide(free, len(videos), 0.0 if only_test else self.test)

    def _divide(self, videos: Sequence[VideoRecord], total: int, test: float) -> dict[str, Split]:
        if all(video.part for video in videos) and len(components(videos, by_part=True)) >= 3:
            return PartSplit(self.val, test, self.seed).assign(videos)
        by_identity = IdentitySplit(self.val, test, self.seed)
        chosen = by_identity.assign_some(videos, total)
        self.declares |= by_identity.declares
        return chosen


def _without_leaks(videos: Sequence[VideoRecord], chosen: dict[str, Split]) -> dict[str, Split]:
    """Leave out what shares anything with a more important split: test before val before train."""
    kept: dict[str, Split] = {}
    taken: set[str] = set()
    for split in ("test", "val", "train"):
        fresh = [video for video in videos if chosen.get(video.key) == split and taken.isdisjoint(links(video))]
        kept |= dict.fromkeys((video.key for video in fresh), split)
        taken.update(name for video in fresh for name in links(video))
    return kept


def divide(manifest: Manifest, protocol: SplitProtocol) -> Manifest:
    """The manifest divided by a protocol, which is noted in its ``info``.

    Raises:
        SplitError: The protocol does not fit its videos.
    """
    rows = protocol.assign_rows(manifest.videos(), manifest.video_codes)
    return manifest.with_splits(rows, protocol.spec)
