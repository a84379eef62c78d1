"""The chain of custody in a document: made when a file was judged, closed when its outputs are written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from resgat_pl.explain.custody.record import (
    SUMS,
    Custody,
    FileHash,
    StepLog,
    command_of,
    hash_crops,
    hash_file,
    hash_outputs,
    hash_values,
    machine,
    now,
    write_sums,
)
from resgat_pl.explain.custody.signing import SIGNATURE
from resgat_pl.explain.report.document import Document
from resgat_pl.explain.report.media import FoundFaces

REPORT: Final = "report.json"
APART: Final = frozenset({REPORT, SIGNATURE, SUMS})
"""Files that ``Custody.outputs`` cannot hold: the record itself, and what is made of it."""


def custody_of(
    document: Document,
    found: FoundFaces,
    intake: FileHash | None,
    settings: Mapping[str, Any],
    batch_size: int,
    log: StepLog,
) -> Document:
    """A document with its chain of custody, as yet without outputs.

    Args:
        document: The results.
        found: The faces that they are of.
        intake: The input's hash; None where it could not be read, and so nothing could be judged.
        settings: All that changes the results, as plain values.
        batch_size: Faces at once, on which the last bits of the scores depend.
        log: The steps so far.
    """
    if intake is None:
        return document
    beside = "" if document.original is None else f" --original {shlex.quote(document.original.original.name)}"
    configuration: dict[str, Any] = json.loads(json.dumps({**settings, "batch_size": batch_size}))
    record = Custody(
        input=intake,
        configuration=configuration,
        configuration_sha256=hash_values(configuration),
        command=command_of(document.file, document.checkpoint.name, configuration) + beside,
        machine=machine(),
        crops_sha256=hash_crops(shot.image for track in found.tracks for shot in track),
        began=log.began,
        ended=now(),
        steps=list(log.steps),
    )
    return replace(document, custody=record)


def finish_custody(document: Document, folder: Path) -> Document:
    """The document with the hashes of all files in its folder.

    Call it when everything but ``report.json`` is written.
    """
    record = document.custody
    if record is None:
        return document
    log = StepLog()
    with log.step("hash the outputs") as say:
        outputs = hash_outputs(folder, APART)
        say(f"{len(outputs)} files")
    return replace(document, custody=replace(record, outputs=outputs, steps=[*record.steps, *log.steps], ended=now()))


def list_sums(folder: Path, document: Document) -> None:
    """Write ``SHA256SUMS`` of a folder whose ``report.json`` is there."""
    report = hash_file(folder / REPORT)
    if document.custody is not None and report is not None:
        write_sums(folder, [*document.custody.outputs, report])
