"""Numbers on the pages of results are those of the files that programs wrote: they are corrected together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "experiments" / "explainers.md"
EXPLAINERS, TABLE1 = (ROOT / "docs" / "results" / name for name in ("explainers.md", "table1.md"))
ONE_SEED = "All methods, one seed"
NUMBER = re.compile(r"[−-]?\d*\.?\d+")


class Cell(NamedTuple):
    """One cell of a generated file."""

    section: str
    row: str
    column: str
    part: str = "Explanation methods"


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path = EXPLAINERS) -> str:
    """A page on one line."""
    return " ".join(text_of(path).split())


@cache
def cells(path: Path) -> dict[Cell, str]:
    """Every cell of every table, by the headings it stands under; cells of like places keep the first value."""
    found: dict[Cell, str] = {}
    part, section = Cell._field_defaults["part"], ""
    header: list[str] = []
    for line in text_of(path).splitlines():
        if line.startswith("# "):
            part, section = (ONE_SEED if line[2:].strip() == ONE_SEED else part), ""
        elif line.startswith("## "):
            section = line[3:].strip()
        elif line.startswith("|"):
            row = [entry.strip().strip("*") for entry in line.strip("|").split("|")]
            if not header:
                header = row
            elif not set(line) <= set("|-"):
                for name, value in zip(header[1:], row[1:], strict=True):
                    found.setdefault(Cell(section, row[0], name.rstrip(" ↑↓"), part), value)
            continue
        header = []
    return found


def value(cell: Cell) -> float:
    """The number in a cell, without its interval."""
    match = NUMBER.match(cells(MEASURED)[cell])
    assert match is not None
    return float(match[0].replace("−", "-"))


def mean_turned(label: str) -> float:
    """Percent, over the seeds of a detector."""
    rows = [line.split("|") for line in text_of(MEASURED).partition("# " + ONE_SEED)[0].splitlines()]
    turned = [row[7] for row in rows if len(row) == 9 and row[1].strip() == label]
    return float(np.mean([float(cell.strip(" %")) for cell in turned]))


# A sentence of the page on explainers, and where each of its numbers comes from.
SENTENCES: dict[str, list[Cell]] = {
    r"paper's attention reaches (\S+) and Grad-CAM (\S+) on the unguided detectors": [
        Cell("gatv2", "Attention", "AUROC in face"),
        Cell("gatv2", "GradCAM", "AUROC in face"),
    ],
    r"Guidance closes the gap: (\S+) for all three": [Cell("gatv2_guided", "GradCAM", "AUROC in face")],
    r"LIME with 1,000 samples reaches (\.\d+)": [Cell("gatv2", "LIME", "AUROC in face")],
    r"position alone is worth (\.\d+) over all": [Cell("gatv2", "MeanMask", "AUROC, all")],
    r"AUROC in face \.98 \(reached (\.\d+)": [Cell("gatv2_guided", "Contribution", "AUROC in face")],
    r"Deletion by blur .*?unguided detectors \((\S+) for contributions, (\S+) for the random map.*?"
    r"guided ones \((\S+) and (\S+)\)": [
        Cell("gatv2", "Contribution", "deletion, blur"),
        Cell("gatv2", "Random", "deletion, blur"),
        Cell("gatv2_guided", "Contribution", "deletion, blur"),
        Cell("gatv2_guided", "Random", "deletion, blur"),
    ],
    r"\(ρ = (\.\d+) unguided, (\.\d+) guided": [
        Cell("gatv2", "Contribution", "ρ effects"),
        Cell("gatv2_guided", "Contribution", "ρ effects"),
    ],
}


def check(pattern: str, origins: list[Cell]) -> None:
    said = re.search(pattern, prose())
    assert said is not None, f"{EXPLAINERS} has no sentence {pattern!r} any more: change it here, too"
    numbers = [float(number.rstrip(".,;:)")) for number in said.groups()]
    assert numbers == [value(origin) for origin in origins]


@pytest.mark.parametrize("pattern", SENTENCES)
def test_a_sentence_has_the_numbers_that_were_measured(pattern: str) -> None:
    check(pattern, SENTENCES[pattern])


def test_whole_faces_that_turn_are_the_mean_over_seeds() -> None:
    said = re.search(r"only (\d+) % \(unguided\) and (\d+) % \(guided\)", prose())
    assert said is not None
    assert [int(number) for number in said.groups()] == [round(mean_turned(name)) for name in ("gatv2", "gatv2_guided")]


def rows_of_the_page() -> Iterator[list[str]]:
    lines = text_of(EXPLAINERS).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| method | AUROC in face, unguided"))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [entry.strip().strip("*") for entry in line.strip("|").split("|")]


def test_the_table_of_methods_has_the_numbers_that_were_measured() -> None:
    columns = ("AUROC in face", "AUROC in face", "pointing", "pointing", "flips@5", "restoration")
    sections = ("gatv2", "gatv2_guided", "gatv2", "gatv2_guided", "gatv2_guided", "gatv2_guided")
    rows = list(rows_of_the_page())
    assert len(rows) > 20
    for method, *values in rows:
        name = method.removesuffix(" ¹")
        part = ONE_SEED if method.endswith("¹") else Cell._field_defaults["part"]
        for said, section, column in zip(values, sections, columns, strict=True):
            found = cells(MEASURED)[Cell(section, name, column, part)]
            bare = found.partition(" [")[0]  # an interval of too few may be left out; another one is wrong
            assert said in {found, bare}, (name, column)


def table(path: Path, start: str) -> list[list[str]]:
    """The rows below the first line that begins with ``start``, without emphasis."""
    lines = text_of(path).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(start)) + 2
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([entry.strip() for entry in line.strip("|").split("|")])
    return rows


def test_means_over_kinds_never_seen_are_those_of_their_table() -> None:
    rows = [row for row in table(EXPLAINERS, "| what was not trained on |") if row[0].startswith("**")]
    means = [float(np.mean([float(row[column].split()[0]) for row in rows])) / 100 for column in (2, 3)]
    said = re.search(r"kinds not trained on: detection AUROC (\S+), AUROC in face (\d\.\d+)", prose())
    assert said is not None
    assert [f"{mean:.3f}" for mean in means] == [said[1], said[2]]


def test_what_the_frame_level_split_is_worth_is_as_in_its_table() -> None:
    rows = table(TABLE1, "| row | preset | `paper` protocol")
    gains = {(row[0], row[1]): float(row[4].split()[0]) for row in rows}
    ffpp = [gain for (row, _), gain in gains.items() if row.startswith("ffpp")]
    assert f"adds {min(ffpp):.0f} to {max(ffpp):.0f} points of AUC" in prose(TABLE1)
    presets = [float(row[3].split()[0]) for row in table(TABLE1, "| row | protocol | paper_faithful |")]
    paper = presets[::2]
    assert f"gains {min(paper):.1f} to {max(paper):.1f} points under `paper`" in prose(TABLE1)
    shown = {tuple(row[:2]): row[2:5] for row in rows}
    whole = table(TABLE1, "| row | preset | level | metric |")
    assert {(row[0], row[1]): row[5:8] for row in whole if row[2:4] == ["video", "AUC"]} == shown
    assert table(ROOT / "README.md", "| row | `paper` protocol") == [
        [row[0], *row[2:5]] for row in rows if row[1] == "corrected"
    ]
