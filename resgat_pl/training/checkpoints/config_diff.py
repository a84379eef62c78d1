"""Comparison of the current configuration with the one a checkpoint was trained with, and which value wins."""

from __future__ import annotations

from typing import Any, Final

import yaml

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.text import leaves

_RESTORED: Final = ("model.optimizer.", "model.lr_scheduler.", "model.lr_batch", "model.lr_scaling")
"""Options that the restored state of optimiser and schedule overrides when training resumes."""
_RESTORED_ONE: Final = ("early_stopping.patience",)
_TRAINING: Final = (*_RESTORED, "model.lr_interval", "checkpoint.", "early_stopping.", "trainer.", "data.augmentation")
_OF_THE_MACHINE: Final = (
    "ckpt_path",
    "config",
    "weights_only",
    "verbose",
    "artifacts.",
    "heatmaps.",
    "checkpoint.dirpath",
    "trainer.default_root_dir",
    "trainer.logger",
    "trainer.callbacks",
    "trainer.enable_",
    "trainer.log_every_n_steps",
    "trainer.devices",
    "trainer.accelerator",
    "trainer.num_nodes",
    "trainer.strategy",
    "data.num_workers",
    "data.extract_jobs",
    "data.shared_disk",
)
"""Options that may differ without a message."""
_ABSENT: Final = "(not set)"
_LONGEST: Final = 2**17
"""Characters of a configuration; ours have some 7,000."""
_LONGEST_KEY: Final = 200
_DEEPEST: Final = 20


def compare_configs(here: str, there: str, command: str) -> list[str]:
    """Compare two configurations.

    Args:
        here: The present one, as YAML.
        there: The one that the checkpoint was trained with, as YAML.
        command: ``fit``, where state is restored, or another.

    Returns:
        One line per value that differs and matters for the command, with which of the two counts.

    Raises:
        WeightsError: The classes of optimiser or schedule differ, so that training cannot go on from their state.
    """
    mine, theirs = dict(leaves(parsed(here))), dict(leaves(parsed(there)))
    if not mine or not theirs:
        return []
    lines = []
    for key in sorted(mine.keys() | theirs.keys()):
        now, before = mine.get(key, _ABSENT), theirs.get(key, _ABSENT)
        if now == before or key.startswith(_OF_THE_MACHINE) or (command != "fit" and key.startswith(_TRAINING)):
            continue
        if command == "fit" and key in {"model.optimizer.class_path", "model.lr_scheduler.class_path"}:
            raise WeightsError(
                f"{key} is {now} here and {before} in the checkpoint: its state does not fit. Give the checkpoint's "
                "value, or train without --ckpt_path."
            )
        restored = command == "fit" and (key.startswith(_RESTORED) or key in _RESTORED_ONE)
        winner = "the checkpoint's counts, its state is restored" if restored else "the configuration's counts"
        lines.append(f"{key} is {_short(now)} here and {_short(before)} in the checkpoint: {winner}")
    return lines


class _Loader(yaml.BaseLoader):
    """YAML loader for untrusted files: plain strings, lists and mappings, no aliases, bounded depth.

    All scalars are texts, which are compared and printed: what a number or a date must look like does not matter.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases, with which 600 bytes can mean a million values, and long paths: ours have neither."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        long = (
            isinstance(parent, yaml.MappingNode) and index is None and len(getattr(event, "value", "")) > _LONGEST_KEY
        )
        if isinstance(event, yaml.AliasEvent) or self._depth >= _DEEPEST or long:
            raise yaml.YAMLError("no configuration of resgat")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def parsed(text: str) -> Any:
    """Parse a configuration from an untrusted file, all values as text; None where it is no configuration."""
    if len(text) > _LONGEST:
        return None
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError):
        return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "…"
