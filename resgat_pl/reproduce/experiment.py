"""The YAML file of an experiment: rows with the paper's numbers, protocols, presets, seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.text import shorten
from resgat_pl.core.untrusted_paths import is_plain_name

Settings = TypeVar("Settings")


@dataclass
class Counts:
    """Crops by class."""

    real: int
    fake: int


@dataclass
class Paper:
    """The paper's numbers: F1 and AUC in %, and its counts of crops."""

    f1: float
    auc: float
    train: Counts
    test: Counts


@dataclass
class Row:
    """One row of a table.

    Attributes:
        name: Name.
        dataset: Layout of its data set.
        attention: ``gatv1`` or ``gatv2``.
        config: Path of its configuration.
        root: Environment variable that points at its data set.
        paper: The paper's numbers.
    """

    name: str
    dataset: Literal["ffpp", "dfdc", "celebdf"]
    attention: str
    config: str
    root: str
    paper: Paper


@dataclass
class Preset:
    """A way to train.

    Attributes:
        config: Path of a configuration that is read after the row's.
        options: Further options of ``resgat fit``.
        val: Share of the training crops that the protocol ``paper`` sets aside for validation.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    val: float = 0.0

    @property
    def arguments(self) -> list[str]:
        """Options of ``resgat fit``, after the row's configuration."""
        return [
            "--config",
            self.config,
            *(part for name, value in self.options.items() for part in option(name, value)),
        ]


@dataclass
class Synthetic:
    """Changes for synthetic data: configuration, options, the set's settings, seeds."""

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])


@dataclass(frozen=True)
class Choice:
    """The part of an experiment to run."""

    rows: list[Row]
    presets: list[str]
    protocols: list[str]
    seeds: list[int]

    @property
    def size(self) -> int:
        """Number of runs."""
        return len(self.rows) * len(self.presets) * len(self.protocols) * len(self.seeds)


@dataclass(frozen=True)
class Condition:
    """One run: a row under a protocol, preset and seed, on real or synthetic data."""

    row: Row
    protocol: str
    preset: str
    seed: int
    data: Literal["real", "synthetic"]

    @property
    def place(self) -> Path:
        """Folder of the run within the experiment's."""
        return Path(self.data, self.row.name, self.protocol, self.preset, f"seed_{self.seed}")


@dataclass
class Experiment:
    """An experiment, see experiments/table1.yaml.

    Attributes:
        rows: The rows.
        protocols: Class path of each split protocol by name.
        presets: By name.
        synthetic: Changes for ``--data synthetic``.
        protocol: Protocols that are run unless the command line says otherwise.
        preset: The same of presets.
        seeds: The same of seeds, on real data.
    """

    rows: list[Row]
    protocols: dict[str, str]
    presets: dict[str, Preset]
    synthetic: Synthetic
    protocol: list[str]
    preset: list[str]
    seeds: list[int]

    def __post_init__(self) -> None:
        if empty := [name for name, value in vars(self).items() if not value]:
            raise ValueError(f"{', '.join(empty)} must not be empty")
        names = [row.name for row in self.rows]
        for name in (*names, *self.protocols, *self.presets):
            require_plain_name(name)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two rows are called {twice[0]}")

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """Read the YAML file; configurations are relative to it.

        Raises:
            ConfigError: See ``read_settings``.
        """
        experiment = read_settings(path, cls, "experiments/table1.yaml")
        entries: list[Row | Preset | Synthetic] = [*experiment.rows, *experiment.presets.values(), experiment.synthetic]
        for entry in entries:
            entry.config = str(path.parent / entry.config)
        return experiment

    def choose(
        self,
        protocol: str | None,
        preset: str | None,
        seeds: str | None,
        rows: str | None,
        data: Literal["real", "synthetic"],
    ) -> Choice:
        """Read the command line's lists, each separated by commas; None takes the experiment's default.

        Raises:
            ConfigError: A name is unknown, or a seed no number.
        """
        default = self.seeds if data == "real" else self.synthetic.seeds
        numbers = [str(seed) for seed in default] if seeds is None else _split(seeds)
        if wrong := [number for number in numbers if not number.isdecimal()]:
            raise ConfigError(f"--seeds {seeds}: {wrong[0]!r} is no number from 0. Give for example 0,1,2.")
        if not numbers:
            raise ConfigError("--seeds names nothing. Give for example 0,1,2.")
        by_name = {row.name: row for row in self.rows}
        return Choice(
            rows=[by_name[name] for name in choose_names("rows", rows, by_name)],
            presets=choose_names("preset", preset, self.presets, self.preset),
            protocols=choose_names("protocol", protocol, self.protocols, self.protocol),
            seeds=list(dict.fromkeys(int(number) for number in numbers)),
        )


