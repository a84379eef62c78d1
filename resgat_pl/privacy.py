"""What leaves the machine through W&B: numbers, and never where files lie or who trains on which computer.

W&B notes, unasked, the command line, the program's and the interpreter's paths, host, user, git remote, the installed
packages and everything printed. Its settings are read from environment variables, which also reach the processes of
DDP and loggers of any class; a variable that the user has set counts, except in private runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

_ALWAYS: Final = {
    "WANDB_X_DISABLE_META": "true",  # paths, command line, host, git
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_CONSOLE": "off",  # messages name files
    "WANDB_PROGRAM": "resgat",
    "WANDB_X_EXECUTABLE": "python",
}
_PRIVATE: Final = {
    **_ALWAYS,
    "WANDB_SAVE_CODE": "false",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
    "WANDB_HOST": "private",
    "WANDB_USERNAME": "private",
    "WANDB_NAME": "private",
}
_FORGOTTEN: Final = ("WANDB_NOTES", "WANDB_TAGS", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE")
_ABSOLUTE: Final = re.compile(r"(?:(?<![\w:/])~?/|(?<!\w)[A-Za-z]:\\|\\\\)[^\s\"'\]\[{},;]+")
"""An absolute path of Unix or Windows, or one below the home folder, in whatever text; not the slashes of a URL."""


def settings(private: bool, environment: MutableMapping[str, str] = os.environ) -> None:
    """Tell W&B what to keep to itself, before it is started.

    Args:
        private: Numbers only: neither host, user, machine, packages nor names.
        environment: Changed in place.
    """
    for name, value in (_PRIVATE if private else _ALWAYS).items():
        if private or name not in environment:
            environment[name] = value
    for name in _FORGOTTEN if private else ():
        environment.pop(name, None)


def without_paths(value: Any) -> Any:
    """Plain values with absolute paths in any text cut down to their last names."""
    if isinstance(value, Mapping):
        return {name: without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else _ABSOLUTE.sub(_last, str(value))


def _last(found: re.Match[str]) -> str:
    return re.split(r"[/\\]", found[0].rstrip("/\\"))[-1]
