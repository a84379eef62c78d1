"""The record of how a report came to be: files by SHA-256, the settings, the machine, and each step with its time."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from resgat_pl.core.storage import write_atomic

SUMS: Final = "SHA256SUMS"
"""Hashes of all files of a report's folder in the format of ``sha256sum -c``, ``report.json`` among them."""
_NO_OPTIONS: Final = frozenset({"schema", "checkpoint", "detector", "reference", "original", "html"})
"""Settings that are no words of the command line: hashes, and what the report has elsewhere."""


@dataclass(frozen=True)
class FileHash:
    """One file by its content.

    Attributes:
        name: Name without folders; of an output its path below the report's folder, with ``/``.
        bytes: Size.
        sha256: 64 hexadecimal digits.

    Example:
        >>> FileHash("video.mp4", 3, hashlib.sha256(b"abc").hexdigest()).sha256[:8]
        'ba7816bf'
    """

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Step:
    """One step of the work on a file.

    Attributes:
        name: The step.
        began: Time in UTC, ISO 8601 with milliseconds.
        seconds: Wall-clock time.
        result: The outcome in one sentence.

    Example:
        >>> Step("find faces", "2026-01-01T00:00:00.000+00:00", 1.5, "1 face in 24 frames").seconds
        1.5
    """

    name: str
    began: str
    seconds: float
    result: str


@dataclass(frozen=True)
class Custody:
    """The chain of custody of one report; the checkpoint's SHA-256 is ``Document.checkpoint.fingerprint``.

    Attributes:
        input: The file that was judged, hashed before it was decoded and again after it was judged.
        configuration: All settings that change the results, without paths.
        configuration_sha256: Of ``configuration`` as ``canonical`` writes it.
        command: The command line with every setting, folders left out; it gives these results again.
        machine: Processor, instructions, threads and accelerator; with ``Document.versions`` the conditions under which
            the numbers come out again bit for bit.
        crops_sha256: Of the faces as they were cut out, see ``hash_crops``; empty without a face.
        began: Time in UTC, ISO 8601.
        ended: Likewise; of the last output before ``report.json``.
        steps: In the order done.
        outputs: All files of the report's folder but ``report.json`` itself, which a signature covers.

    Example:
        >>> one, at = FileHash("a.mp4", 3, "0" * 64), "2026-01-01T00:00:00.000+00:00"
        >>> Custody(one, {}, hash_values({}), "resgat explain a.mp4", {}, "", at, at, []).outputs
        []
    """

    input: FileHash
    configuration: dict[str, Any]
    configuration_sha256: str
    command: str
    machine: dict[str, Any]
    crops_sha256: str
    began: str
    ended: str
    steps: list[Step]
    outputs: list[FileHash] = field(default_factory=list)


def hash_file(path: Path, name: str = "") -> FileHash | None:
    """Hash a file; None where it is no regular file or cannot be read, so that a pipe does not block.

    Args:
        path: The file.
        name: Name to record; by default that of the file.

    Example:
        >>> hash_file(Path("/nowhere/at/all")) is None
        True
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            size = file.tell()
    except OSError:
        return None
    return FileHash(name or _unicode(path.name), size, digest.hexdigest())


def hash_crops(crops: Iterable[NDArray[np.uint8]]) -> str:
    """SHA-256 over the shapes and pixels of faces ``(S, S, 3)`` uint8, in order; empty where there are none.

    Example:
        >>> hash_crops([np.zeros((2, 2, 3), np.uint8)])[:8]
        '93d26e15'
    """
    digest, empty = hashlib.sha256(), True
    for crop in crops:
        empty = False
        digest.update(repr(crop.shape).encode())
        digest.update(np.ascontiguousarray(crop).tobytes())
    return "" if empty else digest.hexdigest()


def canonical(values: Mapping[str, Any]) -> bytes:
    """Plain values as UTF-8 JSON with sorted keys and no spaces, so that equal settings have equal hashes.

    Example:
        >>> canonical({"b": 1, "a": None})
        b'{"a":null,"b":1}'
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def hash_values(values: Mapping[str, Any]) -> str:
    """SHA-256 of ``canonical``."""
    return hashlib.sha256(canonical(values)).hexdigest()


def machine() -> dict[str, Any]:
    """Conditions of the arithmetic: processor, vector instructions, threads and accelerator."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def command_of(file: str, checkpoint: str, configuration: Mapping[str, Any]) -> str:
    """The command line that stands for a configuration, folders left out.

    Example:
        >>> command_of("a b.mp4", "best.ckpt", {"frames": 8, "every": None, "methods": ["Attention"], "overlays": True})
        "resgat explain 'a b.mp4' --ckpt_path best.ckpt --frames 8 --methods Attention --overlays true"
    """
    words = ["resgat", "explain", file, "--ckpt_path", checkpoint]
    for name, value in configuration.items():
        if value is None or name in _NO_OPTIONS or isinstance(value, dict):
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [f"--{name}", text.lower() if isinstance(value, bool) else text]
    return shlex.join(words)


class StepLog:
    """The log of the steps of one file.

    Example:
        >>> log = StepLog()
        >>> with log.step("count") as say:
        ...     say("3 frames")
        >>> log.steps[0].name, log.steps[0].result
        ('count', '3 frames')
    """

    def __init__(self) -> None:
        self.began = now()
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time one step and record what the caller says of its outcome; a step that fails is not recorded."""
        began, started, said = now(), time.perf_counter(), [""]
        yield lambda text: said.__setitem__(0, text)
        self.steps.append(Step(name, began, round(time.perf_counter() - started, 3), said[0]))


def hash_outputs(folder: Path, but: frozenset[str]) -> list[FileHash]:
    """Hashes of all files below a folder, by name; those named in ``but`` are left out."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        record = None if name in but else hash_file(path, name)
        if record is not None:
            found.append(record)
    return found


def write_sums(folder: Path, outputs: Iterable[FileHash]) -> None:
    """Write ``SHA256SUMS`` of a report's folder, with which ``sha256sum -c`` checks it without this program."""
    lines = [f"{record.sha256}  {record.name}\n" for record in outputs]
    write_atomic(folder / SUMS, "".join(lines).encode("utf-8", "surrogateescape"))


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or os.uname().machine


def _unicode(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
