"""How long commands take to say what they do, against Python doing nothing; and that they do so without torch."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from measure import Row, interleave, report

ROOT = Path(__file__).parents[2]
COMMANDS = (("--help", 1.0), ("extract --help", None), ("check --help", None), ("synth --help", None))
"""Arguments of ``resgat``, and the target in seconds."""


def run(code: str) -> str:
    """Run Python code in a new process with this source tree; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)  # noqa: S603 - our own code
    return done.stdout.decode()


def command(arguments: str) -> str:
    """Code that runs ``resgat`` and then prints which heavy packages were imported."""
    return (
        "import sys\nfrom resgat_pl.cli.main import main\n"
        f"try: main({arguments.split()!r})\nexcept SystemExit: pass\n"
        "print(*sorted({'torch', 'lightning', 'torch_geometric'} & set(sys.modules)))"
    )


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    codes = [command(text) for text, _ in COMMANDS]
    nothing, *times = interleave(*(partial(run, code) for code in ("pass", *codes)), rounds=arguments.rounds)
    for (text, target), code, seconds in zip(COMMANDS, codes, times, strict=True):
        imported = run(code).splitlines()[-1]
        low, high, median = min(seconds), max(seconds), statistics.median(seconds)
        ratio = median / statistics.median(nothing)
        detail = f"{ratio:.0f} × python -c pass; imports {imported or 'no torch'}"
        yield Row(f"resgat {text}", "absolute", median, "≤", target, "s", low, high, detail)
        yield Row(f"resgat {text}: imports of torch and what needs it", "none", len(imported.split()), "≤", 0, "")


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
