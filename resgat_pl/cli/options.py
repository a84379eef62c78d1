"""Command lines brought into one form: options by name, switches with a value, old spellings replaced.

A checkpoint is ``--ckpt_path``, a folder of crops ``--crops``, and a place for results ``--out`` in every command.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Final, NamedTuple

from resgat_pl.cli.configs import shipped_path
from resgat_pl.core.errors import ConfigError

RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "benchmark-explainers": {"ckpt": "ckpt_path", "manifest": "crops"},
    "cross": {"checkpoints": "ckpt_path"},
    "explain": {"checkpoint": "ckpt_path"},
    "export": {"checkpoint": "ckpt_path"},
    "extract": {"shard": "part"},
    "robustness": {"checkpoint": "ckpt_path"},
}
"""Command → old option → new option; the old one goes on working, with a note."""
_WEIGHTS: Final = {".ckpt", ".pth", ".pt", ".safetensors"}
"""Suffixes of checkpoints."""
PLACED: Final[Mapping[str, tuple[str, ...]]] = {
    "cross": ("ckpt_path", "crops"),
    "export": ("ckpt_path", "out"),
    "robustness": ("ckpt_path",),
}
"""Command → options that used to be given by position; that goes on working, with a note."""
SHORT: Final[Mapping[str, str]] = {"crops": "data.crops", "out": "trainer.default_root_dir"}
"""Options of all commands → their places in the configuration of ``fit``, ``validate``, ``test`` and ``predict``."""


class Arranged(NamedTuple):
    """A command line in one form.

    Attributes:
        words: The options, each ``--name=value``, ``--name`` followed by its value, or alone such as ``--help``.
        notes: What to say about old spellings, one sentence each.
    """

    words: list[str]
    notes: list[str]


def take_imports(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take ``--import MODULE`` out of a command line.

    Returns:
        The other words, and the modules in order; one option may name several, separated by commas.

    Raises:
        ConfigError: It names nothing.

    Example:
        >>> take_imports(["fit", "--import", "one,two", "--config", "a.yaml", "--import=three"])
        (['fit', '--config', 'a.yaml'], ['one', 'two', 'three'])
    """
    words: list[str] = []
    modules: list[str] = []
    rest = list(given)
    while rest:
        word = rest.pop(0)
        option, sign, value = word.partition("=")
        if word == "--":
            return [*words, word, *rest], modules
        if option != "--import":
            words.append(word)
            continue
        value = value if sign else rest.pop(0) if rest else ""
        named = [name for part in value.split(",") if (name := part.strip())]
        if not named or value.startswith("-"):
            raise ConfigError("--import names nothing: give a module, or several separated by commas.")
        modules += named
    return words, modules


def arrange_tool(name: str, given: Sequence[str], places: Sequence[str], switches: Collection[str]) -> Arranged:
    """Bring the command line of a tool into one form.

    Args:
        name: The command.
        given: The words after it.
        places: Options that may be given by position, see ``commands.Tool``.
        switches: Options that are true or false; ``--x`` alone means true, ``--no-x`` false.

    Raises:
        ConfigError: There are more words than places.

    Example:
        >>> arrange_tool("export", ["--checkpoint", "a.ckpt", "--int8", "--out", "a.onnx"], (), {"int8"}).words
        ['--ckpt_path', 'a.ckpt', '--int8=true', '--out', 'a.onnx']
    """
    renamed, notes, words, alone = RENAMED.get(name, {}), [], [], []
    for option, value in _pairs(given, switches):
        if option is None:
            alone.append(value or "")
            continue
        key, sign, rest = option[2:].partition("=")
        if new := renamed.get(key):
            notes.append(f"--{key} is now --{new}.")
        full = f"--{new or key}{sign}{rest}"
        if value is not None and key in switches:
            words.append(f"{full}={value}")
        else:
            words += [full] if value is None else [full, value]
    placed, more = _placed(name, alone, places, words)
    return Arranged([*placed, *words], notes + more)


def replacement(name: str, key: str, value: str) -> str | None:
    """Replacement of an option of an earlier version, or of a value of it; None if there is none.

    Example:
        >>> replacement("extract", "shard", "3/50")
        'shard is now part.'
    """
    if (name, key, value) == ("extract", "engine", "ray"):
        from resgat_pl.core.executors import NO_RAY

        return NO_RAY
    new = RENAMED.get(name, {}).get(key)
    return new and f"{key} is now {new}."


def arrange_trainer(given: Sequence[str]) -> Arranged:
    """Write the short options of ``fit``, ``validate``, ``test`` and ``predict``, and shipped configurations, in full.

    Example:
        >>> arrange_trainer(["test", "--crops", "crops", "--out=runs/a"]).words
        ['test', '--data.crops', 'crops', '--trainer.default_root_dir=runs/a']
    """
    words: list[str] = []
    for word in given:
        option, sign, value = word.partition("=")
        full = SHORT.get(option[2:]) if option.startswith("--") else None
        if option == "--config" and sign:
            words.append(f"--config={shipped_path(value)}")
        elif words and words[-1] == "--config":
            words.append(shipped_path(word))
        else:
            words.append(f"--{full}{sign}{value}" if full else word)
    return Arranged(words, [])


def _pairs(given: Sequence[str], switches: Collection[str]) -> Iterator[tuple[str | None, str | None]]:
    """Options with their values, and (None, word) for words that belong to none; every other option takes one value."""
    rest = list(given)
    while rest:
        word = rest.pop(0)
        if word == "--":
            yield from ((None, each) for each in rest)
            return
        option, sign, value = word.partition("=")
        negated = option[2:].removeprefix("no-").removeprefix("no_")
        if not word.startswith("-") or word == "-":
            yield None, word
        elif sign:
            yield (option, value) if option[2:] in switches else (word, None)
        elif negated != option[2:] and negated in switches:
            yield f"--{negated}", "false"
        elif option[2:] in switches:
            yield option, rest.pop(0) if rest and rest[0].lower() in {"true", "false"} else "true"
        elif option in {"-h", "--help"} or option.endswith(".help") or option.startswith("--print_config"):
            yield option, None
        else:
            yield option, rest.pop(0) if rest else None


def _placed(name: str, alone: list[str], places: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options for the words that were given by position, and notes on old ways to do so."""
    if not alone:
        return [], []
    given = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
    notes: list[str] = []
    options: list[str] = []
    # As it used to be: the checkpoint first, then the media.
    if name == "explain" and "ckpt_path" not in given and PurePath(alone[0]).suffix in _WEIGHTS:
        checkpoint, *alone = alone
        notes.append("the checkpoint is now given as --ckpt_path, wherever it stands.")
        options = ["--ckpt_path", checkpoint]
    if not places and (old := PLACED.get(name)):
        shown = " ".join(f"--{place} {word}" for place, word in zip(old, alone, strict=False))
        notes.append(f"give these by name: {shown}.")
        places = old
    free = [place for place in places if place.removesuffix("...") not in given]
    for place in free:
        if place.endswith("...") and alone:
            options += [f"--{place[:-3]}", json.dumps(alone)]
            alone = []
        elif alone:
            options += [f"--{place}", alone.pop(0)]
    if alone:
        taken = f"it takes {' '.join(free).upper()}" if free else "give every value with the name of its option"
        raise ConfigError(f"resgat {name}: {alone[0]!r} is one word too many: {taken}. See resgat {name} --help.")
    return options, notes
