"""Ratios of times, measured side by side in one run: what every file of the benchmark reports with."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

ROUNDS = 5
"""Rounds that count; one more comes first, in which caches fill."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        reference: What it is measured against.
        value: The ratio, or the absolute value where ``unit`` says so.
        sense: Whether the value should be at most or at least ``target``; None where there is no target.
        target: The target.
        unit: ``×`` of a ratio, else the unit of the value.
        low: Smallest value of a single round.
        high: Largest.
        detail: Median times of both sides, threads, sizes.
    """

    what: str
    reference: str
    value: float
    sense: Literal["≤", "≥"] | None = None
    target: float | None = None
    unit: str = "×"
    low: float | None = None
    high: float | None = None
    detail: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.sense == "≤" else self.value >= self.target

    def markdown(self) -> str:
        """The row as a line of a Markdown table."""
        spread = "" if self.low is None or self.high is None else f" [{_short(self.low)}, {_short(self.high)}]"
        target = "" if self.target is None else f"{self.sense} {self.target:g} {self.unit}"
        reached = {True: "yes", False: "**no**", None: ""}[self.reached]
        value = f"{_short(self.value)}{spread} {self.unit}"
        return f"| {self.what} | {self.reference} | {target} | {value} | {reached} | {self.detail} |"


HEADER = "| what | reference | target | measured [single rounds] | reached | medians |\n|---|---|---|---|---|---|"


def interleave(*actions: Callable[[], object], rounds: int = ROUNDS) -> list[list[float]]:
    """Seconds of each action in each round; all actions take turns in each round, after one that does not count.

    Whatever slows the machine for a while then slows all of them alike.
    """
    taken: list[list[float]] = [[] for _ in actions]
    for turn in range(rounds + 1):
        for action, own in zip(actions, taken, strict=True):
            started = time.perf_counter()
            action()
            if turn:
                own.append(time.perf_counter() - started)
    return taken


def slower(
    what: str,
    ours: Callable[[], object],
    reference: str,
    theirs: Callable[[], object],
    target: float | None,
    rounds: int = ROUNDS,
    detail: str = "",
) -> Row:
    """Time of ours / time of the reference, which should be at most ``target``."""
    return ratio_row(what, reference, interleave(ours, theirs, rounds=rounds), "≤", target, detail)


def faster(
    what: str,
    ours: Callable[[], object],
    reference: str,
    theirs: Callable[[], object],
    target: float | None,
    rounds: int = ROUNDS,
    detail: str = "",
) -> Row:
    """Time of the reference / time of ours, which should be at least ``target``."""
    return ratio_row(what, reference, interleave(ours, theirs, rounds=rounds), "≥", target, detail)


def ratio_row(
    what: str,
    reference: str,
    times: list[list[float]],
    sense: Literal["≤", "≥"],
    target: float | None,
    detail: str = "",
) -> Row:
    """A row from the times of ours and of the reference, round by round."""
    ours, theirs = times
    pairs = [(a / b) if sense == "≤" else (b / a) for a, b in zip(ours, theirs, strict=True)]
    mine, other = statistics.median(ours), statistics.median(theirs)
    value = mine / other if sense == "≤" else other / mine
    medians = f"{_seconds(mine)} against {_seconds(other)}" + (f"; {detail}" if detail else "")
    return Row(what, reference, value, sense, target, "×", min(pairs), max(pairs), medians)


def machine() -> dict[str, Any]:
    """Processor, cores, operating system and the versions that matter."""
    packages: dict[str, str] = {}
    for name in (
        "torch",
        "torchvision",
        "timm",
        "lightning",
        "opencv-python-headless",
        "av",
        "albumentations",
        "onnxruntime",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": packages,
    }


def report(
    rows: Callable[[argparse.Namespace], Iterable[Row]],
    description: str | None,
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Run one file of the benchmark: print its table, and write its rows as JSON where ``--json`` names a file.

    Args:
        rows: Measures, given the parsed options.
        description: For ``--help``.
        options: Adds the file's own.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that count")
    options(parser)
    arguments = parser.parse_args()
    found = []
    print(HEADER)
    for row in rows(arguments):
        print(row.markdown(), flush=True)
        found.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], ensure_ascii=False, indent=1))
    return 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), sys.platform)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"
