"""The pages of the documentation, and what is in their blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = [
    ROOT / "README.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts),
    *(ROOT / ".github" / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "experiments" / "bench" / "README.md",
]
_BLOCK: Final = re.compile(
    r"(?:<!-- needs (?P<needs>[^>]+) -->\n)?```(?P<kind>python|bash)\n(?P<code>.*?)```", re.DOTALL
)


class Block(NamedTuple):
    """A block of code; ``needs`` names what the reader must have, so that it cannot run in a test."""

    code: str
    needs: str | None


def blocks(page: Path, kind: str) -> list[Block]:
    """The blocks of a page in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["code"], match["needs"]) for match in found if match["kind"] == kind]


def lines(page: Path) -> Iterator[str]:
    """Lines of the shell blocks of a page: continued ones joined, without comments, variables of the block replaced."""
    for code, _ in blocks(page, "bash"):
        variables: dict[str, str] = {}
        for line in code.replace("\\\n", " ").splitlines():
            text = re.sub(r"(^|\s)#.*", "", line).strip()
            for name, value in variables.items():
                text = text.replace(f"${name}", value)
            if assigned := re.fullmatch(r'(\w+)="([^"]*)"', text):
                variables[assigned[1]] = assigned[2]
            elif text:
                yield text


def name_of(page: Path) -> str:
    """A page's path from the root, for the names of tests."""
    return page.relative_to(ROOT).as_posix()
