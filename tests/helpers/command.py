"""Running the command in tests, and reading what it left behind."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONF = Path(__file__).parents[1] / "conf"
TINY = CONF / "tiny.yaml"


def resgat(*arguments: object, expect: int = 0) -> str:
    """Run ``resgat`` as a user does; return what it printed on both streams."""
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    environment.pop("WANDB_SERVICE", None)  # of this process, which would write the log when it likes
    command = [sys.executable, "-m", "resgat_pl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def metrics(run: Path) -> dict[str, float]:
    """Last value of each metric in ``metrics.csv``."""
    values = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            values.update({name: float(value) for name, value in row.items() if value})
    return values


def wandb_records(run: Path) -> Iterator[Any]:
    """Records of the offline W&B run below ``run``, as wandb's own protobuf messages.

    wandb ships no reader for its file any more, but the messages; the frame around them is LevelDB's log format:
    after 7 bytes of header, blocks of 32 KiB of (checksum, length, type) and data, type 2-4 for split records.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = run.rglob("*.wandb")
    data = path.read_bytes()
    position, parts = 7, b""
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {1, 4}:
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def wandb_history(run: Path) -> list[dict[str, Any]]:
    """Everything logged to the offline W&B run, step by step."""
    steps = []
    for record in wandb_records(run):
        if record.WhichOneof("record_type") != "history":
            continue
        step: dict[str, Any] = {}
        for item in record.history.item:
            *parents, last = item.nested_key or [item.key]
            values = step
            for parent in parents:
                values = values.setdefault(parent, {})
            values[last] = json.loads(item.value_json)
        steps.append(step)
    return steps
