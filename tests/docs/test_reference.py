"""What is generated in the reference is current."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resgat_pl.cli.commands import TOOLS, TRAINER

from .pages import DOCS


@pytest.mark.long  # .ci/run runs it
def test_generated_blocks_are_current(tmp_path: Path) -> None:
    """In a process of its own: classes that other tests define would be listed as known."""
    here = tmp_path / "docs"
    shutil.copytree(DOCS / "reference", here / "reference")
    shutil.copy(DOCS / "make_reference.py", here)
    (tmp_path / "resgat_pl").symlink_to(DOCS.parent / "resgat_pl")
    subprocess.run([sys.executable, here / "make_reference.py"], cwd=tmp_path, check=True, timeout=250)
    for page in (DOCS / "reference").rglob("*.md"):
        again = here / "reference" / page.relative_to(DOCS / "reference")
        assert again.read_text() == page.read_text(), f"{page}: run python docs/make_reference.py"


def test_every_command_has_a_block() -> None:
    """A block is written where its marks are: a command without them would be in no page."""
    pages = "".join((DOCS / "reference" / name).read_text(encoding="utf-8") for name in ("cli.md", "cli_training.md"))
    assert [name for name in (*TRAINER, *TOOLS) if f"<!-- generated: resgat {name} -->" not in pages] == []
