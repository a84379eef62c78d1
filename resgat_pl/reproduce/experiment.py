"""The YAML file of an experiment: rows with the paper's numbers, protocols, presets, seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.untrusted_paths import is_plain_name


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: Name.
        dataset: Layout of its data set, ``ffpp`` or ``dfdc``.
        attention: ``gatv1`` or ``gatv2``.
        config: Path of its configuration.
        root: Environment variable that points at its data set.
        paper: The paper's numbers: ``f1`` and ``auc`` in %, ``train`` and ``test`` counts of ``real`` and ``fake``.
    """

    name: str
    dataset: Any
    attention: str
    config: str
    root: str
    paper: dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """A way to train.

    Attributes:
        arguments: Options of ``resgat fit``, over the row's configuration.
        val: Share of the training crops that the protocol ``paper`` sets aside for validation.
    """

    arguments: list[str]
    val: float = 0.0


@dataclass(frozen=True)
class Synthetic:
    """What is different on synthetic data: configuration, options, the set's settings, seeds."""

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])


@dataclass(frozen=True)
class Choice:
    """What of an experiment is to be run."""

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
    """What one run is: a row under a protocol, preset and seed, on real or synthetic data."""

    row: Row
    protocol: str
    preset: str
    seed: int
    data: Literal["real", "synthetic"]

    @property
    def place(self) -> Path:
        """Folder of the run within the experiment's."""
        return Path(self.data, self.row.name, self.protocol, self.preset, f"seed_{self.seed}")


@dataclass(frozen=True)
class Experiment:
    """An experiment, see experiments/table1.yaml.

    Attributes:
        rows: The rows.
        protocols: Class path of each split protocol by name.
        presets: By name.
        synthetic: What ``--data synthetic`` changes.
        defaults: What is run unless the command line says otherwise: ``protocol``, ``preset``, ``seeds``.
    """

    rows: list[Row]
    protocols: dict[str, str]
    presets: dict[str, Preset]
    synthetic: Synthetic
    defaults: dict[str, list[Any]]

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """Read the YAML file; configurations are relative to it.

        Raises:
            ConfigError: It is missing, not YAML, or lacks something.
        """
        if not path.is_file():
            raise ConfigError(f"There is no table at {path}. The one of the paper is experiments/table1.yaml.")
        table = read_yaml(path)
        keys = ("rows", "protocols", "presets", "synthetic", "protocol", "preset", "seeds")
        if missing := [key for key in keys if not table.get(key)]:
            raise ConfigError(f"{path} lacks {', '.join(missing)}: see experiments/table1.yaml.")
        base = path.parent
        try:
            _check_names([*table["protocols"], *table["presets"]])
            return cls(
                rows=_rows(base, table["rows"]),
                protocols=dict(table["protocols"]),
                presets={name: _preset(base, entry) for name, entry in table["presets"].items()},
                synthetic=Synthetic(**{**table["synthetic"], "config": str(base / table["synthetic"]["config"])}),
                defaults={key: _list(key, table[key]) for key in ("protocol", "preset", "seeds")},
            )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"{path} has an entry that cannot be used ({error}): see experiments/table1.yaml."
            ) from None

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
        by_name = {row.name: row for row in self.rows}
        default = [str(seed) for seed in (self.defaults["seeds"] if data == "real" else self.synthetic.seeds)]
        numbers = _names(seeds, default)
        if wrong := [number for number in numbers if not number.isdecimal()]:
            raise ConfigError(f"--seeds {seeds}: {wrong[0]!r} is no number from 0. Give for example 0,1,2.")
        if not numbers:
            raise ConfigError("--seeds names nothing. Give for example 0,1,2.")
        return Choice(
            rows=[by_name[name] for name in _known("rows", _names(rows, list(by_name)), by_name)],
            presets=_known("preset", _names(preset, self.defaults["preset"]), self.presets),
            protocols=_known("protocol", _names(protocol, self.defaults["protocol"]), self.protocols),
            seeds=list(dict.fromkeys(int(number) for number in numbers)),
        )


def option(name: str, value: Any) -> list[str]:
    """An option of ``resgat fit`` and its value, which may be any plain value."""
    return [f"--{name}", value if isinstance(value, str) else json.dumps(value)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file, its interpolations resolved.

    Raises:
        ConfigError: It is not YAML, or no mapping of names to values.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    # what is neither a mapping nor a list is an OSError to OmegaConf
    except (OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a list, expected names and values.")
    return {str(name): value for name, value in content.items()}


def _rows(base: Path, entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows = [Row(**{**entry, "config": str(base / entry["config"])}) for entry in entries]
    names = [row.name for row in rows]
    _check_names(names)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two rows are called {twice[0]}")
    for row in rows:
        counts = [f"{split} {label}" for split in ("train", "test") for label in ("real", "fake")]
        wrong = [name for name in ("f1", "auc") if not isinstance(row.paper.get(name), int | float)]
        for name in counts:
            split, label = name.split()
            wrong += [] if isinstance((row.paper.get(split) or {}).get(label), int) else [name]
        if wrong:
            raise ValueError(f"row {row.name}: the paper's {wrong[0]} is missing or no number")
    return rows


def _check_names(names: Sequence[object]) -> None:
    """Names become folders, see ``Condition.place``."""
    if wrong := [name for name in names if not is_plain_name(name)]:
        raise ValueError(f"the name {wrong[0]!r} is no name for a folder")


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{name}: {value!r} is no list")
    return value


def _preset(base: Path, entry: Mapping[str, Any]) -> Preset:
    options = [part for name, value in entry.get("options", {}).items() for part in option(name, value)]
    return Preset(["--config", str(base / entry["config"]), *options], float(entry.get("val", 0.0)))


def _names(text: str | None, default: Sequence[str]) -> list[str]:
    return list(default) if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _known(what: str, names: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--{what}: {', '.join(unknown)} is not in the table. There are: {', '.join(known)}.")
    if not names:
        raise ConfigError(f"--{what} names nothing. There are: {', '.join(known)}.")
    return list(dict.fromkeys(names))
