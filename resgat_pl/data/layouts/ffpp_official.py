"""The official split of FaceForensics++: the user's own files, else those that come with this program where they fit.

``ffpp_splits/`` holds train.json, val.json and test.json of the FaceForensics repository (ondyari/FaceForensics,
dataset/splits), under its MIT licence, which lies beside them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, get_args

from resgat_pl.core.errors import LayoutError, SplitError
from resgat_pl.core.storage import absolute
from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord
from resgat_pl.data.layouts.base import entries, read_json, tally

_SPLITS: Final[tuple[Split, ...]] = get_args(Split)
_ID: Final = re.compile(r"\d{3}")
_SHIPPED: Final = Path(__file__).with_name("ffpp_splits")


def official_split(
    root: Path, given: Path | None, records: Sequence[VideoRecord], problems: list[str]
) -> dict[str, Split]:
    """Find out which split each YouTube id belongs to.

    Args:
        root: Of the data set; its files are in ``splits/`` or in itself.
        given: Folder of files that the user names; it wins.
        records: What is on the disk, to see whether the shipped files are of this data set.
        problems: Gets a line for what is odd, and where the shipped files are not taken.

    Returns:
        Split by id; empty where there are no files and the shipped ones do not fit.

    Raises:
        LayoutError: A file holds something else, or the folder that the user names holds none.
        SplitError: An id stands in two files, or is none of FaceForensics++.
    """
    files = _own_files(root, given)
    youtube = [record for record in records if all(map(_ID.fullmatch, record.identities))]
    if not youtube:
        return read_official(files) if files else {}
    # The shipped files are of FaceForensics++ itself: they fit where most fakes are of its pairs.
    pairs = {frozenset(pair) for split in _SPLITS for pair in _read_pairs(_SHIPPED / f"{split}.json")}
    fakes = [record for record in youtube if record.label == FAKE]
    strange = [record.video for record in fakes if frozenset(record.identities) not in pairs]
    is_ffpp = 2 * len(strange) < len(fakes) or not fakes
    if not files:
        reason = f"{tally(strange, 'fake')} of pairs that it does not have" if not is_ffpp else _lacks(youtube)
        if reason:
            problems.append(
                f"the official split of FaceForensics++ is not taken: {reason}. Put train.json, val.json and test.json "
                "into splits/ to prescribe one"
            )
            return {}
        return dict(shipped())
    # The user's files win; where they differ from the official ones, numbers cannot be compared.
    if missing := [f"{split}.json" for split in _SPLITS if split not in files]:
        problems.append(f"{', '.join(missing)} missing beside the other split files: its ids have no official split")
    official = read_official(files)
    if is_ffpp and (other := sorted(name for name, split in official.items() if shipped().get(name, split) != split)):
        problems.append(
            f"{tally(other, 'id')} in another split of {next(iter(files.values())).parent} than in the official one, "
            "whose numbers are then not comparable"
        )
    present = {name for record in youtube for name in record.identities}
    if absent := sorted(official.keys() - present):
        problems.append(f"{tally(absent, 'id')} of the official split not on disk")
    return official


@cache
def shipped() -> dict[str, Split]:
    """Split by id of the files that come with this program: 720, 140 and 140 ids."""
    return read_official({split: _SHIPPED / f"{split}.json" for split in _SPLITS})


def read_official(files: dict[Split, Path]) -> dict[str, Split]:
    """Read split files.

    Raises:
        LayoutError: A file holds something else.
        SplitError: An id stands in two of them, or is none of FaceForensics++.
    """
    official: dict[str, Split] = {}
    for split, path in files.items():
        for name in (name for pair in _read_pairs(path) for name in pair):
            if not _ID.fullmatch(name):
                raise SplitError(
                    f"{path} names the id {name!r}, which FaceForensics++ does not have: its ids are 000 to 999. "
                    "Restore the official files."
                )
            if official.setdefault(name, split) != split:
                raise SplitError(
                    f"The id {name} is in both {official[name]}.json and {path}: restore the official files."
                )
    return official


def _own_files(root: Path, given: Path | None) -> dict[Split, Path]:
    for folder in [absolute(given)] if given else [root / "splits", root]:
        names = entries(folder).files
        if files := {split: folder / f"{split}.json" for split in _SPLITS if f"{split}.json" in names}:
            return files
    if given:
        raise LayoutError(
            f"None of train.json, val.json and test.json in {given}: correct `splits` of the FFPP layout."
        )
    return {}


def _lacks(youtube: Sequence[VideoRecord]) -> str:
    """Reason why the shipped split is no help for the clips that are there; empty if it is one.

    Of a small part of the data set it can leave nothing to train on or to test with. A part that is there as a whole,
    such as the test set alone, is what it is.
    """
    split_of = shipped()
    ids = {name for record in youtube for name in record.identities if name in split_of}
    parts = {split: sum(split_of[name] == split for name in ids) for split in _SPLITS}
    whole = {split: sum(other == split for other in split_of.values()) for split in _SPLITS}
    if len(present := [split for split in _SPLITS if parts[split]]) == 1 and 2 * parts[present[0]] >= whole[present[0]]:
        return ""
    for split in ("train", "test"):
        for label, word in ((REAL, "real"), (FAKE, "fake")):
            of_class = [record for record in youtube if record.label == label]
            if of_class and not any(split_of.get(record.identities[0]) == split for record in of_class):
                return f"of the {len(of_class):,} {word} videos of YouTube clips it has none in {split}"
    return ""


def _read_pairs(path: Path) -> list[list[str]]:
    expected = 'a list of pairs of ids such as [["071", "054"], ["087", "081"]]'
    pairs = read_json(path, list, expected)
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            raise LayoutError(f"{path} holds {pair!r}: expected {expected}.")
    return pairs
