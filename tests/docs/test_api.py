"""The reference of the Python API has every public name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .pages import DOCS, ROOT

FOLDERS = sorted(path.parent for path in (ROOT / "resgat_pl").glob("*/**/__init__.py") if "cli" not in path.parts)


def handed_out(folder: Path) -> set[str]:
    """Names that a folder's ``__init__.py`` imports when they are first used."""
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    tables = [argument for call in calls if call.func.id == "lazy_names" for argument in call.args[1:]]  # type: ignore[attr-defined]
    found = [ast.literal_eval(table) for table in tables if isinstance(table, ast.Dict)]
    return {name for table in found for name in table}


def test_names_are_read_from_the_source() -> None:
    assert {"ResGAT", "Grid", "contributions"} <= handed_out(ROOT / "resgat_pl" / "nn")
    assert len(FOLDERS) > 20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: ".".join(folder.relative_to(ROOT).parts))
def test_every_public_name_is_described(folder: Path) -> None:
    parts = folder.relative_to(ROOT).parts
    page = (DOCS / "reference" / "api" / f"{parts[1]}.md").read_text(encoding="utf-8")
    missing = [
        name
        for name in sorted(handed_out(folder))
        if f":: {'.'.join(parts)}.{name}\n" not in page and f"`{name}` is described under" not in page
    ]
    assert missing == [], "run python docs/make_reference.py"
