"""What jsonargparse says of a mistake in a command or a configuration, in one sentence, with the nearest right word.

Its messages list every type that a value might have had. Here the part that matters is taken out of them, and keys,
values and class names are compared with those there are.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import yaml

from resgat_pl.core.text import leaves, nearest

_UNKNOWN: Final = (
    re.compile(r"unrecognized arguments: (?P<rest>.+)", re.DOTALL),
    re.compile(r"does not accept option '(?P<key>[^']+)'"),
    re.compile(r"ambiguous option: (?P<key>\S+) could match"),
)
_NOT_ACCEPTED: Final = re.compile(r"[Oo]ption '(?P<name>[^']+)' is not accepted")
_OF_CLASS: Final = re.compile(r"class_path '(?P<path>[\w.]+)'|class_path='(?P<other>[\w.]+)'")
_NO_ATTRIBUTE: Final = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")
_NO_IMPORT: Final = re.compile(r"Expected a dot import path string: (?P<name>\S+)")
_NO_MODULE: Final = re.compile(r"No module named '(?P<name>[\w.]+)'")
_NESTED: Final = re.compile(r"NestedArg\(key='(?P<key>[^']+)', val=(?P<value>.+)\)", re.DOTALL)
_PARSER_KEY: Final = re.compile(r'(?:Parser key|Key) "(?P<key>[^"]+)"')
_EXPECTED: Final = re.compile(r"Expected an? (?P<type>[^\n]+?)(?:\. Got value.*)?(?:\n|$)")
_GOT: Final = re.compile(r".*(?:Got value|Given value): (?P<value>.*)\Z", re.DOTALL)
_LITERAL: Final = re.compile(r"(?:typing\.)?Literal\[(?P<values>[^\]]+)\]")
_LONGEST: Final = 300


def explain_mistake(message: str, known: Iterable[str], arguments: Sequence[str] = ()) -> str:
    """Say what was wrong in a command or configuration.

    Args:
        message: What jsonargparse says.
        known: Keys that the command has, such as ``data.batch_size``.
        arguments: The command line, to name the configuration file in which a key or value stands.

    Returns:
        One message: the key, the value received, what is accepted, and the nearest right word where there is one.
    """
    message = message.strip()
    # What the options of a class are is not known before it is chosen, but files may say.
    in_files = (key for path in _configs(arguments) for key, _ in leaves(_tree(path)) if ".init_args." in key)
    keys = sorted({*known, *in_files})
    if strange := _strange_option(arguments, keys):  # its value was taken for another argument
        return _unknown(strange, keys, arguments)
    for pattern in _UNKNOWN:
        if match := pattern.search(message):
            groups = match.groupdict()
            return _unknown(groups.get("key") or groups["rest"], keys, arguments)
    owners = list(_PARSER_KEY.finditer(message))
    key = owners[0]["key"] if owners else ""
    if len(owners) > 1:  # of a class inside: what is told last is what is wrong
        key = f"{key}.init_args.{owners[-1]['key']}"
        message = _below(message, owners[-1])
    tellers: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
        (_NOT_ACCEPTED, lambda match: _bad_option(key, match["name"], message, arguments)),
        (_NO_ATTRIBUTE, lambda match: _bad_class(key, f"{match['module']}.{match['name']}", arguments)),
        (_NO_MODULE, lambda match: _bad_class(key, match["name"], arguments)),
        (_NO_IMPORT, lambda match: _bad_class(key, match["name"], arguments, _kinds(message))),
        (_NESTED, lambda match: f"{key}.{match['key']}: there is no such option, or {key} has no class_path."),
    )
    for pattern, tell in tellers:
        if match := pattern.search(message):
            return tell(match)
    return _bad_value(key, message, arguments) if key else " ".join(message.split())[: 2 * _LONGEST]


def _below(message: str, owner: re.Match[str]) -> str:
    """What a message tells of a key: the lines that are further in than the key's own."""
    start = message.rfind("\n", 0, owner.start()) + 1
    depth = len(message[start : owner.start()]) - len(message[start : owner.start()].lstrip(" "))
    first, *rest = message[owner.end() :].split("\n")
    told = [first]
    for line in rest:
        if len(line) - len(line.lstrip(" ")) <= depth:
            break
        told.append(line)
    return "\n".join(told)


def _unknown(given: str, keys: Sequence[str], arguments: Sequence[str]) -> str:
    word = given.split(maxsplit=1)[0].partition("=")[0] if given.split() else given
    key = word.lstrip("-")
    where = _file_of(key, arguments)
    if key in keys and not where:
        return f"{word} has no name on the command line: give its value alone, in its place."
    shown = f"{where}: {key}" if where else f"{word if word.startswith('-') else f'{key!r}'}"
    wanted = _nearest_key(key, keys)
    hint = f" Did you mean {'--' if word.startswith('-') else ''}{wanted}?" if wanted else ""
    return f"{shown}: there is no such option.{hint}"


def _nearest_key(key: str, keys: Sequence[str]) -> str | None:
    """The nearest key: of the same group first, then one whose parts are each near, then by its last part."""
    group, _, last = key.rpartition(".")
    if siblings := [name for name in keys if name.rpartition(".")[0] == group]:
        by_last = {name.rpartition(".")[2]: name for name in siblings}
        if near := difflib.get_close_matches(last, by_last, n=1):
            return by_last[near[0]]
    if near := difflib.get_close_matches(key, keys, n=1, cutoff=0.75):
        return near[0]
    ends = {name.rpartition(".")[2]: name for name in reversed(keys)}
    if near := difflib.get_close_matches(last, ends, n=1, cutoff=0.85):
        return ends[near[0]]
    close = difflib.get_close_matches(key, keys, n=1)
    return close[0] if close else None


