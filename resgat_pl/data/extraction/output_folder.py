"""Creates, protects and cleans the output folder of an extraction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.storage import (
    is_remote,
    listing,
    make_folder,
    names_in,
    read_bytes,
    readable,
    refresh,
    remove_tree,
    write_atomic,
)
from resgat_pl.data.extraction.fragment import fragment_path
from resgat_pl.data.manifest.table import MANIFEST_NAME, refuse_newer

SETTINGS_NAME: Final = "extraction.json"
"""File with the settings that crops are cut with, written before the first of them."""


def prepare_out(root: Path, out: Path) -> None:
    """Make the folder.

    Raises:
        ConfigError: It is the data set itself, or cannot be made.
    """
    if out == root if is_remote(out) or is_remote(root) else out.resolve() == root.resolve():
        raise ConfigError(f"The crops would be written into the data set itself ({out}). Name another folder.")
    refresh(out)
    try:
        make_folder(out / "fragments")
    except OSError as error:
        raise ConfigError(
            f"{out}: the folder for the crops cannot be made ({error.strerror}): name another one."
        ) from None


def check_replaceable(root: Path, out: Path, keys: Iterable[str]) -> None:
    """Protect crops and manifest of a newer program, or of another data set, from being replaced.

    Raises:
        ConfigError: Crops of other videos are there, and not one of the same name.
        ManifestError: The manifest has a newer format.
    """
    refuse_newer(out)
    present = set(names_in(out / "fragments", ".parquet"))
    if present and not any(fragment_path(out, key).name in present for key in keys):
        raise ConfigError(
            f"{out} holds the crops of {len(present):,} videos, none of which is asked for from {root}: they are of "
            "another data set or form of it, and nothing was changed. Name another folder for these crops."
        )


def check_settings(out: Path, spec: Mapping[str, Any], replace: bool) -> None:
    """Protect crops, which may be a day's work, from being replaced because an option was forgotten.

    Args:
        out: The folder.
        spec: ``Extraction.spec`` of what is to be cut.
        replace: Crops of other settings may be replaced.

    Raises:
        ConfigError: The crops that are there were cut with other settings, which it names.
    """
    spec, there = _plain(spec), _settings(out)
    if there not in (None, spec) and not replace and names_in(out / "fragments", ".parquet"):
        differ = [name for name in sorted(there.keys() | spec.keys()) if there.get(name) != spec.get(name)]
        changes = ", ".join(f"{name} {there.get(name)} there and {spec.get(name)} here" for name in differ)
        if differ == ["version"]:
            raise ConfigError(
                f"{out} holds crops that another version of resgat-pl cut ({changes}; since 2 frames and faces are "
                "chosen otherwise, and it is known which face of a fake was altered), and nothing was changed. Cut "
                f"them again with resgat extract ROOT {out} and the same options and --replace true; or train on them "
                "as they are, with --data.root null."
            )
        raise ConfigError(
            f"{out} holds crops that were cut with other settings ({changes}), and nothing was changed. Give the same "
            "ones as --extraction options, name another folder, or let resgat extract replace all crops with "
            "--replace true."
        )


def note_settings(out: Path, spec: Mapping[str, Any]) -> None:
    """Write down what crops are about to be cut with.

    Raises:
        OSError: It cannot be written.
    """
    if _settings(out) != _plain(spec):
        write_atomic(out / SETTINGS_NAME, json.dumps(spec, indent=1, sort_keys=True).encode())


def _plain(spec: Mapping[str, Any]) -> Any:
    """As it is read back."""
    return json.loads(json.dumps(spec))


def _settings(out: Path) -> dict[str, Any] | None:
    """The settings that the present crops were cut with; None where there are none, or nothing says so."""
    try:
        found = json.loads(read_bytes(out / SETTINGS_NAME))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):  # of before there was this file, or lost
        try:
            notes = pq.read_schema(readable(out / MANIFEST_NAME)).metadata or {}
            found = json.loads(notes[b"resgat"])["extraction"]
            found.pop("face_detector", None)  # its class, which is no setting
        except (OSError, pa.ArrowException, KeyError, TypeError, AttributeError, ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def clean_up(out: Path) -> None:
    """Remove what killed runs left; not while other parts are being cut."""
    fragments = out / "fragments"
    for folder in (out, fragments):
        for name in filter(_is_left, names_in(folder)):
            (folder / name).unlink(missing_ok=True)
    if not is_remote(out):
        for name in filter(_is_left, listing(fragments).folders):  # crops of a video, see ``CropWriter``
            remove_tree(fragments / name)


def _is_left(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")
