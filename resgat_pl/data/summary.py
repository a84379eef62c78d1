"""What is told at the end of an extraction."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Summary:
    """What came of an extraction.

    Attributes:
        manifest: Path of the manifest; None after one shard, which writes none.
        videos: Videos in the index.
        crops: Face crops in the manifest.
        skipped: Reason by video key, for videos that gave no crop at all.
        notes: Remark by video key, for videos that gave less than asked for.
        problems: Contradictions found in the data set's own files.
        splits: Crops by split and label, e.g. ``{"train": {"real": 10, "fake": 10}}``.
        remark: What comes next.
    """

    manifest: Path | None
    videos: int
    crops: int
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    remark: str = ""

    def __str__(self) -> str:
        lines = [f"{self.videos - len(self.skipped)} of {self.videos} videos read, {self.crops} face crops"]
        for split, counts in self.splits.items():
            lines.append(f"  {split}: {counts['real']} real, {counts['fake']} fake crops")
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
