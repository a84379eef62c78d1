"""Detectors by class: this package's, those of installed packages, and class paths; reading them from checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.parts import find_part
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.ensemble import MEMBERS, Ensemble, parse_spec
from resgat_pl.nn.rebuild import rebuild
from resgat_pl.nn.resgat import check_compatible
from resgat_pl.nn.video.net import VideoResGAT

__all__ = ["NETS", "check_same_net", "find_net", "load_net", "parse_spec"]

NETS: Final[dict[str, type[DetectorNet]]] = {
    **MEMBERS,
    **{kind.__name__: kind for kind in (Ensemble, VideoResGAT)},
}
"""This package's detectors by name."""
_FREE: Final = frozenset({"weights", "image_size", "dropout", "frames", "clip_frames"})
"""Arguments on which the meaning of a detector's weights does not depend, by their names."""


def find_net(name: str, named_by_user: bool = False) -> type[DetectorNet]:
    """Find a class of detectors by its name, see ``core.parts.find_part``.

    Raises:
        ConfigError: There is none, it is no ``DetectorNet``, or a file alone names it.

    Example:
        >>> find_net("resgat_pl.nn.PooledClassifier").__name__
        'PooledClassifier'
    """
    kind = find_part("detector", name, DetectorNet, NETS, named_by_user)
    parameters = inspect.signature(kind.__init__).parameters.values()
    if not any(one.name == "image_size" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        raise ConfigError(
            f"The detector {name} takes no image_size, which is the side of its images in px: let its constructor have "
            "image_size: int = 224."
        )
    return kind


def load_net(checkpoint: str | Path | Checkpoint) -> DetectorNet:
    """Rebuild the detector of a checkpoint that ``resgat fit`` wrote, in evaluation mode and on the CPU.

    The checkpoint only chooses among this package's detectors, those of installed entry points, and those that this
    process has imported: reading it imports nothing.

    Raises:
        WeightsError: As ``Checkpoint.read``; its detector is not there, or its weights do not fit that.

    Example:
        >>> from resgat_pl.nn.pooled import PooledClassifier
        >>> net = PooledClassifier("resnet18", image_size=64)
        >>> weights = {f"net.{name}": value for name, value in net.state_dict().items()}
        >>> content = {"resgat": {"version": 1, "net": net.spec}, "state_dict": weights}
        >>> type(load_net(Checkpoint.of(content, "a.ckpt"))).__name__
        'PooledClassifier'
    """
    found = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint.read(checkpoint)
    try:
        name, arguments = parse_spec(found.net_config)
        kind = find_net(name)
    except (ConfigError, WeightsError) as error:
        raise WeightsError(f"{found.name} holds a detector that cannot be built: {error}") from error
    net = rebuild(kind, arguments, found)
    if found is not checkpoint:
        found.release()
    return net


def check_same_net(current: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Make sure that a checkpoint's weights mean the same in the detector that is to receive them.

    Args:
        current: ``DetectorNet.spec`` of that detector, or its entry in a configuration.
        stored: The checkpoint's.

    Raises:
        WeightsError: The classes differ, or an argument on which the meaning of the weights depends.
    """
    (here, mine), (there, theirs) = parse_spec(current), parse_spec(stored)
    if _own_name(here) != _own_name(there):
        raise WeightsError(
            f"The checkpoint holds another network: net is {_own_name(there):.200} there and {_own_name(here)} here. "
            "Give the configuration the checkpoint's class (--net), or choose another checkpoint."
        )
    if _own_name(here) == "ResGAT":
        check_compatible(mine, theirs)
        return
    different = [
        f"{name} is {theirs[name]} there and {mine[name]} here"
        for name in mine
        if name in theirs and name not in _FREE and mine[name] != theirs[name]
    ]
    if different:
        raise WeightsError(
            f"The checkpoint holds another network: {'; '.join(different)}. Give the configuration the checkpoint's "
            "values, or choose another checkpoint."
        )


def _own_name(name: str) -> str:
    """The name of a class of this package, by whatever path; other paths as they are."""
    for own, kind in NETS.items():
        package, _, last = name.rpartition(".")
        if (last == own and f"{kind.__module__}.".startswith(f"{package}.")) or name == own:
            return own
    return name
