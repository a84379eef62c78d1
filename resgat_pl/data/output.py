"""The folder that crops are written to: made ready, kept from being replaced by mistake, swept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from resgat_pl.data.fragments import fragment_path
from resgat_pl.data.locations import is_remote, listing, make_folder, names_in, refresh, remove_tree
from resgat_pl.data.manifest import refuse_newer
from resgat_pl.errors import ConfigError


def prepare_out(root: Path, out: Path) -> None:
    """Make the folder.

    Raises:
        ConfigError: It is the data set itself, or cannot be made.
    """
    same = out == root if is_remote(out) or is_remote(root) else out.resolve() == root.resolve()
    if same:
        raise ConfigError(f"The crops would be written into the data set itself ({out}). Name another folder.")
    refresh(out)
    try:
        make_folder(out / "fragments")
    except OSError as error:
        raise ConfigError(f"{out}: the folder for the crops cannot be made ({error.strerror})") from None


def check_replaceable(root: Path, out: Path, keys: Iterable[str]) -> None:
    """Keep crops and manifest of a newer program, or of another data set, from being replaced.

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


def sweep(out: Path) -> None:
    """Remove what killed runs left; not while other shards are writing."""
    fragments = out / "fragments"
    for folder in (out, fragments):
        for name in filter(_is_left, names_in(folder)):
            (folder / name).unlink(missing_ok=True)
    if not is_remote(out):
        for name in filter(_is_left, listing(fragments).folders):  # crops of a video, see ``CropWriter``
            remove_tree(fragments / name)


def _is_left(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")
