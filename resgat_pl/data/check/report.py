"""The report of an audit of a data set, as text and for JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from resgat_pl.core.types import Split
from resgat_pl.data.extraction.summary import FaceCounts
from resgat_pl.data.layouts.base import CountRow
from resgat_pl.data.manifest.class_counts import ClassCounts
from resgat_pl.data.splits.known_people import statements
from resgat_pl.data.splits.leakage import Leak


@dataclass
class Report:
    """The findings of ``check``.

    Attributes:
        target: The manifest or the data set.
        protocol: Name of the split protocol.
        counts: Videos found and published, by method and compression.
        balance: Crops of a manifest, without untouched faces of fakes, or videos of a data set, of each class by split.
        files: Files that were looked at.
        unreadable: Reason by file, of those that cannot be read.
        leaks: What splits share.
        declared: Kinds of leak that the protocol declares.
        prescribed: What the splits share that the data set itself prescribes, where the protocol goes by them: such a
            set leaks, also where the protocol leaves out what is shared.
        unassigned: How much is in no split, and why; empty if all is in one.
        people: Data sets of which it is unknown who is in which video, and why; no leak can be ruled out there.
        problems: Contradictions in the data set's own files.
        faces: Of a manifest, what is known of the faces of fakes.
        compared: Whether pictures were compared, so that copies under other names are known.
    """

    target: str
    protocol: str
    counts: list[CountRow]
    balance: dict[Split, ClassCounts]
    files: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    declared: frozenset[str] = frozenset()
    prescribed: list[Leak] = field(default_factory=list)
    unassigned: str = ""
    people: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    faces: FaceCounts | None = None
    compared: bool = True

    @property
    def undeclared(self) -> list[Leak]:
        """The leaks that are not in the protocol's nature."""
        return [leak for leak in (*self.leaks, *self.prescribed) if leak.kind not in self.declared]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "target": self.target,
            "protocol": self.protocol,
            "declared": sorted(self.declared),
            "counts": [row._asdict() for row in self.counts],
            "balance": {split: count._asdict() for split, count in self.balance.items()},
            "faces_of_fakes": None if self.faces is None else self.faces._asdict(),
            "files": self.files,
            "unreadable": self.unreadable,
            "leaks": [{**leak._asdict(), "declared": leak.kind in self.declared} for leak in self.leaks],
            "prescribed_leaks": [leak._asdict() for leak in self.prescribed],
            "pictures_compared": self.compared,
            "unassigned": self.unassigned,
            "people_unknown": self.people,
            "problems": self.problems,
        }

    def __str__(self) -> str:
        lines = [
            f"{self.target}, split protocol {self.protocol}",
            "",
            "| videos of | compression | found | published |",
        ]
        lines.append("|---|---|---|---|")
        for row in self.counts:
            published = "" if row.published is None else f"{row.published:,}"
            mark = "" if row.published in {None, row.found} else "  ← differs"
            lines.append(f"| {row.method} | {row.compression or '-'} | {row.found:,} | {published}{mark} |")
        lines += ["", "| split | real | fake | fakes |", "|---|---|---|---|"]
        for split, (real, fake) in self.balance.items():
            share = f"{fake / (real + fake):.0%}" if real + fake else ""
            lacks = "" if bool(real) == bool(fake) else "  ← a class is missing"
            lines.append(f"| {split} | {real:,} | {fake:,} | {share}{lacks} |")
        if self.faces is not None and any(self.faces):
            lines += ["", str(self.faces)]
        lines += ["", self.unassigned] if self.unassigned else []
        lines += ["", f"{self.files:,} files looked at, {len(self.unreadable):,} cannot be read"]
        lines += [f"  {name}: {reason}" for name, reason in list(self.unreadable.items())[:10]]
        lines += ["", *self._found(), *statements(self.people)]
        lines += [f"problem: {line}" for line in self.problems]
        return "\n".join(lines)

    def _found(self) -> list[str]:
        """Lines on what splits share; that nothing is shared can only be said of people who are known."""
        lines = []
        if self.leaks:
            lines.append("leaks between the splits:")
        elif not self.prescribed:
            unknown = "nothing is known to stand in two splits, but people are unknown:"
            lines.append(unknown if self.people else "no leak between the splits")
        if not self.compared:
            lines.insert(0, "pictures were not compared, so copies under other names are not known:")
        declared = " (declared by the protocol)"
        lines += [f"  {leak}{declared if leak.kind in self.declared else ''}" for leak in self.leaks]
        if self.prescribed:
            lines += ["the data set's own splits leak:", *(f"  {leak}" for leak in self.prescribed)]
        return lines
