"""The class of detector that ``fit``, ``validate``, ``test`` and ``predict`` are given; without one it is ResGAT.

ResGAT's options are a group, ``net: {heads: 9}``, as in the configurations of all runs. Where a class is named, by
``--net CLASS`` or ``net: {class_path: CLASS, init_args: {…}}``, the group becomes that class with its arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from resgat_pl.core.parts import class_path

if TYPE_CHECKING:
    from resgat_pl.nn.detector_net import DetectorNet

_FILES: Final = {".yaml", ".yml", ".json"}
_named: ContextVar[type[DetectorNet] | None] = ContextVar("_named", default=None)


def named_net(words: Sequence[str]) -> type[DetectorNet] | None:
    """The class of detector that a command line names last, itself or in a configuration; None if it names none.

    Args:
        words: The command line in full spelling.

    Raises:
        ConfigError: There is no such class.

    Example:
        >>> named_net(["fit", "--net", "resgat_pl.nn.PooledClassifier"]).__name__
        'PooledClassifier'
        >>> named_net(["fit", "--net.heads", "2"])
    """
    name = None
    for option, value in _pairs(words):
        if option == "--config":
            content = _parsed(_text(value))
            name = _class_in(content.get("net") if isinstance(content, dict) else None) or name
        elif option == "--net.class_path":
            name = value
        elif option == "--net" and Path(value).suffix not in _FILES:
            name = _class_in(_parsed(value)) or name
    return None if name is None else _find(name)


@contextmanager
def reading_for(kind: type[DetectorNet] | None) -> Iterator[None]:
    """Let ``with_class`` bring configurations into the form of a class inside the ``with`` block."""
    token = _named.set(kind)
    try:
        yield
    finally:
        _named.reset(token)


def with_class(content: Any) -> Any:
    """A configuration whose ``net`` has a class path, if a class was named.

    A name becomes a class path. Options without a class go to the class named, without those that only ResGAT has: a
    configuration for ResGAT serves another detector with the same encoder. What neither has is left to be refused.

    Example:
        >>> with reading_for(named_net(["--net=PooledClassifier"])):
        ...     with_class({"net": {"encoder": "resnet18", "heads": 2}})
        {'net': {'class_path': 'resgat_pl.nn.pooled.PooledClassifier', 'init_args': {'encoder': 'resnet18'}}}
    """
    kind = _named.get()
    net = content.get("net") if isinstance(content, dict) else None
    if kind is None or net is None:
        return content
    if name := _class_in(net):
        rest = net if isinstance(net, dict) else {}
        return {**content, "net": {**rest, "class_path": class_path(_find(name))}}
    if not isinstance(net, dict):
        return content
    from jsonargparse._parameter_resolvers import get_signature_parameters

    from resgat_pl.nn.resgat import ResGAT

    taken = {one.name for one in get_signature_parameters(kind)}  # through **kwargs, too
    of_resgat = inspect.signature(ResGAT.__init__).parameters
    options = {name: value for name, value in net.items() if name in taken or name not in of_resgat}
    return {**content, "net": {"class_path": class_path(kind), "init_args": options}}


def with_class_paths(words: Sequence[str]) -> list[str]:
    """A command line whose ``--net NAME`` is a class path."""
    found: list[str] = []
    for word in words:
        option, sign, value = word.partition("=")
        if found and found[-1] == "--net":
            found.append(_path_of(word))
        else:
            found.append(f"{option}={_path_of(value)}" if option == "--net" and sign else word)
    return found


def _path_of(value: str) -> str:
    named = None if Path(value).suffix in _FILES else _parsed(value)
    return class_path(_find(named)) if isinstance(named, str) else value


def _find(name: str) -> type[DetectorNet]:
    from resgat_pl.nn.nets import find_net  # imports torch, which tools start without

    return find_net(name, named_by_user=True)


def _class_in(net: Any) -> str | None:
    """The class that an entry ``net`` names: as text, or as ``class_path``."""
    name = net.get("class_path") if isinstance(net, dict) else net
    return name if isinstance(name, str) else None


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for place, word in enumerate(words):
        option, sign, value = word.partition("=")
        if sign:
            yield option, value
        elif place + 1 < len(words):
            yield option, words[place + 1]


def _text(config: str) -> str:
    try:
        return Path(config).read_text(encoding="utf-8")
    except (OSError, ValueError):  # the parser says what is wrong with it; or it is a configuration itself
        return config


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None
