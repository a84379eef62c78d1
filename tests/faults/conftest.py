"""Counts what was broken on purpose and what came of it; ``make faults`` prints the table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from resgat_pl.core.errors import ResGATError

from .disk import SmallDisk
from .fuzzing import Fuzz

_BEGIN, _END = "<!-- table of make faults -->\n", "<!-- end of table -->\n"


class Ledger(Protocol):
    def __call__(self, fault: str, *, tries: int, lost: int, recovered: int) -> None:
        """Note a fault, how often it was tried, how often something was lost, and how often it was made good.

        The test itself asserts that nothing was lost; the ledger only counts. Rows of the same name are added up.
        """


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Write a row of the table."""

    def note(fault: str, *, tries: int, lost: int, recovered: int) -> None:
        # properties of a report travel from the processes of pytest-xdist to the one that prints
        request.node.user_properties.append(("fault", [fault, tries, lost, recovered]))

    return note


@pytest.fixture
def tries(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How often to try: ``tries(few, all)`` is ``few`` in ``make test`` and ``all`` in ``make faults``."""
    return lambda few, every: every if request.config.getoption("--faults") == "all" else few


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[float], SmallDisk]]:
    """``small_disk(megabytes)``: a separate disk; skips the test where none can be mounted."""
    made: list[SmallDisk] = []

    def make(megabytes: float) -> SmallDisk:
        made.append(SmallDisk(tmp_path / f"disk{len(made)}", megabytes))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


@pytest.fixture
def fuzz(tries: Callable[[int, int], int], ledger: Ledger) -> Fuzz:
    """Run a check on many generated values and count: it may return, or raise a ``ResGATError``."""

    def run(name: str, values: st.SearchStrategy[Any], check: Callable[[Any], object], few: int, every: int) -> None:
        seen = refused = 0

        @settings(
            max_examples=tries(few, every),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(values)
        def each(value: Any) -> None:
            nonlocal seen, refused
            seen += 1
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    check(value)
            except ResGATError as error:
                refused += 1
                assert len(str(error)) > 10

        each()
        assert refused
        ledger(f"rubbish as {name}", tries=seen, lost=0, recovered=seen)

    return run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--faults") == "all":
        return
    left_out = [item for item in items if item.get_closest_marker("faults")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--faults") != "all":
        return
    reports = [r for kind in ("passed", "failed", "error", "skipped") for r in terminalreporter.getreports(kind)]
    reports.sort(key=lambda report: report.location[:2])
    table = _table(reports)
    terminalreporter.section("faults")
    terminalreporter.write(table)
    path = config.getoption("--faults-table")
    if path is not None:
        _put(Path(path), table)


def _table(reports: Sequence[pytest.TestReport]) -> str:
    rows: dict[str, list[int]] = {}
    for report in reports:
        found = [value for name, value in report.user_properties if name == "fault"]
        if report.failed and not any(lost for _, _, lost, _ in found):  # it failed in what it did not count
            found = [[f"FAILED ({report.when}): {report.nodeid}", 1, 1, 0]]
        elif report.skipped:
            found = [[f"NOT TRIED HERE: {report.nodeid}", 0, 0, 0]]
        elif report.when != "call" and not report.failed:
            continue  # a report of each phase carries the same rows
        for fault, *counts in found:
            rows[fault] = [a + b for a, b in zip(rows.get(fault, [0, 0, 0]), counts, strict=True)]
    lines = ["| fault | tries | lost | recovered |", "|---|---:|---:|---:|"]
    lines += [f"| {fault} | {' | '.join(f'{count:,}' for count in counts)} |" for fault, counts in rows.items()]
    total = [sum(column) for column in zip(*rows.values(), strict=True)] or [0, 0, 0]
    lines += [f"| **all** | {' | '.join(f'**{count:,}**' for count in total)} |"]
    return "\n".join(lines) + "\n"


def _put(path: Path, table: str) -> None:
    """Replace the table in a document."""
    before, rest = path.read_text().split(_BEGIN)
    path.write_text(before + _BEGIN + table + _END + rest.split(_END)[1])
