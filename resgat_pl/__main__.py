"""``python -m resgat_pl`` and the ``resgat`` command."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line and exit with its status."""
    from resgat_pl.cli.main import main

    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
