"""A folder of pairs where crops are asked for: extracted first."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from resgat_pl.core.storage import absolute, locate
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.layouts.pairs import Pairs
from resgat_pl.data.manifest.table import MANIFEST_NAME


def crops_of(
    folder: str | Path, out: str | Path, extraction: Extraction | None = None, layout: Pairs | None = None
) -> Path:
    """The folder of crops that was asked for; one of the layout ``pairs`` is extracted.

    Args:
        folder: Crops with a manifest, or original/ and fake/ with pairs (``Pairs``).
        out: Where the crops of pairs go; those that are there already are not cut again.
        extraction: Settings for pairs; None takes the defaults.
        layout: Of pairs, where other than the default.

    Returns:
        ``folder``, or ``out`` where that holds no manifest and has the layout ``pairs``.

    Raises:
        DatasetNotFoundError: Not one face was found in the pairs.
        ConfigError: ``out`` holds crops of something else.

    Example:
        >>> crops_of("datasets/crops/ffpp", "runs/explainers/crops")
        PosixPath('datasets/crops/ffpp')
    """
    root, layout = absolute(locate(folder)), layout or Pairs()
    if not root.is_dir() or (root / MANIFEST_NAME).is_file() or not layout.matches(root):
        return locate(folder)  # what is wrong with it is said where it is read
    target = locate(out)
    tqdm.write(
        f"{root} holds pairs and no crops: their faces are cut out into {target} first (layout pairs).", file=sys.stderr
    )
    tqdm.write(str(extract(root, target, layout, extraction)), file=sys.stderr)
    return target
