"""``resgat explain``: judge a user's own images and videos, and show why."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from resgat_pl.explain.custody.claims import Claims, read_credentials
from resgat_pl.explain.custody.record import FileHash, StepLog, hash_file
from resgat_pl.explain.custody.signing import SIGNATURE, read_private_key, sign_file
from resgat_pl.explain.report.console import lines_of
from resgat_pl.explain.report.custody import custody_of, finish_custody, list_sums
from resgat_pl.explain.report.dashboard import publish_reports
from resgat_pl.explain.report.document import SCHEMA, Document, to_json
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.genuine import genuine_faces
from resgat_pl.explain.report.html import write_html
from resgat_pl.explain.report.media import FaceFinder, cutting_of, safe_names
from resgat_pl.explain.report.media_search import Medium, Search, describe, search_media
from resgat_pl.explain.report.original_case import CaseOriginal, original_of
from resgat_pl.explain.report.pictures import write_overlays, write_sheet
from resgat_pl.explain.report.run_methods import choose_methods, default_methods, require_explainable
from resgat_pl.explain.report.scores_csv import (
    LEFT_OUT,
    SCORES,
    Row,
    ScoreTable,
    bin_of,
    read_rows,
    sort_table,
    write_left_out,
)
from resgat_pl.explain.report.strength import BOUND
from resgat_pl.explain.report.telling_frames import FOLDER as FRAMES, export_frames
from resgat_pl.explain.report.verdict import Judgement
from resgat_pl.nn.video.faces import Join

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LISTED: Final = 10
"""Files listed one by one; the rest is in scores.csv."""


def explain(
    media: list[str],
    ckpt_path: Path,
    out: Path = Path("explained"),
    methods: str | None = None,
    frames: FrameCount = 32,
    every: int | None = None,
    faces: int = 4,
    html: bool = True,
    overlays: bool = False,
    detector: FaceDetector | None = None,
    batch_size: int = 32,
    seed: int = 0,
    video_timeout: float = 600.0,
    wandb: bool = False,
    evidence: bool = False,
    reference: Path | None = None,
    join: Join = "maximum",
    inconclusive: float = BOUND,
    sign: Path | None = None,
    original: Path | None = None,
    export_frames: int = 0,
) -> str:
    """Judge your own images and videos, and show what the verdict rests on.

    Faces are found, followed through a video as people (whatever is cut or moves), and cut out as the checkpoint's
    training crops were. A video's score is the mean over a face's frames and the maximum over its faces (or --join).
    Everybody found in two frames is judged, up to --faces; whoever else was seen, what makes a face harder to judge,
    and what the detector was trained on is said on the console, in the table and in the report. For every file there
    is a folder with report.html, report.json (documented in resgat_pl.explain.report.document) and faces.png;
    scores.csv has one row a file, sorted for triage when all are judged. Files in folders that are no media are
    counted, and listed in not_looked_at.csv with the reason. Every file is hashed before it is decoded (SHA-256), and
    so is every output; resgat verify checks them, and the scores. The same command continues an interrupted run; files
    that failed are tried again. One command at a time writes to a folder.
    Exit status: 0 done, 1 some files could not be read, 2 nothing could be judged.

    Args:
        media: Images, videos, or folders of them, as many as you like.
        ckpt_path: Checkpoint of ``resgat fit``.
        out: Folder for the results: new, empty, or that of the run to continue.
        methods: Explainers separated by commas: class names of resgat_pl.explain, entry points of installed packages,
            or class paths; the first is shown first. Null takes Contribution, Attention and NodeEvidence of a ResGAT,
            PredictedMask, Routing, KeptEdges, FineContribution and CoarseContribution of one that has such parts, and
            InputXGradient of a detector without a graph.
        frames: Frames to take of each video, spread evenly, or "all".
        every: Take every k-th frame instead (``frames`` is then an upper bound unless it is "all").
        faces: Faces to judge in each file at most, the largest.
        html: Write reports; false (or --no-html) writes scores.csv only, for judging many files fast.
        overlays: Also write each map over each face as a separate PNG.
        detector: Face detector; null means that of the training crops.
        batch_size: Faces that go through the network at once.
        seed: Of the intervals.
        video_timeout: Seconds that decoding one file and finding its faces may take.
        wandb: Also log the table and the reports, with the faces in them, as a W&B run; offline unless WANDB_MODE says
            otherwise.
        evidence: Also write an evidence sheet of each face (evidence_face1.png, and in the report): every named region
            enlarged, its high-pass residual, noise and spectrum, beside the region that says least.
        reference: Folder of crops that ``resgat extract`` made; the sheet then says how usual its values are among
            genuine faces there, up to 200.
        join: From the faces of a file to its score: maximum, the most suspicious face, as in every metric; or
            noisy_or, by which the file is genuine only if all faces are, each with its exact share in the evidence.
        inconclusive: The verdict is inconclusive for a likelihood ratio between 1/this and this (of a checkpoint that
            resgat calibrate calibrated), and wherever the faces or the file are too poor or too unlike the pool; 0
            never says inconclusive, as in earlier versions.
        sign: Private key (ed25519, PEM) with which each report.json is signed, as report.json.sig beside it.
        original: The recording that one file was made from, frame for frame: the report then shows both, and which
            regions and nodes, put back from it, turn the verdict. (--reference is for genuine faces in general.)
        export_frames: Also write so many whole frames of each face, those that speak most for its verdict, without loss
            and with nothing drawn in, and frames.csv with their numbers and time stamps.
    """
    if not video_timeout > 0:
        raise ConfigError(f"--video_timeout is {video_timeout:g} seconds, must be more than 0; inf for no limit")
    for name, value in (("frames", frames), ("every", every), ("faces", faces), ("batch_size", batch_size)):
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"--{name} is {value}; it must be at least 1.")
    if not (inconclusive == 0 or 1 <= inconclusive < math.inf):
        raise ConfigError(f"--inconclusive is {inconclusive:g}; it must be a ratio of 1 or more, or 0 for never.")
    if export_frames < 0 or (export_frames and not html):
        raise ConfigError(
            f"--export_frames is {export_frames}: it must be 0 or more, and is for reports (--html true)."
        )
    require_folder(out, "--out")
    chosen = None if methods is None else choose_methods(methods)
    found = search_media(media)
    weights = Detector.load(ckpt_path)
    chosen = choose_methods(default_methods(weights.net)) if chosen is None else chosen
    require_explainable(weights.net, chosen)
    cutting, assumed = cutting_of(weights.provenance)
    if detector is not None:
        cutting, assumed = replace(cutting, detector=detector), []
    cutting = replace(cutting, frames=frames, every=every)
    if reference is not None and not evidence:
        raise ConfigError("--reference is for the evidence sheet: give --evidence true as well.")
    if evidence and not html:
        raise ConfigError("--evidence is for reports, and --html is false: leave one of them out.")
    if sign is not None and not html:
        raise ConfigError("--sign is for reports, and --html is false: leave one of them out.")
    key = None if sign is None else read_private_key(sign)
    before = None if original is None else original_of(original, found.media, weights.net, html)
    genuine = None if reference is None else genuine_faces(reference, weights.net.image_size)
    examiner = Examiner(weights, cutting, assumed, chosen, batch_size, seed, evidence, genuine, join, inconclusive)
    examiner.weigher.check()
    finder = FaceFinder(cutting, faces, video_timeout)
    try:
        with reporting_full_disk(out), folder_lock(out):
            return _Run(examiner, cutting, faces, finder, out, html, overlays, wandb, key, before, export_frames).run(
                found
            )
    finally:
        finder.close()


@dataclass
class _Run:
    """A run over many files."""

    examiner: Examiner
    extraction: Extraction
    faces: int
    finder: FaceFinder
    out: Path
    html: bool
    overlays: bool
    wandb: bool = False
    key: Ed25519PrivateKey | None = None
    original: CaseOriginal | None = None
    export_frames: int = 0

    def run(self, search: Search) -> str:
        """Judge the files that an earlier run has not judged, and report on all."""
        media = search.media
        table = ScoreTable(self.out, self._settings())
        todo = [medium for medium in media if not table.is_done(medium.name, _size(medium))]
        for medium in todo:
            table.done.pop(medium.name, None)
        folders = safe_names([medium.name for medium in todo], [row["report"] for row in table.done.values()])
        rows: list[Row] = []
        bar = tqdm(total=len(media), initial=len(media) - len(todo), unit="file", desc="explain", smoothing=0.05)
        with table, bar:
            for medium, folder in zip(todo, folders, strict=True):
                rows.append(self._row(medium, self.out / folder, alone=len(media) == 1))
                table.add(rows[-1])
                bar.update()
        sort_table(self.out)
        write_left_out(self.out, search.left_out)
        if self.wandb:  # before what failed ends in an error
            publish_reports(self.out, read_rows(self.out / SCORES))
        return self._report(rows, [table.done[m.name]["status"] for m in media if m.name in table.done], search)

    def _settings(self) -> dict[str, object]:
        """Settings that a run must share with the one it continues, named like the options."""
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
            # None, not false: earlier versions' folders have neither.
            "evidence": examiner.evidence or None,
            "reference": None if examiner.reference is None else examiner.reference.identity,
            "export_frames": self.export_frames or None,
            "original": None if self.original is None else self.original.record.sha256,
            "join": None if examiner.join == "maximum" else examiner.join,
            "inconclusive": examiner.bound,
            "pool": examiner.weigher.pool_sha256,
        }

    def _row(self, medium: Medium, folder: Path, alone: bool) -> Row:
        """Judge a file and write its report into a folder; of several files a failed one becomes a row too."""
        started, intake = time.perf_counter(), None
        try:
            log = StepLog()
            with log.step("hash the input") as say:
                intake = hash_file(medium.path)
                say("cannot be read" if intake is None else f"SHA-256 {intake.sha256}")
            row = self._judge(medium, folder, started, intake, log)
        except (ResGATError, OSError) as error:
            if self.original is not None:  # there is one file, and the mistake is the option's
                raise
            if isinstance(error, OSError) and is_disk_full(error):
                raise storage_error(error, folder) from None
            row = Row(medium.name, "failed", error=" ".join(str(error).split()))
        except Exception as error:
            if alone:
                raise
            # One file must not keep thousands from being judged, again and again whenever the run is continued.
            tqdm.write(printable(traceback.format_exc()), file=sys.stderr)
            row = Row(medium.name, "failed", error=" ".join(f"{type(error).__name__}: {error}".split()))
        return replace(
            row,
            bin=bin_of(row),
            seconds=round(time.perf_counter() - started, 3),
            bytes=_size(medium),
            trained_on=self.examiner.trained_on.statement,
            sha256="" if intake is None else intake.sha256,
        )

    def _judge(self, medium: Medium, folder: Path, started: float, intake: FileHash | None, log: StepLog) -> Row:
        with log.step("find faces") as say:
            found = self.finder.find(medium)
            count = len(found.tracks)
            say(f"{count} face{'s' * (count != 1)} to judge in {found.sampled} of {found.total} frames")
        judged: Judgement | Document
        if self.html:
            case = self.original
            beside = None if case is None else case.put_beside(medium, found, self.finder, log)
            with log.step("judge and explain") as say:
                judged = self.examiner.document(medium, found, started)
                say(f"verdict {judged.verdict}")
            if case is not None and beside is not None:
                judged = case.compared(judged, found, beside, self.examiner, log)
            with log.step("read metadata and credentials") as say:
                claims = Claims(found.metadata, read_credentials(medium.path))
                say(f"C2PA: {claims.credentials.state}")
            judged, notes = replace(judged, claims=claims), judged.notes
            _require_unchanged(medium, intake)
            judged = custody_of(judged, found, intake, self._settings(), self.examiner.batch_size, log)
            self._write(judged, medium, folder)
        else:
            judged = self.examiner.score(medium, found)
            _require_unchanged(medium, intake)
            notes = self.examiner.notes(medium, found, judged)
        row = Row(
            file=medium.name,
            status="no face",
            faces=len(found.tracks),
            frames=found.sampled,
            report=folder.name if self.html else "",
            faces_found=len(found.tracks) + len(found.unjudged),
            notes=" | ".join(notes),
        )
        if judged.probability is None:
            return row
        low, high = judged.interval or (None, None)
        return replace(
            row,
            status="scored",
            verdict=judged.verdict,
            probability=judged.probability,
            low=low,
            high=high,
            threshold=judged.decision.limit,
            calibrated=self.examiner.calibrated(medium),
            score=judged.decision.score,
            leaning=judged.decision.leaning or "",
            log10_lr=judged.strength.likelihood.log10_lr if judged.strength and judged.strength.likelihood else None,
            reasons=" | ".join(judged.decision.reasons),
        )

    def _write(self, document: Document, medium: Medium, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / SIGNATURE).unlink(missing_ok=True)  # of an earlier report here
        if document.tracks:
            write_sheet(document, folder / "faces.png")
        for face in document.original.faces if document.original is not None else ():
            write_atomic(folder / f"original_face{face.face}.png", face.png)
        for track in document.tracks:
            if track.evidence_png:
                write_atomic(folder / f"evidence_face{track.number}.png", track.evidence_png)
        if self.overlays:
            write_overlays(document, folder / "overlays")
        if self.export_frames:
            export_frames(document, medium, self.export_frames, folder / FRAMES, self.finder.timeout)
        write_html(document, folder / "report.html")
        report, document = folder / "report.json", finish_custody(document, folder)
        write_atomic(report, to_json(document).encode())  # last: it says that the rest is there
        list_sums(folder, document)
        if self.key is not None:
            sign_file(report, self.key)

    def _report(self, rows: Sequence[Row], earlier: Sequence[str], search: Search) -> str:
        """Report the new rows and count all files; ``earlier`` are the statuses of those judged before.

        Raises:
            MediaError: Not one file could be judged.
            SomeMediaError: Some could not be read.
        """
        # The files one by one, and their number by status.
        chosen = self.examiner.detector.thresholds is not None
        lines = [line for row in rows[:_LISTED] for line in lines_of(row, self.out, chosen, self.examiner.assumed)]
        if len(rows) > _LISTED:
            lines.append(f"… and {len(rows) - _LISTED} more")
        statuses = [*earlier, *(row.status for row in rows)]
        scored = statuses.count("scored")
        counts = {
            "without a face": statuses.count("no face"),
            "could not be read": statuses.count("failed"),
            "of them earlier": len(earlier),
        }
        total = f"{scored} of {len(statuses)} files judged"
        total += "".join(f", {count} {what}" for what, count in counts.items() if count)
        if search.left_out:
            total += f", {describe(search.left_out)} (all in {self.out / LEFT_OUT})"
        # Files that failed or were out of reach end in an error, after the report on the others.
        table = self.out / SCORES
        failed = [row.error for row in rows if row.status == "failed"]
        if not scored:
            cause = (
                failed[0] if failed else "no face was found; are they upright, and an eighth of the picture or larger?"
            )
            raise MediaError(f"Nothing could be judged ({total}): {cause} See {table}.")
        lines += [*self.examiner.assumed, self.examiner.trained_on.statement, f"{total}. Table: {table}"]
        lost = [entry for entry in search.left_out if entry.is_lost]
        if failed or lost:
            tqdm.write(printable("\n".join(lines)))
        if failed:
            raise SomeMediaError(
                f"{len(failed)} of {len(statuses)} files could not be read, first: {failed[0]}. See the column error "
                f"of {table}; the same command tries them again."
            )
        if lost:
            more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise SomeMediaError(f"{lost[0].name} {lost[0].reason}: what is in it was not looked at{more}.")
        return "\n".join(lines)


def _require_unchanged(medium: Medium, intake: FileHash | None) -> None:
    if hash_file(medium.path) != intake:
        raise MediaError(f"{medium.path} changed while it was judged. Judge a copy that nothing writes to.")


def _size(medium: Medium) -> int:
    try:
        return medium.path.stat().st_size
    except OSError:
        return -1
