"""Links lead somewhere, and what readers look for is one or two clicks away."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from .pages import DOCS, PAGES, ROOT, name_of

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(?:#[^)\s]*)?\)")
SOUGHT = {
    "FF++ with another backbone": "how_to/another_backbone.md",
    "an own data set with its command": "how_to/your_data.md",
    "an own explainer": "extend/add_an_explainer.md",
    "the manifest's columns": "reference/manifest.md",
    "a baseline to compare with": "how_to/compare_with_a_baseline.md",
    "where results lie": "how_to/find_results.md",
    "install without CUDA": "how_to/install_without_cuda.md",
    "two OpenCVs in one environment": "how_to/two_opencvs.md",
    "offline use": "how_to/offline.md",
    "a gallery": "gallery.md",
    "the words": "glossary.md",
}


@cache
def targets(page: Path) -> tuple[Path, ...]:
    """What a page links to in the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return tuple((page.parent / found).resolve() for found in LINK.findall(text))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    assert [str(target) for target in targets(page) if not target.exists()] == []


@pytest.mark.parametrize("start", [ROOT / "README.md", DOCS / "index.md"], ids=name_of)
def test_what_is_sought_is_two_clicks_away(start: Path) -> None:
    first = {target for target in targets(start) if target.suffix == ".md"}
    within = first | {target for page in first for target in targets(page)}
    assert [what for what, page in SOUGHT.items() if (DOCS / page).resolve() not in within] == []


def test_pictures_are_described_and_small() -> None:
    for page in PAGES:
        for alt, path in re.findall(r"!\[([^\]]*)\]\((?![a-z]+:)([^)]+)\)", page.read_text(encoding="utf-8")):
            assert len(alt) > 10, (name_of(page), path)
            assert (page.parent / path).stat().st_size < 300_000, (name_of(page), path)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
