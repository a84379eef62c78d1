"""Command lines of all spellings, brought into one form."""

from __future__ import annotations

import json
from importlib import import_module
from inspect import signature

import pytest
from hypothesis import given, strategies as st

from resgat_pl.cli.commands import TOOLS
from resgat_pl.cli.options import RENAMED, arrange_tool, arrange_trainer
from resgat_pl.core.errors import ConfigError

SWITCHES = {"int8", "html", "merge"}
WORD = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=8).filter(
    lambda word: not word.startswith("-")
)


@pytest.mark.parametrize("command", sorted(RENAMED))
def test_old_spellings_go_on_with_a_note(command: str) -> None:
    for old, new in RENAMED[command].items():
        for given_words, wanted in (
            ([f"--{old}", "a"], [f"--{new}", "a"]),
            ([f"--{old}=a=b"], [f"--{new}=a=b"]),
        ):
            arranged = arrange_tool(command, given_words, (), SWITCHES)
            assert arranged.words == wanted
            assert arranged.notes == [f"--{old} is now --{new}."]


def test_old_spellings_of_other_commands_are_not_touched() -> None:
    assert arrange_tool("check", ["--shard", "1/2"], (), set()) == (["--shard", "1/2"], [])


@pytest.mark.parametrize("command", sorted(RENAMED))
def test_what_replaces_an_old_spelling_exists(command: str) -> None:
    tool = TOOLS[command]
    parameters = signature(getattr(import_module(tool.module), tool.function)).parameters
    assert set(RENAMED[command].values()) <= set(parameters)
    assert not set(RENAMED[command]) & set(parameters)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--int8"], ["--int8=true"]),
        (["--int8", "true"], ["--int8=true"]),
        (["--int8", "False"], ["--int8=False"]),
        (["--int8=false"], ["--int8=false"]),
        (["--no-int8"], ["--int8=false"]),
        (["--no_int8"], ["--int8=false"]),
        (["--int8", "--out", "a"], ["--int8=true", "--out", "a"]),
        (["--no-such", "a"], ["--no-such", "a"]),
        (["--out", "--strange"], ["--out", "--strange"]),
        (["--out"], ["--out"]),
        (["--help"], ["--help"]),
        (["--extraction.help", "a"], ["--media", '["a"]', "--extraction.help"]),
        (["--extraction.frames", "3", "--x=y=z"], ["--extraction.frames", "3", "--x=y=z"]),
    ],
)
def test_switches_values_and_nested_options(words: list[str], wanted: list[str]) -> None:
    assert arrange_tool("export", words, ("media...",), SWITCHES) == (wanted, [])


def test_positions() -> None:
    assert arrange_tool("extract", ["R", "--jobs", "2", "O"], ("root", "out"), set()).words == [
        "--root", "R", "--out", "O", "--jobs", "2",
    ]  # fmt: skip
    assert arrange_tool("extract", ["O", "--root=R"], ("root", "out"), set()).words == ["--out", "O", "--root=R"]
    assert arrange_tool("explain", ["--ckpt_path", "c", "--", "-a.png", "b"], ("media...",), set()) == (
        ["--media", '["-a.png", "b"]', "--ckpt_path", "c"],
        [],
    )
    assert arrange_tool("explain", ["--ckpt_path", "c", "-"], ("media...",), set()).words[:2] == ["--media", '["-"]']


def test_old_positions_go_on_with_a_note() -> None:
    words, notes = arrange_tool("explain", ["best.ckpt", "photo.png", "film.mp4"], ("media...",), set())
    assert words == ["--ckpt_path", "best.ckpt", "--media", '["photo.png", "film.mp4"]']
    assert notes == ["the checkpoint is now given as --ckpt_path, wherever it stands."]
    words, notes = arrange_tool("cross", ["a=a.ckpt", "b=crops"], (), set())
    assert words == ["--ckpt_path", "a=a.ckpt", "--crops", "b=crops"]
    assert notes == ["give these by name: --ckpt_path a=a.ckpt --crops b=crops."]
    assert arrange_tool("export", ["a.ckpt", "b.onnx"], (), set()).words == ["--ckpt_path", "a.ckpt", "--out", "b.onnx"]
    assert arrange_tool("robustness", ["best.ckpt"], (), set()).words == ["--ckpt_path", "best.ckpt"]


def test_a_word_too_many() -> None:
    with pytest.raises(ConfigError, match="'c' is one word too many: it takes ROOT OUT"):
        arrange_tool("extract", ["a", "b", "c"], ("root", "out"), set())
    with pytest.raises(ConfigError, match="'b' is one word too many: it takes CKPT_PATH"):
        arrange_tool("robustness", ["a", "b"], (), set())
    with pytest.raises(ConfigError, match="'x' is one word too many"):
        arrange_tool("benchmark-explainers", ["x"], (), set())


def test_short_options_of_the_trainer() -> None:
    given_words = ["fit", "--crops=a=b", "--out", "runs", "--data.crops", "c", "--x", "--crops.y"]
    assert arrange_trainer(given_words).words == [
        "fit", "--data.crops=a=b", "--trainer.default_root_dir", "runs", "--data.crops", "c", "--x", "--crops.y",
    ]  # fmt: skip


@st.composite
def _lines(draw: st.DrawFn) -> list[str]:
    """A line in today's form: options that take a value, by space or by sign; switches with a sign."""
    words: list[str] = []
    for name in draw(st.lists(st.sampled_from(["out", "ckpt_path", "crops", "extraction.frames", "a-b"]), max_size=5)):
        value = draw(WORD)
        words += [f"--{name}={value}"] if draw(st.booleans()) else [f"--{name}", value]
    if draw(st.booleans()):
        words.append(f"--int8={draw(st.sampled_from(['true', 'false']))}")
    return words


@given(st.sampled_from(sorted(TOOLS)), _lines())
def test_lines_in_todays_form_are_unchanged(command: str, words: list[str]) -> None:
    assert arrange_tool(command, words, TOOLS[command].places, SWITCHES) == (words, [])


@given(st.lists(WORD, min_size=1, max_size=4), _lines())
def test_what_is_arranged_is_not_arranged_again(media: list[str], words: list[str]) -> None:
    once = arrange_tool("explain", ["--ckpt_path=a", *words, *media], ("media...",), SWITCHES).words
    assert json.loads(once[once.index("--media") + 1]) == media
    assert arrange_tool("explain", once, ("media...",), SWITCHES) == (once, [])
