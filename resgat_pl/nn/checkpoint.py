"""Networks in checkpoint files: what they are called, and whether they fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resgat_pl.errors import WeightsError
from resgat_pl.nn.resgat import ResGAT

CHECKPOINT_VERSION = 1
"""Version of the ``resgat`` entry of a checkpoint."""

_ARCHITECTURE = ("attention", "encoder", "heads", "hidden", "normalize", "head", "encoder_stage")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint of ResGAT without executing anything that is in it.

    Returns:
        The checkpoint; ``checkpoint["resgat"]["net"]`` holds the network's arguments.

    Raises:
        WeightsError: It is missing, damaged, holds more than plain data, or is not from this program and version.
    """
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint {path}.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path} cannot be read as a checkpoint: {reason}") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise WeightsError(
            f"{path} is not a checkpoint of resgat fit. The authors' weights are read by ResGAT.from_published."
        )
    check_entry(checkpoint.get("resgat"), str(path))
    return checkpoint


def check_entry(entry: object, source: str) -> None:
    """Refuse a checkpoint's ``resgat`` entry that is missing or newer than this program.

    Raises:
        WeightsError: Says which.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("net"), dict):
        raise WeightsError(f"{source} was not written by resgat: it does not say which network it holds.")
    if entry.get("version") != CHECKPOINT_VERSION:
        raise WeightsError(
            f"{source} has checkpoint version {entry.get('version')}, this program reads {CHECKPOINT_VERSION}. "
            "Install the resgat-pl that wrote it."
        )


def check_compatible(config: Mapping[str, Any], stored: Mapping[str, Any], source: str = "The checkpoint") -> None:
    """Refuse a network of another architecture than the configured one.

    Raises:
        WeightsError: Names each value that differs.
    """
    differing = [name for name in _ARCHITECTURE if config.get(name) != stored.get(name)]
    if differing:
        pairs = ", ".join(f"net.{name} is {stored.get(name)!r} there, {config.get(name)!r} here" for name in differing)
        raise WeightsError(
            f"{source} holds another network: {pairs}. Use the configuration it was trained with (config.yaml in its "
            "run folder)."
        )


def load(path: Path) -> ResGAT:
    """See ``ResGAT.load``."""
    checkpoint = read_checkpoint(path)
    try:
        net = ResGAT(**{**checkpoint["resgat"]["net"], "weights": None})
    except TypeError as error:
        raise WeightsError(f"{path} names arguments of ResGAT that this version does not have: {error}") from None
    prefix = "net."
    state = {key.removeprefix(prefix): v for key, v in checkpoint["state_dict"].items() if key.startswith(prefix)}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not hold the network it names: {str(error).splitlines()[-1].strip()}"
        ) from None
    return net.eval()
