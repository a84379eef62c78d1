"""``resgat configs``: the configurations that come with the package, listed or copied to be edited."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.text import nearest

FOLDER: Final = Path(__file__).parent / "shipped"
"""In a checkout a link to ``configs/`` on the top level; in a wheel the files themselves."""


def configs(action: Literal["list", "copy"] = "list", name: str | None = None, dest: Path = Path()) -> str:
    """List the configurations that come with the package, or copy one to be edited.

    ``resgat fit --config NAME`` takes the shipped one where there is no file of that name.

    Args:
        action: ``list`` names each with what it is for; ``copy`` writes one of them.
        name: The configuration to copy, such as ``dfdc_gatv1``.
        dest: File or folder to copy it to. A file that is there already is not overwritten.

    Returns:
        The list, or the path of the copy.

    Raises:
        ConfigError: There is no configuration of that name, or a file at ``dest``.

    Example:
        >>> print(next(line for line in configs().splitlines() if line.startswith("corrected")))
        corrected             Overlay that differs from configs/paper_faithful.yaml in the lines that matter
    """
    if action == "list":
        return "\n".join(f"{path.stem:<22}{_about(path)}" for path in _shipped().values())
    if name is None or (source := _shipped().get(Path(name).stem)) is None:
        hint = nearest(name or "", _shipped())
        raise ConfigError(f"There is no shipped configuration {name!r}.{hint} resgat configs lists them.")
    target = dest / source.name if dest.is_dir() else dest
    if target.exists():
        raise ConfigError(f"{target} is there already and is not overwritten: give another name, or remove it.")
    write_atomic(target, source.read_bytes())
    return f"{target}: edit it, then resgat fit --config {target}"


def shipped_path(given: str) -> str:
    """The path of a shipped configuration named as ``smoke`` or ``configs/smoke.yaml``; files that exist win.

    Example:
        >>> Path(shipped_path("smoke")).name, shipped_path("runs/smoke.yaml")
        ('smoke.yaml', 'runs/smoke.yaml')
    """
    path = Path(given)
    if path.parent not in {Path(), Path("configs")} or path.suffix not in {"", ".yaml"} or path.is_file():
        return given
    return str(_shipped().get(path.stem, given))


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def _about(path: Path) -> str:
    """The beginning of a configuration's first comment."""
    first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return re.split(r"[:;](?: |$)", first)[0].removesuffix(".")
