"""What extraction costs: reading frames, the whole beside its decoding and detection, and two processes beside one.

The videos are drawn by ``resgat synth``, enlarged to 640×480 H.264 and deleted afterwards. The rows of two processes
count their start; what it takes is a row of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import av
import cv2
import numpy as np
from measure import Row, faster, interleave, ratio_row, report, slower

from resgat_pl.core.executors import open_executor, run_all
from resgat_pl.core.types import REAL
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import MTCNN, FaceDetector, YuNet
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.synth.generate import synthesize

FRAMES = 32


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Every row of the table."""
    detectors: dict[str, FaceDetector] = {"MTCNN": MTCNN()}
    if arguments.yunet:
        detectors["YuNet"] = YuNet(arguments.yunet)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        write_clip(clip)
        with one_thread():
            yield faster(
                "32 of 300 frames, 640×480 H.264: Media.read",
                lambda: list(FrameReader([clip], "video").read(sample(300))),
                "seeking to each frame with OpenCV",
                lambda: seek_each(clip, sample(300)),
                8,
                arguments.rounds,
                "one thread each",
            )
            few = drawn(folder / "few", pairs=8, frames=300)
            for title, detector in detectors.items():
                extraction = Extraction(frames=FRAMES, detector=detector)
                yield slower(
                    f"whole extraction, one process, {title}",
                    partial(whole, few, folder / "out", extraction, 1),
                    "its own decoding and detection alone",
                    partial(decode_and_detect, few, extraction),
                    1.3,
                    min(arguments.rounds, 3),
                    "8 genuine clips, 8 fakes with masks, 300 frames each, 32 crops each",
                )
        many = drawn(folder / "many", pairs=24, frames=120)
        for title, detector in detectors.items():
            extraction = Extraction(frames=FRAMES, detector=detector)
            times = interleave(
                partial(whole, many, folder / "out", extraction, 2),
                partial(whole, many, folder / "out", extraction, 1),
                rounds=min(arguments.rounds, 3),
            )
            yield ratio_row(
                f"whole extraction, 2 processes, {title}",
                "1 process",
                times,
                "≥",
                1.7,
                f"48 videos, 120 frames each, 32 crops each; {os.cpu_count()} cores",
            )
        (starts,) = interleave(start_two, rounds=arguments.rounds)
        yield Row(
            "start and end of 2 processes without work",
            "",
            statistics.median(starts),
            unit="s",
            low=min(starts),
            high=max(starts),
        )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV on one thread, as in the processes of an extraction."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def write_clip(path: Path, count: int = 300) -> None:
    """A moving texture with grain."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 255, (60, 90, 3), np.uint8), (640 + count, 480), interpolation=2)

    def images() -> Iterator[Any]:
        for number in range(count):
            grain = np.repeat(rng.integers(0, 12, (480, 640, 1), np.uint8), 3, axis=2)
            yield cv2.add(np.ascontiguousarray(texture[:, number : number + 640]), grain)

    write_video(path, images())


def write_video(path: Path, images: Iterable[Any]) -> None:
    """Write ``(480, 640, 3)`` uint8 RGB images as x264 does by default."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def sample(total: int) -> list[int]:
    """The frames that the extraction takes."""
    return [(2 * number + 1) * total // (2 * FRAMES) for number in range(FRAMES)]


def seek_each(path: Path, numbers: list[int]) -> list[Any]:
    """What is often done: a seek before every frame."""
    capture = cv2.VideoCapture(str(path))
    images = []
    for number in numbers:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        good, image = capture.read()
        if not good:
            raise RuntimeError(f"frame {number} of {path} cannot be read")
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return images


def drawn(folder: Path, pairs: int, frames: int) -> Path:
    """A data set in the layout of FaceForensics++: genuine clips of 640×480, a fake and its mask for each.

    Drawing takes long, so a few frames are drawn small, enlarged, and played to and fro.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        synthesize(folder, layout="ffpp", videos=max(8, pairs), fakes_per_real=1, frames=12, size=192)
    for path in folder.rglob("*.mp4"):
        images = [frame.image for frame in FrameReader([path], "video").read(range(12))]
        wide = [
            cv2.copyMakeBorder(cv2.resize(image, (480, 480), interpolation=cv2.INTER_CUBIC), 0, 0, 80, 80, 0)
            for image in images
        ]
        there_and_back = [*wide, *wide[-2:0:-1]]
        write_video(path, (there_and_back[number % len(there_and_back)] for number in range(frames)))
    return folder


def whole(root: Path, out: Path, extraction: Extraction, jobs: int) -> None:
    """A complete extraction into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    with contextlib.redirect_stderr(io.StringIO()):
        extract(root, out, extraction=extraction, jobs=jobs)


def decode_and_detect(root: Path, extraction: Extraction) -> None:
    """What no extraction can do without: the frames of all videos and masks, and the faces of genuine clips."""
    for record in detect_layout(root).index(root).records:
        media = FrameReader(record.files, record.kind)
        wanted = extraction.sample(media)
        for frame in media.read(wanted):
            if record.label == REAL:
                extraction.face_detector.detect(frame.image)
        if record.mask is not None:
            list(FrameReader([record.mask], "video").read(wanted))


def start_two() -> None:
    """Start two processes that load what the work needs, and end them."""
    with open_executor(jobs=2) as executor:
        list(run_all(executor, load, [0, 1]))


def load(_: int) -> int:
    """Import what the work on a video imports."""
    import resgat_pl.data.extraction.command

    return len(resgat_pl.data.extraction.command.__name__)


def options(parser: argparse.ArgumentParser) -> None:
    """What only this file takes."""
    parser.add_argument("--yunet", type=Path, help="YuNet's ONNX file, to measure with it too")


if __name__ == "__main__":
    sys.exit(report(rows, __doc__, options))
