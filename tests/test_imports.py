"""The layout's rule: who may import whom. Data flows one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "resgat_pl"
BASE = {"errors", "types", "versions", "terminal", "opencv", ""}
ALLOWED = {
    "errors": set(),
    "types": set(),
    "versions": {"errors", ""},
    "terminal": set(),
    "privacy": set(),
    "opencv": {"errors"},
    "safe_loading": BASE | {"nn"},
    "data": BASE | {"data"},
    "nn": BASE | {"nn"},
    "explain": BASE | {"nn", "explain"},
    "metrics": BASE | {"explain", "metrics", "nn"},
    "schedules": BASE,
    "averaging": BASE,
    "module": BASE | {"nn", "metrics", "schedules", "averaging"},
    "unseen": BASE | {"data", "nn"},
    "provenance": BASE | {"data", "nn", "trained_on", "unseen"},
    "trained_on": BASE | {"data"},
    "finite": BASE | {"data"},
    "monitors": BASE | {"data"},
    "callbacks": BASE | {"data", "metrics", "module", "provenance", "unseen"},
    "explained_faces": BASE | {"data", "nn", "explain", "metrics", "module"},
    "ranks": BASE,
    "recovery": BASE | {"checkpoints", "ranks", "resumed_files"},
    "resumed_files": BASE | {"checkpoints", "data"},
    "newest": BASE | {"nn", "provenance", "resumed"},
    "checkpoints": BASE | {"data"},
    "heatmaps": BASE | {"averaging", "data", "explain", "explained_faces", "module"},
}
"""Part of the package → parts it may import; "" is ``resgat_pl`` itself. What is not named here may import anything."""


def part_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def imported(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        parts |= {part_of(name) for name in names if name.split(".")[0] == "resgat_pl"}
    return parts


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ALLOWED:
        assert imported(path) <= ALLOWED[part] | {part}


def test_every_module_is_short() -> None:
    assert {str(p): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 400} == {}


@pytest.mark.parametrize(
    "statement", ["import resgat_pl", "import resgat_pl.cli.main", "import resgat_pl.data.extraction.command"]
)
def test_starts_without_torch(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit(bool({{'torch', 'lightning'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
