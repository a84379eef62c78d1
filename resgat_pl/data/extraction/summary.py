"""The summary of an extraction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resgat_pl.core.types import FAKE
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.known_people import statements, unknown_in
from resgat_pl.data.splits.unassigned import unassigned


class FaceCounts(NamedTuple):
    """Crops of fakes by what is known of their face.

    Attributes:
        altered: It was altered.
        untouched: It was not: another face of the video was. Left out of training and of the scores of frames.
        unknown: Nothing is known, so that it counts as fake, as its video does.
    """

    altered: int
    untouched: int
    unknown: int

    @classmethod
    def of(cls, manifest: Manifest) -> FaceCounts:
        """Count them in a manifest."""
        fakes = manifest.column("label") == FAKE
        untouched = int(np.count_nonzero(manifest.untouched))
        altered = int(np.count_nonzero(np.equal(manifest.column("altered"), True) & fakes))
        return cls(altered, untouched, int(np.count_nonzero(fakes)) - altered - untouched)

    def __str__(self) -> str:
        if not self.altered and not self.untouched:
            return f"faces of fakes: of none of the {self.unknown:,} crops is it known whether this face was altered"
        return (
            f"faces of fakes: {self.altered:,} crops altered, {self.untouched:,} untouched (not trained on, not in the "
            f"scores of frames), {self.unknown:,} unknown (count as fake)"
        )


class NameCounts(NamedTuple):
    """Fakes that have the name of a genuine video, or begin with it, and nothing else that says they belong together.

    Attributes:
        pair: The pixels around the faces agree: it is taken for the original.
        doubt: They agree in part, or cannot be compared: cut by its own faces, but in the same split.
        unrelated: They show something else: cut by its own faces, a separate identity.
    """

    pair: int = 0
    doubt: int = 0
    unrelated: int = 0

    @classmethod
    def of(cls, reports: Iterable[Mapping[str, Any]]) -> NameCounts:
        """Count them in the reports of videos."""
        relations = [report.get("relation") for report in reports]
        return cls(*(relations.count(name) for name in cls._fields))

    def __str__(self) -> str:
        return (
            f"{sum(self):,} fakes have the name of a genuine one: {self.pair:,} are paired with it by their pixels, "
            f"{self.unrelated:,} show something else, {self.doubt:,} are in doubt; these are cut by their own faces"
        )


@dataclass(frozen=True)
class ExtractionSummary:
    """The results of an extraction in numbers and remarks.

    Attributes:
        manifest: Path of the manifest; None after one part, which writes none.
        videos: Videos in the index.
        crops: Face crops in the manifest.
        skipped: Reason by video key, for videos that gave no crop at all.
        notes: Remark by video key, for videos that gave less than asked for.
        problems: Contradictions found in the data set's own files.
        splits: Crops by split and label, e.g. ``{"train": {"real": 10, "fake": 10}}``.
        people: One line per data set of which it is unknown who is in which video.
        remark: What comes next.
        faces: What is known of the faces of fakes; None without a manifest.
        names: What came of fakes that have the name of a genuine video.

    Example:
        >>> print(ExtractionSummary(manifest=None, videos=2, crops=6, remark="part 1/2 is done."))
        2 of 2 videos read, 6 face crops
        part 1/2 is done.
    """

    manifest: Path | None
    videos: int
    crops: int
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)
    remark: str = ""
    faces: FaceCounts | None = None
    names: NameCounts = field(default_factory=NameCounts)

    def __str__(self) -> str:
        lines = [f"{self.videos - len(self.skipped)} of {self.videos} videos read, {self.crops} face crops"]
        for split, counts in self.splits.items():
            lines.append(f"  {split}: {counts['real']} real, {counts['fake']} fake crops")
        if self.faces is not None and any(self.faces):
            lines.append(str(self.faces))
        if any(self.names):
            lines.append(str(self.names))
        lines += [f"  {line}" for line in self.people]
        for title, entries in (
            ("skipped", [f"{key}: {reason}" for key, reason in self.skipped.items()]),
            ("with remarks", [f"{key}: {note}" for key, note in self.notes.items()]),
            ("problems of the data set", self.problems),
        ):
            if entries:
                lines += [f"{len(entries)} {title}:", *(f"  {entry}" for entry in entries[:10])]
                if len(entries) > 10:
                    lines.append(f"  … and {len(entries) - 10} more, see summary.json")
        lines.append(self.remark or f"manifest: {self.manifest}")
        return "\n".join(lines)


def with_splits(summary: ExtractionSummary, manifest: Manifest) -> ExtractionSummary:
    """The summary with the crops of each split, why others are in none, and whose people are unknown."""
    examples = ~manifest.untouched
    columns = (manifest.column(name)[examples].tolist() for name in ("split", "label"))
    counts = Counter(zip(*columns, strict=True))
    names = [name for name in ("train", "val", "test", None) if (name, 0) in counts or (name, 1) in counts]
    left_out = [line for line in [unassigned(manifest)] if line]
    return replace(
        summary,
        splits={name or "unassigned": {"real": counts[name, 0], "fake": counts[name, 1]} for name in names},
        people=statements(unknown_in(manifest)),
        problems=[*left_out, *summary.problems],
    )
