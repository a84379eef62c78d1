"""``--export_frames``: the whole frames that speak most for the verdict, with their number and time stamp."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from resgat_pl.core.errors import MediaError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.output_tables import csv_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.custody.record import hash_file
from resgat_pl.explain.report.decoding import read_frames
from resgat_pl.explain.report.document import Document, FaceFrame, FaceTrack
from resgat_pl.explain.report.media_search import Medium

FOLDER: Final = "frames"
TABLE: Final = "frames.csv"
COLUMNS: Final = (
    *("face", "rank", "frame", "time", "logit", "probability", "x0", "y0", "x1", "y1", "kind", "png", "sha256"),
)


class Telling(NamedTuple):
    """One frame to export.

    Attributes:
        track: The face.
        rank: From 1, the frame that speaks most for the face's verdict first.
        frame: The frame.
    """

    track: FaceTrack
    rank: int
    frame: FaceFrame

    @property
    def png(self) -> str:
        """Name of the file: frames of several faces are one file."""
        when = "" if self.frame.time is None else f"_{self.frame.time:.3f}s"
        return f"frame{self.frame.index:06d}{when}.png"


def telling_frames(document: Document, count: int) -> list[Telling]:
    """The frames of each face that speak most for its verdict, by their logits; ``count`` of each face at most."""
    chosen = []
    for track in document.tracks:
        sign = 1 if track.score > document.decision.threshold else -1
        ordered = sorted(track.frames, key=lambda frame: -sign * frame.logit)
        chosen += [Telling(track, rank, frame) for rank, frame in enumerate(ordered[:count], 1)]
    return chosen


def export_frames(document: Document, medium: Medium, count: int, folder: Path, timeout: float) -> None:
    """Write the frames, upright and without loss or anything drawn in, and ``frames.csv``.

    The file is decoded again in a separate process, since only the faces were stored.

    Args:
        document: The results.
        medium: The file.
        count: Frames of each face at most.
        folder: Made if need be.
        timeout: Seconds that decoding may take.

    Raises:
        MediaError: The file cannot be read any more.
    """
    chosen = telling_frames(document, count)
    if not chosen:
        return
    folder.mkdir(parents=True, exist_ok=True)
    names = {telling.frame.index: telling.png for telling in chosen}
    process: IsolatedProcess[tuple[Medium, list[int]], tuple[int, bytes]] = IsolatedProcess(read_frames)
    try:
        for number, png in process.run((medium, sorted(names)), timeout):
            write_atomic(folder / names[number], png)
    except (ProcessDiedError, ProcessTimeoutError) as error:
        raise MediaError(f"{medium.path}: {error}") from None
    finally:
        process.close()
    write_atomic(folder / TABLE, csv_table(COLUMNS, (_row(telling, folder) for telling in chosen)).encode())


def _row(telling: Telling, folder: Path) -> list[str]:
    frame, record = telling.frame, hash_file(folder / telling.png)
    if record is None:
        raise MediaError(f"Frame {frame.index} was decoded once, and cannot be decoded again.")
    time = "" if frame.time is None else f"{frame.time:.4f}"
    numbers = (telling.track.number, telling.rank, frame.index, time, frame.logit, frame.probability, *frame.box)
    return [*map(str, numbers), frame.kind, telling.png, record.sha256]
