"""Privacy of W&B runs: numbers leave the machine, and neither paths nor the names of users and hosts.

By default W&B records the command line, the program's and the interpreter's paths, host, user, git remote, the
installed packages and everything printed. Its settings are read from environment variables, which also reach the
processes of DDP and loggers of any class; a variable that the user has set counts, except in private runs.
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
    "WANDB_HOST": "private",
    "WANDB_X_EXECUTABLE": "python",
}
_PRIVATE: Final = {
    **_ALWAYS,
    "WANDB_SAVE_CODE": "false",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
    "WANDB_USERNAME": "private",
    "WANDB_NAME": "private",
}
_FORGOTTEN: Final = ("WANDB_NOTES", "WANDB_TAGS", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE")
_ABSOLUTE: Final = re.compile(
    r"(?:file:/+|(?<![\w/])~?/(?!/)|(?<![\w:/])//|(?<![\w/])~\w+/|(?<!\w)[A-Za-z]:[\\/]+|\\\\)[^\s\"'\]\[{},;]+",
    re.IGNORECASE,
)
"""An absolute path of Unix or Windows, one below a home folder, or a ``file:`` URL, in whatever text; of other URLs,
which name no place of this machine, nothing."""
_USER: Final = re.compile(r"(?<=://)[^\s/\"']*@")
"""Name and password in a URL."""


def settings(private: bool, environment: MutableMapping[str, str] = os.environ) -> None:
    """Restrict W&B's records, before it is started.

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
    """Plain values with absolute paths in any text cut down to their last names, and URLs without user and password."""
    if isinstance(value, Mapping):
        return {name: without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _ABSOLUTE.sub(_last, _USER.sub("", str(value)))


def _last(found: re.Match[str]) -> str:
    return re.split(r"[/\\]", found[0].rstrip("/\\"))[-1]
