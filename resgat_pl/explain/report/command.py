"""``resgat explain``: judge a user's own images and videos, and show why."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tqdm import tqdm

from resgat_pl.core.disk_full import is_disk_full, reporting_full_disk, storage_error
from resgat_pl.core.errors import ConfigError, MediaError, ResGATError, SomeMediaError
from resgat_pl.core.folder_lock import folder_lock
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.text import printable
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import FaceDetector
from resgat_pl.data.media.frames import FrameCount
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.report.document import SCHEMA, Document, to_json
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.html import write_html
from resgat_pl.explain.report.limits import faces_judged
from resgat_pl.explain.report.media import FaceFinder, cutting_of, safe_names
from resgat_pl.explain.report.media_search import Medium, Search, describe, search_media
from resgat_pl.explain.report.pictures import write_overlays, write_sheet
from resgat_pl.explain.report.run_methods import DEFAULT, choose_methods
from resgat_pl.explain.report.scores_csv import LEFT_OUT, SCORES, Row, ScoreTable, write_left_out
from resgat_pl.explain.report.verdict import Judgement, compared

_TOLD: Final = 10
"""Files that are told one by one; of more, the table says."""


def explain(
    media: list[str],
    ckpt_path: Path,
    out: Path = Path("explained"),
    methods: str = DEFAULT,
    frames: FrameCount = 32,
    every: int | None = None,
    faces: int = 4,
    html: bool = True,
    overlays: bool = False,
    detector: FaceDetector | None = None,
    batch_size: int = 32,
    seed: int = 0,
    video_timeout: float = 600.0,
) -> str:
    """Judge your own images and videos, and show what the verdict rests on.

    Faces are found, followed through a video as people (whatever is cut or moves), and cut out as the checkpoint's
    training crops were. A video's score is the mean over a face's frames and the maximum over its faces. Everybody
    found in two frames is judged, up to --faces; whoever else was seen, what makes a face harder to judge, and what
    the detector was trained on is said on the console, in the table and in the report. For every file there is a
    folder with report.html, report.json (documented in resgat_pl.explain.report.document) and faces.png; scores.csv
    has one row a file. Files in folders that are no media are counted, and listed in not_looked_at.csv with the reason.
    The same command continues an interrupted run; files that failed are tried again. One command at a time writes to a
    folder.
    Exit status: 0 done, 1 some files could not be read, 2 nothing could be judged.

    Args:
        media: Images, videos, or folders of them, as many as you like.
        ckpt_path: Checkpoint of ``resgat fit``.
        out: Folder for the results: new, empty, or that of the run to continue.
        methods: Explainers, class names of resgat_pl.explain separated by commas; the first is shown first.
        frames: Frames to take of each video, spread evenly, or "all".
        every: Take every k-th frame instead (``frames`` is then an upper bound unless it is "all").
        faces: Faces to judge in each file at most, the largest.
        html: Write reports; false (or --no-html) writes scores.csv only, for judging many files fast.
        overlays: Also write each map over each face as a PNG of its own.
        detector: Face detector; null means that of the training crops.
        batch_size: Faces that go through the network at once.
        seed: Of the intervals.
        video_timeout: Seconds that decoding one file and finding its faces may take.
    """
    if not video_timeout > 0:
        raise ConfigError(f"--video_timeout is {video_timeout:g} seconds, must be more than 0; inf for no limit")
    for name, value in (("frames", frames), ("every", every), ("faces", faces), ("batch_size", batch_size)):
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"--{name} is {value}; it must be at least 1.")
    require_folder(out, "--out")
    chosen = choose_methods(methods)
    found = search_media(media)
    weights = Detector.load(ckpt_path)
    cutting, assumed = cutting_of(weights.provenance)
    if detector is not None:
        cutting, assumed = replace(cutting, detector=detector), []
    cutting = replace(cutting, frames=frames, every=every)
    examiner = Examiner(weights, cutting, assumed, chosen, batch_size, seed)
    finder = FaceFinder(cutting, faces, video_timeout)
    try:
        with reporting_full_disk(out), folder_lock(out):
            return _Work(examiner, cutting, faces, finder, out, html, overlays).run(found)
    finally:
        finder.close()


@dataclass
class _Work:
    """A run over many files."""

    examiner: Examiner
    extraction: Extraction
    faces: int
    finder: FaceFinder
    out: Path
    html: bool
    overlays: bool

    def run(self, search: Search) -> str:
        media = search.media
        summary = ScoreTable(self.out, self._settings())
        todo = [medium for medium in media if not summary.is_done(medium.name, _size(medium))]
        summary.forget([medium.name for medium in todo])
        taken = [row["report"] for row in summary.done.values()]
        folders = dict(zip([m.name for m in todo], safe_names([m.name for m in todo], taken), strict=True))
        rows: list[Row] = []
        with (
            summary,
            tqdm(total=len(media), initial=len(media) - len(todo), unit="file", desc="explain", smoothing=0.05) as bar,
        ):
            for medium in todo:
                row = self._one(medium, self.out / folders[medium.name], alone=len(media) == 1)
                rows.append(row)
                summary.add(row)
                bar.update()
        write_left_out(self.out, search.left_out)
        return self._tell(rows, [summary.done[m.name]["status"] for m in media if m.name in summary.done], search)

    def _settings(self) -> dict[str, object]:
        """What a run must have in common with the one it continues; names are those of the options."""
        examiner, spec = self.examiner, self.extraction.spec
        return {
            "schema": SCHEMA,
            "checkpoint": examiner.checkpoint.fingerprint,
            "methods": [method.__name__ for method in examiner.methods] if self.html else None,
            "frames": spec.pop("frames"),
            "every": spec.pop("every"),
            "faces": self.faces,
            "html": self.html,
            "overlays": self.overlays,
            "detector": spec,
            "seed": examiner.seed,
        }

    def _one(self, medium: Medium, folder: Path, alone: bool) -> Row:
        started = time.perf_counter()
        try:
            return self._judge(medium, folder, started)
        except (ResGATError, OSError) as error:
            if isinstance(error, OSError) and is_disk_full(error):
                raise storage_error(error, folder) from None
            reason = str(error)
        except Exception as error:
            if alone:
                raise
            # One file must not keep thousands from being judged, again and again whenever the run is continued.
            tqdm.write(printable(traceback.format_exc()), file=sys.stderr)
            reason = f"{type(error).__name__}: {error}"
        taken = round(time.perf_counter() - started, 3)
        return Row(
            medium.name,
            "failed",
            seconds=taken,
            bytes=_size(medium),
            error=" ".join(reason.split()),
            trained_on=self.examiner.trained_on.statement,
        )

    def _judge(self, medium: Medium, folder: Path, started: float) -> Row:
        found = self.finder.find(medium)
        judged: Judgement | Document
        if self.html:
            judged = self.examiner.document(medium, found, started)
            notes = judged.notes
            folder.mkdir(exist_ok=True)
            if judged.tracks:
                write_sheet(judged, folder / "faces.png")
            if self.overlays:
                write_overlays(judged, folder / "overlays")
            write_html(judged, folder / "report.html")
            write_atomic(folder / "report.json", to_json(judged).encode())  # last: it says that the rest is there
        else:
            judged = self.examiner.score(medium, found)
            notes = self.examiner.notes(medium, found, judged)
        low, high = judged.interval or (None, None)
        return Row(
            file=medium.name,
            status="no face" if judged.verdict == "no face" else "scored",
            verdict="" if judged.verdict == "no face" else judged.verdict,
            probability=judged.probability,
            low=low,
            high=high,
            threshold=judged.decision.limit if judged.probability is not None else None,
            calibrated="" if judged.probability is None else self.examiner.calibrated(medium),
            score=judged.decision.score,
            faces=len(found.tracks),
            frames=found.sampled,
            seconds=round(time.perf_counter() - started, 3),
            bytes=_size(medium),
            report=folder.name if self.html else "",
            error="",
            faces_found=len(found.tracks) + len(found.unjudged),
            notes=" | ".join(notes),
            trained_on=self.examiner.trained_on.statement,
        )

    def _tell(self, rows: Sequence[Row], earlier: Sequence[str], search: Search) -> str:
        """Say what came of it.

        Raises:
            MediaError: Not one file could be judged.
            SomeMediaError: Some could not be read.
        """
        chosen = self.examiner.detector.thresholds is not None
        lines = [line for row in rows[:_TOLD] for line in _lines(row, self.out, chosen, self.examiner.assumed)]
        if len(rows) > _TOLD:
            lines.append(f"… and {len(rows) - _TOLD} more")
        statuses = [*earlier, *(row.status for row in rows)]
        counts = {status: statuses.count(status) for status in ("scored", "no face", "failed")}
        total = f"{counts['scored']} of {len(statuses)} files judged"
        total += f", {counts['no face']} without a face" if counts["no face"] else ""
        total += f", {counts['failed']} could not be read" if counts["failed"] else ""
        total += f", {len(earlier)} of them earlier" if earlier else ""
        if search.left_out:
            total += f", {describe(search.left_out)} (all in {self.out / LEFT_OUT})"
        table = self.out / SCORES
        failed = [row.error for row in rows if row.status == "failed"]
        if not counts["scored"]:
            cause = (
                failed[0] if failed else "no face was found; are they upright, and an eighth of the picture or larger?"
            )
            raise MediaError(f"Nothing could be judged ({total}): {cause} See {table}.")
        lines += [*self.examiner.assumed, self.examiner.trained_on.statement, f"{total}. Table: {table}"]
        if failed:
            tqdm.write(printable("\n".join(lines)))
            raise SomeMediaError(
                f"{len(failed)} of {len(statuses)} files could not be read, first: {failed[0]}. See the column error "
                f"of {table}; the same command tries them again."
            )
        if lost := [entry for entry in search.left_out if entry.is_lost]:
            tqdm.write(printable("\n".join(lines)))
            more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise SomeMediaError(f"{lost[0].name} {lost[0].reason}: what is in it was not looked at{more}.")
        return "\n".join(lines)


def _lines(row: Row, out: Path, chosen: bool, assumed: Sequence[str]) -> list[str]:
    """What is said of one file; ``assumed`` is said once for all."""
    if row.status == "failed":
        return [f"{row.file}: failed: {row.error}"]
    where = f"  → {out / row.report / 'report.html'}" if row.report else ""
    notes = [f"  {note}" for note in row.notes.split(" | ") if note and note not in assumed]
    if row.probability is None or row.threshold is None:
        return [f"{row.file}: no face found in {row.frames} frame{'s' * (row.frames != 1)}{where}", *notes]
    interval = None if row.low is None or row.high is None else (row.low, row.high)
    said = compared(row.probability, row.threshold, row.verdict, interval, chosen, row.calibrated == "yes")
    return [f"{row.file}: {said}, {faces_judged(row.faces, row.faces_found)}{where}", *notes]


def _size(medium: Medium) -> int:
    try:
        return medium.path.stat().st_size
    except OSError:
        return -1
