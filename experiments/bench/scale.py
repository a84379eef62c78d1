"""FaceForensics++ and DFDC whole, on paper: hours, disk and money from rates measured on this machine.

Measures what one core does (decoding at two sizes, detection, cutting and writing a crop, loading with augmentation),
and works out the rest. What a GPU does is not measured but taken from where it is published, times the share of
ResNet-50's rate that ResGAT's arithmetic leaves. ``--out FILE`` writes the page.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from measure import machine
from numpy.typing import NDArray

from resgat_pl.data.faces.cropping import crop_face, square_box
from resgat_pl.data.faces.detection import MTCNN, sharpness
from resgat_pl.data.media.frames import FrameReader, sample_indices
from resgat_pl.data.media.images import read_image
from resgat_pl.data.synth.clip import generator
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.transforms import DFDCAugmentation

CORES, GPUS = (1, 16, 256), (1, 8)
ROUNDS = 5

# Assumed, not measured: on-demand prices of large clouds in 2025-26, rounded, in US dollars.
CORE_HOUR, GPU_HOUR, GB_MONTH = 0.05, 3.0, 0.10
# ResNet-50 v1.5 in mixed precision on A100 80 GB, 1 and 8 GPUs, images/s: NVIDIA DeepLearningExamples,
# PyTorch/Classification/ConvNets/resnet50v1.5/README.md, container 21.03.
RESNET50_A100 = {1: 2470, 8: 16621}
# What is left of it by arithmetic: the forward pass of ResNet-50 has 4.1 billion multiplications, GATv2's two
# projections of 49 nodes have 2 · 49 · 2048 · 4608 = 0.92 billion.
SHARE = 4.1 / (4.1 + 0.92)
# as resgat_pl.data.extraction.crop_video writes them
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
DISK_MBIT = {"a network disk at 1 Gbit/s": 118, "at 10 Gbit/s": 1180}


@dataclass(frozen=True)
class DataSet:
    """A data set as published.

    Attributes:
        name: For the tables.
        videos: Videos with masks left out.
        originals: Of these, genuine ones: only in these are faces searched, the fakes take their boxes.
        frames: Decoded of each, mean.
        size: Width and height in px that is reckoned with.
        gigabytes: Of the download.
        crops: Crops a video.
        image_format: Of the crops.
    """

    name: str
    videos: int
    originals: int
    frames: int
    size: tuple[int, int]
    gigabytes: float
    crops: int
    image_format: str


SETS = (
    # 1,000 clips of 509,914 frames (Rössler et al. 2019) and four methods; the paper's 650,935 crops are 130 a video
    DataSet("FF++ c23, four methods", 5_000, 1_000, 510, (1280, 720), 10, 130, "png"),
    # 119,154 videos of 10 s at 30 frames/s (Dolhansky et al. 2020) and the 5,000 of the test set
    DataSet("DFDC", 124_154, 21_654, 300, (1920, 1080), 470, 32, "jpg"),
)


def seconds(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median of the rounds after one that does not count."""
    taken = []
    for turn in range(rounds + 1):
        started = time.perf_counter()
        action()
        if turn:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def write_clip(path: Path, width: int, height: int, frames: int) -> None:
    """A drawn face before a wall with some sensor noise, H.264 at CRF 23, as FF++ c23 was made."""
    rng = generator(0, "scale")
    faces = draw_clip([generator(0, "someone")], rng, 25, height).frames
    wall = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), (0, 0), 9)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = wall.copy()
            left = (width - height) // 2
            image[:, left : left + height] = faces[abs((number % 48) - 24)]
            noise = rng.integers(-3, 4, (height // 2, width // 2, 1)).repeat(2, 0).repeat(2, 1)
            image = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class Rates:
    """What one core of this machine does.

    Attributes:
        decode: Seconds a decoded frame, by size.
        detect: Seconds a frame.
        cut: Seconds a crop, by image format: cutting, resizing, sharpness, encoding.
        load: Seconds a crop: decoding and DFDC augmentation, by image format.
        bytes_per_crop: By image format.
    """

    decode: dict[tuple[int, int], float]
    detect: float
    cut: dict[str, float]
    load: dict[str, float]
    bytes_per_crop: dict[str, float]


def measure_rates(folder: Path, portraits: list[Path]) -> Rates:
    """Measure on one thread."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    decode = {}
    frame = np.zeros((1, 1, 3), np.uint8)
    for size in sorted({data.size for data in SETS}):
        clip = folder / f"{size[1]}.mp4"
        write_clip(clip, *size, 150)
        wanted = sample_indices(150, 16)
        decode[size] = seconds(lambda clip=clip, wanted=wanted: list(FrameReader([clip], "video").read(wanted))) / 150
        frame = next(iter(FrameReader([clip], "video").read([75]))).image
    detector = MTCNN()
    detect = seconds(lambda: detector.detect(frame))
    faces = [_face(path, detector) for path in portraits] or [_face(None, detector, frame)]
    faces = [face for face in faces if face is not None]
    cut, load, sizes = {}, {}, {}
    augmentation = DFDCAugmentation()
    for suffix, options in (("png", PNG), ("jpg", JPEG)):
        files = [folder / f"{number}.{suffix}" for number in range(len(faces))]

        def write(files: list[Path] = files, suffix: str = suffix, options: list[int] = options) -> None:
            for (image, box), file in zip(faces, files, strict=True):
                small = crop_face(image, box, 224)
                sharpness(small)
                file.write_bytes(cv2.imencode(f".{suffix}", small[:, :, ::-1], options)[1].tobytes())

        def read(files: list[Path] = files) -> None:
            for seed, file in enumerate(files):
                augmentation(read_image(file), seed)

        cut[suffix] = seconds(write) / len(faces)
        load[suffix] = seconds(read) / len(faces)
        sizes[suffix] = statistics.mean(file.stat().st_size for file in files)
    return Rates(decode, detect, cut, load, sizes)


def _face(
    path: Path | None, detector: MTCNN, image: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
    if path is not None:
        image = read_image(path)
    assert image is not None  # noqa: S101 - one of both is given
    found = detector.detect(image)
    return (image, square_box(found[0].box, 1.3)) if found else None


def extraction_rows(data: DataSet, rates: Rates) -> list[str]:
    """Hours, money and what holds it up, by number of cores."""
    decode = data.videos * data.frames * rates.decode[data.size]
    detect = data.originals * data.crops * rates.detect
    cut = data.videos * data.crops * rates.cut[data.image_format]
    total = decode + detect + cut
    shares = {"decoding": decode, "detection": detect, "cutting and writing": cut}
    first = max(shares, key=lambda name: shares[name])
    lines = []
    for cores in CORES:
        hours = total / 3600 / cores
        stream = data.gigabytes * 1000 / (hours * 3600)
        held_up = f"{first} ({100 * shares[first] / total:.0f} % of the time)"
        for disk, limit in DISK_MBIT.items():
            if stream > limit:
                held_up = f"reading the videos: {stream:.0f} MB/s is more than {disk} gives ({limit} MB/s)"
        lines.append(
            f"| {data.name} | {cores} | {_hours(hours)} | {stream:,.1f} MB/s | {_dollars(total / 3600 * CORE_HOUR)} | "
            f"{held_up} |"
        )
    return lines


def training_rows(data: DataSet, rates: Rates, epochs: int, share: float) -> list[str]:
    """Hours, money, and the cores that loading takes, by number of GPUs."""
    images = data.videos * data.crops * share * epochs
    lines = []
    for gpus in GPUS:
        rate = RESNET50_A100[gpus] * SHARE
        cores = rate * rates.load[data.image_format]
        hours = images / rate / 3600
        stream = rate * rates.bytes_per_crop[data.image_format] / 1e6
        held_up = f"the GPU{'s' if gpus > 1 else ''}, if {cores:.0f} cores load"
        if stream > DISK_MBIT["a network disk at 1 Gbit/s"]:
            held_up += f" and the disk gives {stream:.0f} MB/s (more than a network disk at 1 Gbit/s)"
        lines.append(
            f"| {data.name} | {gpus} | {images / 1e6:,.0f} million | {rate:,.0f} images/s | {_hours(hours)} | "
            f"{_dollars(hours * gpus * GPU_HOUR)} | {held_up} |"
        )
    return lines


def disk_rows(data: DataSet, rates: Rates) -> str:
    """Videos, crops in both formats, money a month."""
    crops = data.videos * data.crops
    size = {name: crops * each / 1e9 for name, each in rates.bytes_per_crop.items()}
    monthly = (data.gigabytes + size[data.image_format]) * GB_MONTH
    return (
        f"| {data.name} | {data.gigabytes:,.0f} GB | {crops / 1e6:.2f} million | {size['png']:,.0f} GB | "
        f"{size['jpg']:,.0f} GB | {_dollars(monthly)} |"
    )


def page(rates: Rates, faces: str) -> str:
    """The whole page in Markdown."""
    about = machine()
    decode = "; ".join(f"{w}×{h}: {1 / value:,.0f} frames/s" for (w, h), value in rates.decode.items())
    parts = [
        "# FaceForensics++ and DFDC whole, on paper",
        "Nothing of this was run: `experiments/bench/scale.py` works it out from rates of one core, measured on "
        f"{about['processor']} ({faces}), and from published rates of GPUs. It is as good as its assumptions, which "
        "stand in that file beside their sources; change them there.",
        "## Measured, one core",
        "| what | rate |\n|---|---|\n"
        f"| decoding H.264 | {decode} |\n"
        f"| detecting faces (MTCNN, 640 px) | {1 / rates.detect:.1f} frames/s |\n"
        f"| cutting and writing a crop of 224 px | PNG {1 / rates.cut['png']:,.0f}/s, "
        f"JPEG {1 / rates.cut['jpg']:,.0f}/s |\n"
        f"| loading a crop with DFDC augmentation | PNG {1 / rates.load['png']:,.0f}/s, "
        f"JPEG {1 / rates.load['jpg']:,.0f}/s |\n"
        f"| bytes a crop | PNG {rates.bytes_per_crop['png'] / 1000:.0f} kB, "
        f"JPEG {rates.bytes_per_crop['jpg'] / 1000:.0f} kB |",
        "## Extraction",
        "Every frame up to the last one wanted is decoded; faces are searched in genuine videos only: a fake takes "
        "the boxes of its original. Reckoned: "
        + "; ".join(
            f"{d.name}: {d.videos:,} videos of {d.frames} frames at {d.size[0]}×{d.size[1]}, {d.crops} crops each as "
            f"{'JPEG' if d.image_format == 'jpg' else 'PNG'}"
            for d in SETS
        )
        + f". A core-hour costs ${CORE_HOUR}. Time divides by the cores because videos have nothing to do with each "
        "other; the money therefore stays.",
        "| data set | cores | time | videos read at | money | held up by |\n|---|---|---|---|---|---|\n"
        + "\n".join(line for data in SETS for line in extraction_rows(data, rates)),
        "256 cores: `sbatch experiments/slurm/extract.sbatch` (parts of the videos) or `--engine dask`. With "
        "`--store shards` the crops are a few hundred files instead of millions.",
        "## Disk",
        f"A GB costs ${GB_MONTH:.2f} a month.",
        "| data set | videos | crops | as PNG | as JPEG | a month |\n|---|---|---|---|---|---|\n"
        + "\n".join(disk_rows(data, rates) for data in SETS),
        "## Training",
        "15 epochs over 72 % of the crops, GATv2, A100 80 GB in bf16: ResNet-50's published rate "
        f"({RESNET50_A100[1]:,} images/s on one GPU, {RESNET50_A100[8]:,} on eight) times {SHARE:.2f}, what GATv2's "
        f"arithmetic leaves of it. **No GPU was at hand to measure it.** A GPU-hour costs ${GPU_HOUR:.0f}. GATv1 takes "
        "hardly longer than ResNet-50 itself.",
        "| data set | GPUs | crops | rate | time | money | held up by |\n|---|---|---|---|---|---|---|\n"
        + "\n".join(line for data in SETS for line in training_rows(data, rates, 15, 0.72)),
    ]
    return "\n\n".join(parts) + "\n"


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:.2f}"


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portraits", type=Path, help="folder of portraits to cut; a drawn face without")
    parser.add_argument("--out", type=Path, help="Markdown file; printed without")
    arguments = parser.parse_args()
    portraits = sorted(arguments.portraits.iterdir())[:40] if arguments.portraits else []
    with tempfile.TemporaryDirectory() as folder:
        rates = measure_rates(Path(folder), portraits)
    text = page(rates, f"{len(portraits)} portraits" if portraits else "a drawn face")
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
