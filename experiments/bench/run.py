"""All of the benchmark, one file after the other, each in a process of its own; the whole table in runs/bench/.

Nothing else should run on the machine meanwhile. A part that fails leaves its rows out and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import HEADER, Row, machine

PARTS = (
    "startup",
    "extraction",
    "loading",
    "self_blends",
    "stores",
    "manifest",
    "training",
    "encoders",
    "inference",
    "clips",
    "explaining",
    "restoration",
    "reports",
    "gpu",
)
HERE = Path(__file__).parent


def main() -> int:
    """Run the parts and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for bench.md and bench.json")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Row]] = {}
    failed = []
    for part in arguments.parts or PARTS:
        print(f"── {part}", flush=True)
        file = arguments.out / f"{part}.json"
        file.unlink(missing_ok=True)
        started = time.monotonic()
        command = [sys.executable, HERE / f"{part}.py", "--json", file]
        status = subprocess.run(command, check=False).returncode  # noqa: S603 - this folder's own files
        print(f"   {time.monotonic() - started:.0f} s\n", flush=True)
        if status or not file.is_file():
            failed.append(part)
            continue
        found[part] = [Row(**row) for row in json.loads(file.read_text())]
    table = _table(found)
    (arguments.out / "bench.md").write_text(table)
    (arguments.out / "bench.json").write_text(json.dumps({"machine": machine(), "load": os.getloadavg()}, indent=1))
    print(table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _table(found: dict[str, list[Row]]) -> str:
    about = machine()
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    rows = [row for part in found.values() for row in part]
    with_target = [row for row in rows if row.reached is not None]
    lines = [
        f"{about['cores']} cores, {about['processor']}; {about['system']}, Python {about['python']}; {versions}",
        f"{sum(bool(row.reached) for row in with_target)} of {len(with_target)} targets reached",
        f"{HEADER}\n" + "\n".join(row.markdown() for row in rows),
    ]
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