def option(name: str, value: Any) -> list[str]:
    """An option of ``resgat fit`` and its value, which may be any plain value."""
    return [f"--{name}", value if isinstance(value, str) else json.dumps(value)]


def read_settings(path: Path, kind: type[Settings], shipped: str) -> Settings:
    """Read a YAML file, its interpolations resolved, into a dataclass whose fields are the keys.

    Args:
        path: The file.
        kind: The dataclass; its ``__post_init__`` raises ValueError for values that cannot be used.
        shipped: The file of that kind that comes with the project.

    Raises:
        ConfigError: The file is missing, is not YAML, lacks a key, or has a key or value that ``kind`` does not take.
    """
    if not path.is_file():
        raise ConfigError(f"There is no file {path}. The one of the paper is {shipped}.")
    key = ""
    try:
        settings, loaded = OmegaConf.structured(kind), OmegaConf.load(path)
        if not isinstance(loaded, DictConfig):
            raise TypeError("it holds a list, expected keys and values")
        for key in map(str, loaded):  # one by one: not every error names it
            settings.merge_with({key: loaded[key]})
            _check_texts(get_type_hints(kind)[key], settings[key])
        key = ""
        if missing := OmegaConf.missing_keys(settings):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        return cast("Settings", OmegaConf.to_object(settings))
    # what is neither a mapping nor a list is an OSError to OmegaConf
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError, OSError) as error:
        place = f"{path}, {key}" if key else path
        raise ConfigError(f"{place} cannot be used: {shorten(error, 300)}. Compare {shipped}.") from None


def _check_texts(hint: Any, value: Any) -> None:
    """Check that what must be text is no list and no mapping: OmegaConf takes those in a list of texts.

    Raises:
        ValueError: It is one.
    """
    if hint is str and isinstance(value, DictConfig | ListConfig):
        raise ValueError(f"{shorten(OmegaConf.to_container(value))} is no text")
    if dataclasses.is_dataclass(hint) and isinstance(value, DictConfig):
        hints = get_type_hints(hint)
        for name in value:
            if not OmegaConf.is_missing(value, name):
                _check_texts(hints[str(name)], value[name])
    elif isinstance(value, DictConfig | ListConfig) and (inner := get_args(hint)):
        for item in value.values() if isinstance(value, DictConfig) else value:
            _check_texts(inner[-1], item)


def require_plain_name(name: object) -> None:
    """Check the name of a row, protocol, preset or figure, which becomes one of a folder or file.

    Raises:
        ValueError: It is none.
    """
    if not is_plain_name(name):
        raise ValueError(f"the name {name!r} is no name for a file or folder")


def choose_names(what: str, text: str | None, known: Iterable[str], default: Iterable[str] | None = None) -> list[str]:
    """Read an option that names entries of a file, separated by commas; None takes the default, which is all of them.

    Raises:
        ConfigError: It names nothing, or what is not there.
    """
    there = list(known)
    names = list(there if default is None else default) if text is None else _split(text)
    if not names:
        raise ConfigError(f"--{what} names nothing. There are: {', '.join(there)}.")
    if unknown := [name for name in names if name not in there]:
        raise ConfigError(f"--{what}: {', '.join(unknown)} is not in the file. There are: {', '.join(there)}.")
    return list(dict.fromkeys(names))


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
