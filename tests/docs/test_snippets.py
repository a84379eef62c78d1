"""Code that a reader may copy works: Python blocks run, and commands have the options that they are given."""

from __future__ import annotations

import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import auto_parser

from resgat_pl.cli.commands import TOOLS, TRAINER
from resgat_pl.cli.configs import shipped_path
from resgat_pl.cli.nets import named_net
from resgat_pl.cli.old_names import read_old_names
from resgat_pl.cli.options import arrange_tool, arrange_trainer, take_imports
from resgat_pl.cli.part_names import named_parts
from resgat_pl.cli.train import ResGATCLI, parser_options
from resgat_pl.core import parts
from resgat_pl.explain import registry

from .pages import DOCS, PAGES, ROOT, blocks, lines, name_of

EXTEND = DOCS / "extend"
(PYPROJECT,) = re.findall(r"```toml\n(.*?)```", (EXTEND / "share_parts.md").read_text(), re.DOTALL)
ENTRY_POINTS = EntryPoints(
    EntryPoint(name, value, group)
    for group, points in tomllib.loads(PYPROJECT)["project"]["entry-points"].items()
    for name, value in points.items()
)
WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page.parent != EXTEND]
LAUNCHERS = {"experiments/slurm/extract.sbatch": "extract", "experiments/slurm/fit.sbatch": "fit --config"}
"""Scripts that end in a command, and its beginning."""


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
@pytest.mark.filterwarnings("ignore::UserWarning")  # few videos make odd splits
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code, needs in blocks(page, "python"):
        parsed = ast.parse(code)
        if needs is not None:  # its imports must be there
            parsed.body = [node for node in parsed.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(parsed, name_of(page), "exec"), names)  # noqa: S102 - code of our own pages


def commands(page: Path) -> Iterator[list[str]]:
    """Words after ``resgat`` of every command on a page, also below a launcher."""
    for line in lines(page):
        words = shlex.split(line.replace("$(", "").removesuffix(")"))
        for at, word in enumerate(words):
            if word.startswith("resgat ") and words[at - 1] == "--wrap":
                yield shlex.split(word)[1:]
            elif (word == "resgat" and (at == 0 or "=" in words[at - 1])) or (
                word == "resgat_pl" and words[at - 1] == "-m"
            ):
                yield words[at + 1 :]
            elif word in LAUNCHERS:
                yield [*LAUNCHERS[word].split(), *words[at + 1 :]]


NO_COMMAND = (["COMMAND"], ["--help"], ["--version"])
COMMANDS = [(page, words) for page in PAGES for words in commands(page) if words[:1] not in NO_COMMAND]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 60
    assert {words[0] for _, words in COMMANDS} == {*TRAINER, *TOOLS}


class Parsed(Exception):  # noqa: N818
    """The parser is there, and nothing else is to happen."""


class OnlyParser(ResGATCLI):
    """Stops where the configuration would be used."""

    def _parse_ckpt_path(self) -> None:
        parser_of_trainer.append(self.parser)
        raise Parsed


parser_of_trainer: list[Any] = []


@cache
def trainer_parser() -> Any:
    read_old_names("omegaconf+")
    with pytest.raises(Parsed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["resgat"])  # else LightningCLI warns of two sources
        OnlyParser(args=["fit", "--data.crops", "crops"], **parser_options())
    return parser_of_trainer[-1]


@pytest.fixture
def my_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The code of the pages on extending, under the name that they use, with the entry points of share_parts.md."""
    code = [found[0].code for page in sorted(EXTEND.glob("add_*.md")) if (found := blocks(page, "python"))]
    (tmp_path / "my_package.py").write_text("\n\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(parts, "entry_points", ENTRY_POINTS.select)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))  # the pages' explainers register themselves
    yield
    sys.modules.pop("my_package", None)


def existing(path: str) -> str:
    """A configuration in place of one that only the reader has: that of the run in its path, or a similar one."""
    run = path.removesuffix("/config.yaml").rpartition("/")[2]
    return next(
        (found for each in (path, run) if (found := shipped_path(each)) != each or Path(each).is_file()), "ffpp_gatv2"
    )


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: name_of(value) if isinstance(value, Path) else ""
)
def test_commands_have_the_options_they_are_given(
    page: Path, words: list[str], my_package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["resgat"])  # else LightningCLI warns of two sources
    words = ["2" if word == "N" else word for word in words if word not in {"--help", "--print_config"}]
    (name, *given), _ = take_imports(words)
    if name in TOOLS:
        tool = TOOLS[name]
        function = getattr(import_module(tool.module), tool.function)
        parser = auto_parser(function, as_positional=False, exit_on_error=False)
        switches = {key for key, each in signature(function).parameters.items() if each.annotation in {bool, "bool"}}
        arranged = arrange_tool(name, given, tool.places, switches)
        assert arranged.notes == [], "an old spelling"
        needed = {action.dest for action in parser._actions if action.required}
        missing = [name for name in needed if not any(re.match(rf"--{name}\b", word) for word in arranged.words)]
        assert missing == [] or given == []  # ``resgat extract --help``
        if missing == []:
            with named_parts():
                parser.parse_args(arranged.words)
        return
    for at, word in enumerate(given):
        if word == "--config":
            given[at + 1] = existing(given[at + 1])
    parser = trainer_parser()  # also where another one is made: configurations are read as a process reads them
    with named_parts():
        words = arrange_trainer([name, *given]).words
        if named_net(words) is None:
            parser.parse_args(words)
        else:
            monkeypatch.setattr(sys, "argv", ["resgat"])  # else LightningCLI warns of two sources
            with pytest.raises(Parsed):
                OnlyParser(args=words, **parser_options())


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        spans = [*lines(page), *re.findall(r"`(make [^`]+)`", page.read_text(encoding="utf-8"))]
        for words in (span.split() for span in spans if span.startswith("make ")):
            asked = {word for word in words[1:] if word[0].islower() and word.replace("-", "").isalnum()}
            assert asked <= targets, (name_of(page), words)


def test_options_in_the_text_exist() -> None:
    """Those of ``resgat``, as the generated pages list them; what is below a class belongs to that class."""
    listed = " ".join((DOCS / "reference" / name).read_text(encoding="utf-8") for name in ("cli.md", "cli_training.md"))
    options = set(re.findall(r"--[\w.-]+", " ".join(re.findall(r"^- `([^`]+)`", listed, re.MULTILINE))))
    options |= {
        "--version",
        "--help",
        "--import",
        "--print_config",
        "--no-html",
        "--index-url",
        "--extraction.detector",
        "--requeue",
    }
    for page in PAGES:
        if page.is_relative_to(DOCS / "reference") or page.parts[-2] == "bench":
            continue
        for span in re.findall(r"`([^`\n]*--[^`\n]*)`", page.read_text(encoding="utf-8")):
            for option in re.findall(r"(?<!\S)--[a-z][\w.-]*", span):
                parts = option.removesuffix(".help").split(".")
                known = any(".".join(parts[:length]) in options for length in range(1, len(parts) + 1))
                assert known or option.removeprefix("--") in NOT_OURS, (name_of(page), option)


NOT_OURS = {"compare", "constraint", "dd_vqa", "editable", "no-deps", "faults", "wrap", "shm-size"}
"""Options of make_architecture.py, captions.py, pip, pytest, sbatch and docker."""
