"""Whole commands on media: the report of a video with everything in it, and a thousand pictures for triage.

The network is ResNet-50 on 224 px (7×7 nodes, 9 heads × 512) with random weights, the media are drawn faces.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from checkpoints import save_untrained
from measure import Row, interleave, ratio_row, report
from numpy.typing import NDArray
from startup import run

from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.encode import write_video
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder
from resgat_pl.explain.report.media_search import search_media
from resgat_pl.nn.resgat import ResGAT

SECONDS, RATE = 10, 25  # frames a second of ``write_video``
WIDTH, HEIGHT = 640, 360
PICTURES, PEOPLE = 1000, 20


def drawn(frames: int, seed: int) -> NDArray[np.uint8]:
    """``(frames, 360, 640, 3)`` uint8 RGB: a drawn person in the middle of a grey picture."""
    person = draw_clip([np.random.default_rng(seed)], np.random.default_rng(seed), frames, HEIGHT)
    pictures = np.full((frames, HEIGHT, WIDTH, 3), 127, np.uint8)
    left = (WIDTH - HEIGHT) // 2
    pictures[:, :, left : left + HEIGHT] = np.stack(person.frames)
    return pictures


def prepare(folder: Path) -> None:
    """Write the video, its original, the pictures and the checkpoint."""
    clip = drawn(SECONDS * RATE, 0)
    write_video(folder / "original.mp4", clip)
    clip[:, 200:240, 290:350] = cv2.GaussianBlur(clip[0], (0, 0), 9)[200:240, 290:350]
    write_video(folder / "clip.mp4", clip)
    (folder / "pictures").mkdir()
    people = [cv2.cvtColor(drawn(1, seed)[0], cv2.COLOR_RGB2BGR) for seed in range(PEOPLE)]
    for number in range(PICTURES):
        cv2.imwrite(str(folder / "pictures" / f"{number:04}.jpg"), people[number % PEOPLE])
    save_untrained(ResGAT("gatv2"), folder / "net.ckpt")


def explain(folder: Path, out: Path, *words: object) -> None:
    """Run ``resgat explain`` in a new process."""
    arguments = ["explain", *words, "--ckpt_path", folder / "net.ckpt", "--out", out]
    run(f"import sys; from resgat_pl.cli.main import main; sys.exit(main({[*map(str, arguments)]!r}))")


def judge_plainly(folder: Path) -> None:
    """Detection and scoring of the pictures, one after the other, without records, tables and hashes."""
    examiner = Examiner(Detector.load(folder / "net.ckpt"), Extraction(), [], [])
    finder = FaceFinder(Extraction(), 4, 600.0)
    for medium in search_media([folder / "pictures"]).media:
        examiner.score(medium, finder.find(medium))
    finder.close()


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        number = count()
        everything = ("--original", folder / "original.mp4", "--evidence", "true", "--export_frames", 3)
        for what, more in (("defaults", ()), ("original, evidence sheet, exported frames", everything)):

            def whole(more: tuple[object, ...] = more) -> None:
                explain(folder, folder / f"out{next(number)}", folder / "clip.mp4", *more)

            (taken,) = interleave(whole, rounds=min(arguments.rounds, 3))
            about = f"{SECONDS} s, {WIDTH}×{HEIGHT}, 32 frames, ResNet-50, whole process"
            yield Row(f"resgat explain, {what}", "", median(taken), "≤", 20.0, "s", min(taken), max(taken), about)

        # One round, since it takes minutes.
        started = time.perf_counter()
        explain(folder, folder / "triage", folder / "pictures", "--no-html")
        ours = time.perf_counter() - started
        started = time.perf_counter()
        here = str(Path(__file__).parent)
        run(f"import sys, pathlib; sys.path.insert(0, {here!r}); import reports; "
            f"reports.judge_plainly(pathlib.Path({place!r}))")  # fmt: skip
        times = [[ours], [time.perf_counter() - started]]
        what = f"resgat explain --no-html, {PICTURES:,} pictures"
        yield ratio_row(what, "detection + scoring of them, whole process", times, "≥", 0.8, "ResNet-50")


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
