"""Options take parts by name, and what fails in somebody else's part is one message that names it."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torchmetrics
from jsonargparse import ArgumentError, ArgumentParser

from resgat_pl.cli.main import main
from resgat_pl.cli.part_names import KINDS, failure_in, named_parts, names_of
from resgat_pl.core import parts
from resgat_pl.core.errors import ConfigError
from resgat_pl.data.faces.detection import FaceDetector, WholeFrame
from resgat_pl.data.layouts.base import Layout
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.splits.protocols import PartSplit, SplitProtocol, StrictSplit
from resgat_pl.data.transforms import Augmentation, Transform

MODULE = """
from resgat_pl.data.splits import SplitProtocol

class Mine(SplitProtocol):
    name = "mine"
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
    def assign(self, videos):
        return {}

class Failing(Mine):
    def __init__(self) -> None:
        raise KeyError("no such thing")

number = 3
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with entry points."""
    (tmp_path / "outside_split.py").write_text(MODULE)
    (tmp_path / "outside_broken.py").write_text("raise RuntimeError('the moon is wrong')\n")
    (tmp_path / "outside_needs.py").write_text("import absent_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("outside_split", "outside_broken", "outside_needs"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    named = {"mine": "outside_split:Mine", "failing": "outside_split:Failing", "broken": "outside_broken:Mine"}
    points = EntryPoints(EntryPoint(name, value, "resgat_pl.splits") for name, value in named.items())
    monkeypatch.setattr(parts, "entry_points", points.select)


def parse(*words: str, asked: Any = SplitProtocol | None) -> Any:
    """The part that an option makes of a command line."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=asked)
    with named_parts():
        try:
            found = parser.instantiate(parser.parse_args(words))
        except (ArgumentError, ValueError) as error:
            raise failure_in(error) or error from None
    return found.part


@pytest.mark.parametrize(
    ("asked", "name", "kind"),
    [
        (SplitProtocol, "strict", StrictSplit),
        (SplitProtocol, "PartSplit", PartSplit),
        (SplitProtocol, "resgat_pl.data.splits.PartSplit", PartSplit),
        (Layout, "dfdc", DFDC),
        (FaceDetector, "whole_frame", WholeFrame),
    ],
)
def test_parts_of_this_package_by_name(asked: Any, name: str, kind: type) -> None:
    assert type(parse("--part", name, asked=asked | None)) is kind


@pytest.mark.usefixtures("outside")
def test_installed_parts_by_name_and_path() -> None:
    for words in (("mine", "--part.seed", "3"), ("outside_split.Mine", "--part.seed=3")):
        found = parse("--part", *words)
        assert (type(found).__name__, found.seed) == ("Mine", 3)
    assert parse('--part={"class_path": "mine", "init_args": {"seed": 4}}').seed == 4
    assert {"mine", "strict"} <= set(names_of("resgat_pl.data.splits.protocols.SplitProtocol"))
    assert names_of("builtins.dict") == []


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "The split protocol broken is of the package outside_broken:Mine, which fails.*the moon is wrong"),
        ("outside_broken.Mine", r"outside_broken\.Mine cannot be had: the module outside_broken.*the moon is wrong"),
        ("outside_needs.Mine", "No module named 'absent_package'"),
        ("outside_nowhere.Mine", r"outside_nowhere\.Mine cannot be had.*No module named 'outside_nowhere'"),
        ("failing", r"outside_split\.Failing of the package outside_split fails \(KeyError: 'no such thing'\)"),
    ],
)
def test_what_fails_in_somebody_elses_part(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse("--part", name)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    "name", ["mein", "outside_split.Mein", "outside_split.number", "json.JSONDecoder", "json.no.X"]
)
def test_the_parser_itself_says_what_is_no_part(name: str) -> None:
    with pytest.raises(ArgumentError):
        parse("--part", name)


def test_a_transform_of_albumentations() -> None:
    found = parse("--part", "albumentations.HorizontalFlip", "--part.p", "0.25", asked=Augmentation | Transform | None)
    assert type(found).__name__ == "HorizontalFlip"
    assert found.p == 0.25


def test_the_kinds_are_the_classes_that_options_ask_for() -> None:
    asked = {parts.class_path(kind) for kind in (Layout, SplitProtocol, FaceDetector, Augmentation, Transform)}
    assert asked | {parts.class_path(torchmetrics.Metric)} <= set(KINDS)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("command", ["extract", "fit"])
def test_a_broken_package_ends_a_command_in_one_message(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = {"extract": ["a", "b", "--split"], "fit": ["--data.crops", "a", "--data.split"]}[command]
    assert main([command, *words, "broken"]) == 2
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    assert "package outside_broken:Mine, which fails" in printed
    assert main([command, *words, "min"]) == 2
    assert "Did you mean mine?" in capfd.readouterr().err
