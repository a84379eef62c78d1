"""The import rule: data flows one way through the rooms, and importing one costs little."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "resgat_pl"
MAY_IMPORT = {
    "core": set(),
    "data": {"core"},
    "nn": {"core"},
    "evaluation": {"core", "data", "nn"},
    "explain": {"core", "data", "nn", "evaluation"},
    "export": {"core", "data", "nn", "evaluation"},
    "training": {"core", "data", "nn", "evaluation", "explain"},
    "reproduce": {"core", "data", "nn", "evaluation", "explain"},
    "cli": {"core", "data", "nn", "evaluation", "explain", "export", "training", "reproduce"},
}
"""Room → rooms that it may import, without exceptions. ``resgat_pl`` itself (the version) is open to all."""
ROOT = {"__init__", "__main__"}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Modules of this package that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "resgat_pl")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "resgat_pl":
            whole = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else str(node.module) for name in whole)


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


def test_the_rooms_are_those_of_the_rule() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix != ".typed" and path.name != "__pycache__"}
    assert found == set(MAY_IMPORT) | ROOT


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_rule(path: Path) -> None:
    room = room_of(module_of(path))
    if room in MAY_IMPORT:
        assert {room_of(name) for name in imports(path)} - {room, ""} <= MAY_IMPORT[room]


def test_no_import_runs_in_a_circle() -> None:
    waiting = {name: {other for other in imports(path) if other != name} for name, path in MODULES.items()}
    for name in [name for name, path in MODULES.items() if path.name == "__init__.py"]:
        waiting[name] = set()  # hands out names that are imported when used
    while free := {name for name, needs in waiting.items() if not needs & set(waiting)}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert waiting == {}


def test_every_module_and_test_is_short() -> None:
    files = [*FILES, *Path(__file__).parent.rglob("*.py")]
    assert {str(path): n for path in files if (n := len(path.read_text().splitlines())) > 400} == {}


@pytest.mark.parametrize("room", ["resgat_pl", *(f"resgat_pl.{room}" for room in MAY_IMPORT), "resgat_pl.cli.main"])
def test_starts_without_torch(room: str) -> None:
    code = f"import sys, {room}; sys.exit(bool({{'torch', 'lightning', 'cv2', 'pyarrow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_first_lines_of_docstrings_are_nouns_or_imperatives() -> None:
    """As CONTRIBUTING asks: a clause without a subject says less than its noun."""
    clauses = re.compile(r"(What|Whether|Who|Where|Why|When|How)\b")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        f"{path.relative_to(PACKAGE)}: {text.splitlines()[0]}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, documented) and (text := ast.get_docstring(node)) and clauses.match(text)
    ]
    assert found == []
