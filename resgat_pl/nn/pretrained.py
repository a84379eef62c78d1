"""Saving a network as a folder or on the hub, and reading it back, from Python."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from resgat_pl import __version__
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import WRITER
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION, Checkpoint, read_file
from resgat_pl.nn.checkpoint_keys import EPOCH, LIGHTNING, NET_PREFIX, RESGAT, STATE_DICT, STEP
from resgat_pl.nn.encoder_source import same_bits
from resgat_pl.nn.hub import find_folder, push_folder
from resgat_pl.nn.hub_card import bare_card
from resgat_pl.nn.hub_folder import Written, read_folder, write_folder


def save_pretrained(
    net: nn.Module, folder: str | Path, checkpoint: str | Path | None = None, card: str | None = None
) -> Written:
    """Write a network as a folder, see ``hub_folder.write_folder``.

    Args:
        net: With its arguments as ``config``.
        folder: New, empty, or of an earlier call, which is replaced.
        checkpoint: The one that ``net`` was loaded from, for its thresholds, temperatures and provenance.
        card: Text of the model card; None writes one that says what is unknown.

    Raises:
        ConfigError: ``net`` has other weights than the checkpoint, or the folder cannot be written.
        WeightsError: The checkpoint cannot be read.
    """
    state = {f"{NET_PREFIX}{name}": value for name, value in net.state_dict().items()}
    config: Any = getattr(net, "spec", net.config)
    content: dict[str, Any] = {
        RESGAT: {"version": CHECKPOINT_VERSION, WRITER: __version__, "net": config},
        LIGHTNING: version("lightning"),  # Trainer.test asks for it
        EPOCH: 0,
        STEP: 0,
        STATE_DICT: state,
    }
    if checkpoint is not None:
        content = read_file(checkpoint)
        found = Checkpoint.of(content, checkpoint).state
        if any(name not in found or not same_bits(found[name], value) for name, value in state.items()):
            raise ConfigError(
                f"This network has other weights than {checkpoint}, whose thresholds and provenance do not hold for "
                "it: save it without checkpoint."
            )
    return write_folder(folder, content, lambda note: bare_card(config, note) if card is None else card)


def push_to_hub(
    net: nn.Module,
    name: str,
    checkpoint: str | Path | None = None,
    card: str | None = None,
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Write a network as a folder and send it to the hub.

    Arguments and errors are those of ``save_pretrained`` and ``hub.push_folder``.

    Returns:
        Address of the commit.
    """
    with TemporaryDirectory() as folder:
        save_pretrained(net, folder, checkpoint, card)
        return push_folder(folder, name, private, revision, token)


def read_pretrained(place: str | Path, revision: str | None = None, weights: str | Path | None = None) -> Checkpoint:
    """Read the content of a shared detector.

    Args:
        place: A folder, ``owner/name`` or ``hf://owner/name``.
        revision: Branch, tag or commit of the hub.
        weights: File of the encoder's weights where they are not stored; None gets them from where they are named.

    Raises:
        ConfigError: As ``hub.find_folder``.
        WeightsError: As ``hub.find_folder`` and ``hub_folder.read_folder``.
    """
    folder = find_folder(place, revision)
    return Checkpoint.of(read_folder(folder, weights), folder)
