"""The documentation names files that exist, and what is generated in it is current."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .docs.pages import PAGES

ROOT = Path(__file__).parent.parent
FOLDERS = ("resgat_pl/", "tests/", "docs/", "configs/", "experiments/", ".github/", ".ci/")
NAMED = re.compile(r"`([\w.{},/-]+)`")
LINKED = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def imported(path: Path) -> ModuleType:
    """The module in a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKE = imported(ROOT / "docs" / "make_architecture.py")


@pytest.mark.parametrize("page", [MAKE.PAGE, MAKE.README], ids=lambda path: path.name)
def test_generated_blocks_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- generated: " in text
    for name, block in MAKE.blocks(MAKE.Package(MAKE.on_disk())).items():
        assert MAKE.replaced(text, name, block) == text, f"run python {MAKE.__file__}"


def test_the_rule_holds_in_what_is_drawn() -> None:
    package = MAKE.Package(MAKE.on_disk())
    assert all(others <= MAKE.rule()[room] for room, others in package.arrows().items())
    assert (package.circles(), MAKE.circles(package.arrows())) == ([], [])


def test_implied_arrows_are_left_out() -> None:
    assert MAKE.without_implied({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}
    circle = {"a": {"b"}, "b": {"a"}}
    assert MAKE.circles(circle) == [["a", "b"]]
    assert MAKE.without_implied(circle) == circle


def test_numbers_are_those_of_the_files() -> None:
    source = '"""What is here."""\nfrom resgat_pl.data import b\nx = {}.get("state_dict")\n'
    files = {"resgat_pl/core/a.py": source, "resgat_pl/data/b.py": "\n", "tests/test_a.py": "\n\n"}
    found = MAKE.measure(files, {"resgat_pl/core/a.py": "core", "resgat_pl/data/b.py": "data"})
    assert found == {
        "names directly in the package": 2,
        "of them folders": 2,
        "arrows between these names": 1,
        "of these names in a circle": 0,
        "imports of modules against today's rule": 1,
        "circles of modules": 0,
        "lines of code": 4,
        "lines of tests": 2,
        "modules": 2,
        "test files": 1,
        "largest module": "3 (resgat_pl/core/a.py)",
        "largest test file": "2 (tests/test_a.py)",
        "modules without a docstring": 1,
        "docstrings that begin with What, Whether, Who or Where": 1,
        "modules with a key of a checkpoint as text": 1,
    }


def named(page: Path) -> set[str]:
    """Files and folders of this repository that a page names from the root; patterns with braces once for each."""
    names = {name for name in NAMED.findall(page.read_text(encoding="utf-8")) if name.startswith(FOLDERS)}
    return {each for name in names for each in _spelled_out(name)}


def _spelled_out(name: str) -> list[str]:
    if (choice := re.search(r"\{([^}]*)\}", name)) is None:
        return [name]
    return [each for word in choice[1].split(",") for each in _spelled_out(name.replace(choice[0], word, 1))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    assert sorted(name for name in named(page) if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_links_to_exist(page: Path) -> None:
    links = LINKED.findall(page.read_text(encoding="utf-8"))
    assert sorted(link for link in links if not (page.parent / link).exists()) == []


def test_the_glossary_is_alphabetical() -> None:
    words = re.findall(r"^\*\*(.+?)\*\*", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(words) > 50
    assert words == sorted(words, key=str.casefold)
