"""Lines that a reader may type, beside the options of ``resgat``: programs, files, extras; and cheap ones are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from resgat_pl.cli.commands import TOOLS, TRAINER
from resgat_pl.cli.main import main

from .pages import DOCS, PAGES, ROOT, lines, name_of

PROGRAMS = {
    *("resgat", "make", "python", "python3", "pip", "git", "export", "uv", "uvx", "wandb", "torchrun", "sbatch"),
    *("pytest", "ruff", "mypy", "grep", "cd", ".", "openssl", "sha256sum"),
}
TUTORIAL = DOCS / "tutorials" / "first_training.md"
SHORT = {
    "synth": ["--videos", "8", "--frames", "4", "--jobs", "1"],
    "fit": ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"],
    "explain": ["--frames", "4"],
}
"""What makes the tutorial's commands short; later options win."""


def programs(line: str) -> Iterator[list[str]]:
    """Words of each command of a line, from the program on."""
    reader = shlex.shlex(line, posix=True, punctuation_chars="|&;()")
    reader.whitespace_split, reader.commenters = True, ""
    words: list[str] = []
    for word in [*reader, ";"]:
        if word == "$" or not set(word) - set("|&;()"):
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*", word):
            words.append(word.removesuffix("$"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_programs_are_known(page: Path) -> None:
    for line in lines(page):
        for words in programs(line):
            assert words[0] in PROGRAMS, (name_of(page), line)


def test_files_that_are_run_exist() -> None:
    found = 0
    for page in PAGES:
        for line in lines(page):
            for program, *words in programs(line):
                if program in {"python", "python3", "pytest", "sbatch"}:
                    for word in words:
                        if re.fullmatch(r"[\w/.]+\.(py|sbatch)", word):
                            found += 1
                            assert (ROOT / word).is_file(), (name_of(page), line)
    assert found > 3


def test_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = 0
    for page in PAGES:
        for extras in re.findall(r"(?:resgat-pl|[\"'\s]\.)\[([\w,]+)\]", page.read_text(encoding="utf-8")):
            found += 1
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), (name_of(page), extras)
    assert found > 5
    table = (DOCS / "installation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| for|^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", "".join(row))}
    assert listed == set(project["optional-dependencies"])


def test_commands_in_the_text_exist() -> None:
    """Also those that are named in a sentence, such as ``resgat explain``."""
    for page in PAGES:
        for name in re.findall(r"`resgat ([a-z][\w-]*)", page.read_text(encoding="utf-8")):
            assert name in {*TOOLS, *TRAINER}, (name_of(page), name)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(line.startswith("resgat configs") for line in lines(page))], ids=name_of
)
def test_configurations_are_copied(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in lines(page):
        if line.startswith("resgat configs"):
            assert main(shlex.split(line)[1:]) == 0


@pytest.mark.long
def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    """Outside the checkout, every command in turn, with fewer videos and epochs."""
    for line in lines(TUTORIAL):
        program, command, *words = shlex.split(line)
        if program == "resgat":
            line_of = [sys.executable, "-m", "resgat_pl", command, *words, *SHORT.get(command, [])]
            done = subprocess.run(line_of, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
            assert done.returncode == 0, (line, done.stderr)
    text = TUTORIAL.read_text(encoding="utf-8")
    for name in ("config.yaml", "metrics.csv", "heatmaps/", "checkpoints/best.ckpt", "runs/smoke/test/results.json"):
        assert f"`{name}`" in text
        assert (tmp_path / "runs/smoke" / name.removeprefix("runs/smoke/")).exists(), name
    assert list((tmp_path / "explained").rglob("report.html"))
