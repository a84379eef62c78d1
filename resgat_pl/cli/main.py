"""The ``resgat`` command.

Tools that need no Trainer are plain typed functions behind ``jsonargparse.auto_cli``; ``fit``, ``validate``, ``test``
and ``predict`` are LightningCLI. The first argument decides, so that ``resgat --help`` and the tools start without
importing torch.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from resgat_pl import __version__
from resgat_pl.cli.commands import TOOLS, TRAINER, Tool
from resgat_pl.cli.old_names import read_old_names
from resgat_pl.cli.options import SHORT, arrange_tool, arrange_trainer, take_imports
from resgat_pl.core import privacy
from resgat_pl.core.errors import ConfigError, ResGATError, Stopped, StorageError
from resgat_pl.core.parts import for_children, import_modules
from resgat_pl.core.text import nearest, printable

SWEEP = "WANDB_SWEEP_ID"
"""Set by ``wandb agent`` in the environment of the runs that it starts."""
IMPORT = """\
  --import MODULE       Import a module of yours first, so that checkpoints and manifests may name its classes; several
                        separated by commas, or the option again. No file makes this program import anything else."""
"""Help on the option that every command has."""


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name.

    Returns:
        Exit status: 0 done, 1 a leak was found or some of many files cannot be read, 2 the user's mistake (reported in
        one message), 75 stopped by a signal with its state saved (try again), 130 interrupted.
    """
    try:
        return _dispatch(list(argv))
    except Stopped as stop:
        if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0":  # one line for all
            print(f"resgat: {stop}", file=sys.stderr)
        return stop.status
    except ResGATError as error:
        print(f"resgat: error: {printable(str(error))}", file=sys.stderr)
        return error.status
    except (OSError, RuntimeError) as error:
        from resgat_pl.core.disk_full import is_disk_full, no_shared_memory, storage_error

        message = no_shared_memory(error)
        if message is None and isinstance(error, OSError) and is_disk_full(error):
            intact = "What was written before is intact: free some space, and give the same command again."
            message = f"{storage_error(error)} {intact}"
        if message is None:
            raise
        print(f"resgat: error: {message}", file=sys.stderr)
        return StorageError.status
    except KeyboardInterrupt as stop:
        cause, status = (
            (f"stopped by {stop}", Stopped.status) if isinstance(stop, _Terminated) else ("interrupted", 130)
        )
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"resgat: {cause}; what is finished stays: give the same command again", file=sys.stderr)
        return status


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGUSR1; like Ctrl-C it passes whatever keeps one file from stopping all."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let batch systems stop a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return

    def terminate(number: int, frame: object) -> None:
        raise _Terminated(signal.Signals(number).name)

    before = {number: signal.signal(number, terminate) for number in (signal.SIGTERM, signal.SIGUSR1)}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)  # which Lightning ignores after the first
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    name, rest = argv[0], argv[1:]
    if name == "--version":
        print(f"resgat {__version__}")
        return 0
    privacy.settings(private=False)
    rest, modules = take_imports(rest)
    for_children[:] = modules
    if name in TOOLS or name in TRAINER:
        from resgat_pl.core import opencv_version as opencv

        opencv.require()  # in one message, before any option is looked at
        import_modules(modules)  # before any file is read, which may name their classes
    if name in TOOLS:
        with _terminable():
            return _run_tool(name, TOOLS[name], rest)
    if name in TRAINER:
        with _terminable():  # fit handles signals itself, since it finishes its step
            _run_trainer([name, *rest], modules)
        return 0
    raise ConfigError(f"there is no command {name!r}.{nearest(name, [*TRAINER, *TOOLS])} See resgat --help.")


def _overview() -> str:
    lines = [
        "usage: resgat COMMAND [options]      (resgat COMMAND --help explains one)",
        "",
        "Detect deepfakes with graph attention over face regions, and see why.",
        "",
        *(f"  {name:<20} {text}" for name, (text, _) in TRAINER.items()),
        *(f"  {name:<20} {tool.about}" for name, tool in TOOLS.items()),
        "",
        "Every command takes --import MODULE: classes of your own that checkpoints and manifests name.",
        "",
        "Try it:  resgat synth datasets/tiny --videos 24",
        "         resgat fit --config configs/smoke.yaml --data.root datasets/tiny --crops datasets/tiny_crops",
        "Train:   export DFDC_ROOT=/path/to/dfdc",
        "         resgat fit --config configs/dfdc_gatv1.yaml",
    ]
    return "\n".join(lines)


def _run_tool(name: str, tool: Tool, given: list[str]) -> int:
    from argparse import ArgumentError
    from inspect import signature

    from jsonargparse import auto_cli

    from resgat_pl.cli.mistakes import explain_mistake
    from resgat_pl.cli.part_names import failure_in, named_parts

    function: Callable[..., Any] = getattr(import_module(tool.module), tool.function)
    switches = {key for key, entry in signature(function).parameters.items() if entry.annotation in {bool, "bool"}}
    words, notes = arrange_tool(name, given, tool.places, switches)
    for note in notes:
        print(f"resgat {name}: {note} This spelling goes on working.", file=sys.stderr)
    if {"-h", "--help"} & set(words):
        print(f"example: {tool.example}\n\n{IMPORT}\n")
    read_old_names("yaml")
    with named_parts():
        try:
            result = auto_cli(function, args=words, as_positional=False, prog=f"resgat {name}", exit_on_error=False)
        except (ArgumentError, ValueError) as error:
            if failure := failure_in(error):
                raise failure from None
            if isinstance(error, ValueError):
                raise
            known = [*signature(function).parameters, "config"]
            mistake = explain_mistake(str(error), known, words, name)
            raise ConfigError(f"{mistake} (resgat {name} --help lists all options)") from None
    if result is not None:
        print(printable(str(result)))
    return 0


def _run_trainer(argv: list[str], modules: list[str]) -> None:
    if not os.environ.get(SWEEP):  # a sweep's agent reads the numbers of its runs
        os.environ.setdefault("WANDB_MODE", "offline")  # nothing leaves the machine unless asked for
    from resgat_pl.cli.train import run

    if {"-h", "--help"} & set(argv):
        short = "\n".join(f"  {f'--{name} FOLDER':<22}Short for --{full}." for name, full in SHORT.items())
        print(f"example: {TRAINER[argv[0]][1]}\n\n{IMPORT}\n{short}\n")
    read_old_names("omegaconf+")
    run(arrange_trainer(argv).words, modules)