def _bad_option(key: str, name: str, message: str, arguments: Sequence[str]) -> str:
    match = _OF_CLASS.search(message)
    path = (match["path"] or match["other"]) if match else ""
    options = _options(path)
    what = f"{_place(key, arguments)}: {path.rpartition('.')[2] or 'its value'} has no option {name!r}."
    hint = nearest(name, options)
    return what + (hint or (f" It has {', '.join(options)}." if options else ""))


def _options(path: str) -> list[str]:
    """Arguments of a class or function."""
    module, _, name = path.rpartition(".")
    try:
        return list(inspect.signature(getattr(import_module(module), name)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return []


def _bad_class(key: str, path: str, arguments: Sequence[str], kinds: Mapping[str, str] | None = None) -> str:
    module, _, name = path.rpartition(".")
    what = f"{_place(key, arguments)}: there is no class {path}."
    if not module and kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        there = "" if near else f" There are: {', '.join(kinds)}."
        return what + (f" Did you mean {kinds[near[0]]}?" if near else there)
    try:
        names = [entry for entry in dir(import_module(module)) if not entry.startswith("_")] if module else []
    except (ImportError, ValueError):
        parts = module.split(".")
        return what + f" Is the package {parts[0]} installed, and {module} spelt right?"
    if hint := nearest(name, names):
        return what + hint.replace("Did you mean ", f"Did you mean {module}.")
    return what + (" Give its whole path, such as package.module.Class." if not module else "")


def _kinds(message: str) -> dict[str, str]:
    """Class paths by name of what may stand in a place, taken from the base class that a message names."""
    found: dict[str, str] = {}
    for path in re.findall(r"<class '([\w.]+\.\w+)'>", message):
        module, _, name = path.rpartition(".")
        try:
            waiting = [getattr(import_module(module), name)]
        except (ImportError, AttributeError):
            continue
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, type):
                waiting += type.__subclasses__(kind)
                if not inspect.isabstract(kind):
                    found[kind.__name__] = _public_path(kind)
    return found


def _public_path(kind: type) -> str:
    """The shortest path of a class: a folder that hands it out, else its module."""
    parts = kind.__module__.split(".")
    for length in range(2, len(parts)):
        folder = ".".join(parts[:length])
        if getattr(import_module(folder), kind.__name__, None) is kind:
            return f"{folder}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__name__}"


def _bad_value(key: str, message: str, arguments: Sequence[str]) -> str:
    match = _GOT.search(message)
    value = " ".join(match["value"].split()) if match else ""
    expected = list(dict.fromkeys(entry for found in _EXPECTED.finditer(message) if (entry := _type(found["type"]))))
    words = [word for literal in _LITERAL.finditer(message) for word in _words(literal["values"])]
    if match is None and not expected:
        return f"{_place(key, arguments)}: {' '.join(message.split(':', 1)[-1].split())[:_LONGEST]}"
    accepted = f" It must be {' or '.join(expected)}." if expected else ""
    return f"{_place(key, arguments)} cannot be {_cut(value)!r}.{accepted}{nearest(value, words)}"


def _type(text: str) -> str:
    """A type as people say it."""
    if literal := _LITERAL.search(text):
        return " or ".join(_words(literal["values"]))
    plain = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "text",
        "NoneType": "null",
        "list": "a list",
        "dict": "names and values",
        "tuple": "a list",
    }
    name = text.strip().rstrip(".").removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
    if "[" in name or " " in name or len(name) > 40:
        return ""
    return plain.get(name, name)


def _words(values: str) -> list[str]:
    return [word.strip().strip("'\"") for word in values.split(",")]


def _cut(value: str) -> str:
    return value if len(value) <= 80 else value[:80] + "…"


def _place(key: str, arguments: Sequence[str]) -> str:
    """The key, and the configuration file that sets it unless the command line does."""
    given = [argument.partition("=")[0][2:] for argument in arguments if argument[:2] == "--"]
    for name in (key, key.replace(".init_args", "")):  # which may be left out
        if any(word.startswith(name) for word in given):
            return f"--{name}"
    where = _file_of(key, arguments)
    return f"{where}: {key}" if where else key


def _strange_option(arguments: Sequence[str], keys: Sequence[str]) -> str | None:
    """The first option whose group, or whose name if it has none, does not exist."""
    groups = {key.partition(".")[0] for key in keys} | {"help", "h", "print_config", "config"}
    for argument in arguments if keys else ():
        name = argument.partition("=")[0][2:].partition(".")[0].rstrip("+")
        if argument[:2] == "--" and name and not any(group.startswith(name) for group in groups):
            return argument
    return None


def _file_of(key: str, arguments: Sequence[str]) -> str | None:
    """The last configuration file on the command line that sets a key."""
    return next((path for path in reversed(_configs(arguments)) if _sets(_tree(path), key.split("."))), None)


def _configs(arguments: Sequence[str]) -> list[str]:
    following = [*arguments[1:], ""]
    pairs = [
        (name, value if sign else after)
        for (name, sign, value), after in zip((a.partition("=") for a in arguments), following, strict=False)
    ]
    return [path for name, path in pairs if name == "--config"]


def _tree(path: str) -> object:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def _sets(tree: object, parts: Sequence[str]) -> bool:
    for part in parts:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True
