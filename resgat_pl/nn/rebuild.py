"""A network made again from its arguments in a checkpoint, which may come from anybody."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar

import torch

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.parts import names_from_a_file
from resgat_pl.core.text import first_line
from resgat_pl.nn.checkpoint_file import Checkpoint, check_state, load_strictly
from resgat_pl.nn.detector_net import DetectorNet

_Net = TypeVar("_Net", bound=DetectorNet)


def rebuild(kind: type[_Net], arguments: Mapping[str, Any], checkpoint: Checkpoint) -> _Net:
    """Build a network and load its weights, in evaluation mode and on the CPU.

    It is first built without memory (on torch's device ``meta``), and the weights are compared with that: a file of a
    few bytes cannot fill the memory by naming a network of billions of parameters.

    Args:
        kind: Its class.
        arguments: Of its constructor; ``weights`` becomes None, for the checkpoint has all.
        checkpoint: For the weights, and its name for messages.

    Raises:
        WeightsError: The network cannot be built, or the weights are of another one.
    """
    given = {name: None if name == "weights" else value for name, value in arguments.items()}
    state = checkpoint.net_state
    try:
        with names_from_a_file():
            if (plan := _planned(kind, deepcopy(given))) is not None:  # constructors may change the lists they get
                check_state(plan, state, checkpoint.name)
            net = kind(**deepcopy(given))
    except WeightsError:
        raise
    except (ConfigError, TypeError) as error:
        raise WeightsError(f"{checkpoint.name} describes a network that cannot be built: {error}") from error
    except Exception as error:  # whatever somebody else's code raises
        raise WeightsError(
            f"{checkpoint.name} describes a network that cannot be built ({first_line(error)})."
        ) from error
    load_strictly(net, state, checkpoint.name)
    return net.eval()


def _planned(kind: type[_Net], arguments: Mapping[str, Any]) -> _Net | None:
    """The network without memory; None if its class, from outside, cannot be built so."""
    try:
        with torch.device("meta"):
            return kind(**arguments)
    except (NotImplementedError, RuntimeError):  # it needs numbers, which nothing on this device has
        return None
    except ConfigError as error:
        if isinstance(error.__cause__, NotImplementedError | RuntimeError):  # a part of it does
            return None
        raise
