"""Every system that the paper reviews, as a variant of one network, measured against what is claimed of it.

Trains the baseline and each variant with the same seeds on synthetic portraits, and writes docs/results/systems.md.
Killed, the same command continues: finished runs are not repeated, others go on from their last epoch.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from systems_measure import LEFT_OUT, Lab
from systems_page import page
from tqdm import tqdm

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.synth.generate import synthesize
from resgat_pl.data.synth.plan import METHOD_KINDS
from resgat_pl.data.synth.portraits import list_images
from resgat_pl.reproduce.experiment import option
from resgat_pl.reproduce.runs import train_and_test

CONFIGS = Path(__file__).parent.parent / "configs"
PAGE = CONFIGS.parent / "docs" / "results" / "systems.md"
SIDE, FRAMES, CLIP = 112, 3, 12
"""Side of the crops in px; crops of a video for frame detectors, and of one forged in part, a clip."""
SEEDS, VIDEOS, EPOCHS = 3, 240, 4
CLIP_EPOCHS, VIT_EPOCHS, CAPTION_EPOCHS = 4, 6, 30
SYNTH: Final = {"fakes_per_real": 3, "size": 288, "change": 24.0, "extent": 1.3}
PARTLY: Final = {"frames": 24, "span": 0.4, "flicker": 0.5}


def overlay(name: str) -> tuple[str, str]:
    """Option for a configuration of ``configs/``; relative, so that another checkout can continue from its root."""
    return ("--config", os.path.relpath(CONFIGS / f"{name}.yaml"))


FRAME_VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    "baseline": (),
    "aux": overlay("mask_aux"),
    "gate": overlay("mask_gate"),
    "two_pass": (*overlay("mask_gate"), "--net.two_pass", "true"),
    "capsule": overlay("capsule"),
    "gcn": overlay("gcn"),
    "bottleneck": overlay("bottleneck"),
    "pooled": overlay("blend_plain"),
    "kinds": overlay("kinds"),
    "drop_zoom": overlay("drop_zoom"),
    "trades": overlay("trades"),
}
"""The baseline, which is the first, and what differs from it in one option each."""
UNSEEN: Final = ("baseline", "gcn", "bottleneck", "pooled", "kinds")
"""Variants that are trained once more without a kind of alteration."""
CLIP_VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    "mean": (*overlay("video_attention"), "--net.init_args.temporal", "mean"),
    "attention": overlay("video_attention"),
    "spacetime": overlay("video_spacetime"),
    "lstm": overlay("video_lstm"),
}


@dataclass(frozen=True)
class Training:
    """One detector: ``label`` is what its seeds have in common."""

    label: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.label}_seed{self.seed}"

    @property
    def needs(self) -> str | None:
        """Name of the detector whose features it is trained on."""
        return f"baseline_seed{self.seed}" if self.label in CLIP_VARIANTS else None


def trainings(seeds: int, vit: bool = True) -> Iterator[Training]:
    """All detectors: baselines before what is trained on their features, one seed after the other."""
    for seed in range(seeds):
        labels = [*FRAME_VARIANTS, *CLIP_VARIANTS, *(f"{label}_unseen" for label in UNSEEN), *(["vit"] if vit else [])]
        yield from (Training(label, seed) for label in labels)


def options(training: Training, out: Path, given: argparse.Namespace) -> list[str]:
    """Options of ``resgat fit``."""
    label, seed = training.label.removesuffix("_unseen"), str(training.seed)
    clips, vit = label in CLIP_VARIANTS, label == "vit"
    found = [*overlay("explainers"), *overlay("systems"), *({**FRAME_VARIANTS, **CLIP_VARIANTS, "vit": ()}[label])]
    # The network.
    if vit:
        found += ["--net.encoder", "timm/vit_small_patch14_dinov2", "--net.encoder_stage", "4", "--net.heads", "6"]
        found += ["--net.train", "frozen", "--net.weights", given.vit, *option("data.augmentation", None)]
    else:
        found += ["--net.init_args.weights" if clips or label == "pooled" else "--net.weights", given.weights]
    if clips:
        found += ["--net.init_args.frames", str(out / str(training.needs) / "checkpoints" / "best.ckpt")]
        found += ["--data.clip_frames", str(CLIP)]
    if clips or vit:
        found += ["--data.features_cache", str(out / "features")]
    # The training.
    epochs = CLIP_EPOCHS if clips else VIT_EPOCHS if vit else EPOCHS
    found += ["--trainer.max_epochs", str(given.epochs or epochs), "--seed_everything", seed, "--data.seed", seed]
    # The data.
    found += ["--data.crops", str(out / ("partly_crops" if clips else "crops")), "--data.image_size", str(SIDE)]
    if training.label.endswith("_unseen"):
        method = LEFT_OUT[training.seed % len(LEFT_OUT)]
        split = {"class_path": "resgat_pl.data.splits.LeaveOut", "init_args": {"methods": [method]}}
        found += option("data.split", split)
        if label == "kinds":
            found += option("net.outputs", [*(f"kind:{name}" for name in METHOD_KINDS if name != method), "region:*"])
    return found


def prepare(out: Path, faces: Path | None, videos: int, jobs: int) -> None:
    """Write both sets, of the same people and splits, and cut the faces out, at most once."""
    people = videos if faces is None else min(videos, len(list_images(faces)) // 2 * 2)
    synthesize(out / "videos", videos=people, frames=6, faces=faces, jobs=jobs, **SYNTH)
    synthesize(out / "partly", videos=people, faces=faces, jobs=jobs, **SYNTH, **PARTLY)
    for name, frames in (("videos", FRAMES), ("partly", CLIP)):
        crops = out / ("crops" if name == "videos" else "partly_crops")
        print(extract(out / name, crops, extraction=Extraction(frames=frames, size=SIDE), jobs=jobs))


def train_all(chosen: Sequence[Training], out: Path, given: argparse.Namespace) -> None:
    """Train and test the detectors that are not there yet, several at a time."""
    progress = tqdm(total=len(chosen), desc="detectors", unit="run")

    def train(each: Training) -> None:
        train_and_test(out / each.name, options(each, out, given))
        progress.update()

    steps = [(seed, clips) for seed in range(given.seeds) for clips in (False, True)]  # clips need the baselines
    for seed, clips in steps:
        some = [each for each in chosen if (each.seed, each.needs is not None) == (seed, clips)]
        if given.jobs == 1:  # in this thread, which passes signals on to the training
            for each in some:
                train(each)
        else:
            with ThreadPoolExecutor(given.jobs) as pool:
                list(pool.map(train, some))
    progress.close()


def missing(given: argparse.Namespace, out: Path) -> list[str]:
    """What keeps this from being the whole experiment."""
    every = list(trainings(SEEDS))
    there = sum((out / each.name / "done.json").is_file() for each in every)
    found = {
        f"{there} of {len(every)} detectors are trained": there < len(every),
        f"{given.seeds} of {SEEDS} seeds": given.seeds < SEEDS,
        f"{given.videos} of {VIDEOS} genuine clips": given.videos < VIDEOS,
        f"{given.epochs} epochs": given.epochs is not None and given.epochs < EPOCHS,
        "the vision transformer is skipped, since --vit names no weights": given.vit is None,
        "drawn faces in the place of portraits": given.faces is None,
    }
    return [text for text, there in found.items() if there]


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--faces", type=Path, help="folder of portraits to forge instead of drawn faces")
    made.add_argument("--weights", default="imagenet", help="of MobileNetV2: imagenet, or the path of a state dict")
    made.add_argument("--vit", help="weights of DINOv2 ViT-S/14 (timm's state dict); without them [13] is skipped")
    made.add_argument("--out", type=Path, default=Path("runs/systems"))
    made.add_argument("--page", type=Path, default=PAGE)
    made.add_argument("--videos", type=int, default=VIDEOS, help="genuine clips, each with three fakes")
    made.add_argument("--seeds", type=int, default=SEEDS)
    made.add_argument("--epochs", type=int, help="of every training; default: 4, of the transformer 6")
    made.add_argument("--jobs", type=int, default=2, help="detectors trained at a time, with one thread each")
    made.add_argument("--only", nargs="*", help="labels of the detectors to train; default: all")
    made.add_argument("--measure-only", action="store_true", help="train nothing, write the page of what is there")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; return the exit status."""
    given = parser().parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the trainings: two that use all cores wait for each other
    out: Path = given.out.absolute()
    chosen = [
        each for each in trainings(given.seeds, given.vit is not None) if not given.only or each.label in given.only
    ]
    try:
        if not given.measure_only:
            prepare(out, given.faces, given.videos, given.jobs)
            train_all(chosen, out, given)
        settings = {
            "Genuine clips:": given.videos,
            "fakes of each:": SYNTH["fakes_per_real"],
            "seeds:": given.seeds,
            "epochs:": given.epochs or f"{EPOCHS} (clips {CLIP_EPOCHS})",
            "encoder:": f"MobileNetV2 to stride 16, {SIDE} px",
        }
        lab = Lab(out, given.seeds, given.epochs or CAPTION_EPOCHS)
        text = page(lab, settings, missing(given, out), len(METHOD_KINDS))
        write_atomic(given.page, (text + "\n").encode())
        print(text)
    except ResGATError as error:
        print(f"systems: error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
