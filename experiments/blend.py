"""Detectors trained on genuine faces and self-blends alone, tested on manipulations that they never saw.

Trains the recipe of configs/blend_cpu.yaml, the same encoder with a plain head, and the recipe without each of its
parts, on a folder of portraits or of genuine videos; scores every explanation on held-out self-blends and on folders of
real pairs (docs/how_to/self_blends.md). Killed, the same command continues.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from blend_page import PLAIN, RECIPE, publish, write_page
from omegaconf import OmegaConf
from tqdm import tqdm

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.types import REAL
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.pairs_folder import crops_of
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.self_blends.camera import Source
from resgat_pl.data.self_blends.families import FAMILIES
from resgat_pl.data.self_blends.held_out import blend
from resgat_pl.explain.benchmark.command import benchmark_explainers
from resgat_pl.reproduce.runs import train_and_test

CONFIGS = Path(__file__).parent.parent / "configs"
SIZE = 256
"""Side of the crops, px: larger than the network's input, since self-blends are cut and resized after blending."""
FRAMES = 16
"""Frames of each video of real pairs."""
FACES, SLOW = 200, 8
"""Fakes that each method explains on each detector; fewer for methods of many passes and for the sanity checks."""
FALSE_ALARMS = 0.1
"""Share of genuine test faces that the verdict may call fake: a detector's own threshold is of other data."""
METHODS = [
    "Contribution", "NodeEvidence", "Attention", "NodeAblation", "NodeShapley", "GradCAM", "InputXGradient", "Saliency",
    "IntegratedGradients", "Occlusion", "LIME",
]  # fmt: skip
"""Explanations of the recipe and of the plain head, whose network has no graph."""
MAIN = (RECIPE, PLAIN)
"""Detectors of which every explanation is scored; of the others the contributions alone."""

GUIDANCE = '{"class_path": "resgat_pl.training.losses.MaskGuidance", "init_args": {"weight": 2.0, "target": "area"}}'
RESTORATION = (
    '{"class_path": "resgat_pl.training.losses.Restoration", "init_args": {"weight": 1.0, "effect_from": 0.75}}'
)
SILENCE = '{"class_path": "resgat_pl.training.losses.Silence", "init_args": {"weight": 0.2}}'
ALIGNMENT = '{"class_path": "resgat_pl.training.losses.Alignment", "init_args": {"weight": 0.1}}'
UNIFORMITY = '{"class_path": "resgat_pl.training.losses.Uniformity", "init_args": {"weight": 0.1}}'
RECEPTIVE = (33, 65, 129)
"""Limits, in px, of what a node sees: how much of the detection needs more than its own place."""


def losses(*some: str) -> list[str]:
    """Options for these losses and no others."""
    return ["--model.losses", f"[{', '.join(some)}]"]


PARTS = {
    "no_restoration": losses(GUIDANCE, SILENCE),
    "no_effect": losses(GUIDANCE, RESTORATION.replace('"effect_from": 0.75', '"effect": 0'), SILENCE),
    "no_silence": losses(GUIDANCE, RESTORATION),
    "no_guidance": losses(SILENCE),
    "seam": losses(GUIDANCE.replace("area", "seam"), RESTORATION, SILENCE),
    "area_and_seam": losses(GUIDANCE.replace("area", "both"), RESTORATION, SILENCE),
    "normalised": ["--net.head", "normalised", *losses(GUIDANCE, RESTORATION, SILENCE, ALIGNMENT, UNIFORMITY)],
    "no_averaging": ["--trainer.callbacks", "null"],
    "blend_only": ["--data.self_blend.init_args.families", '{"blend": 1}'],
}
"""Options that leave out, or change, one part of the recipe each."""


@dataclass(frozen=True)
class Training:
    """One detector: ``label`` is what its seeds have in common."""

    label: str
    seed: int
    options: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.label}_seed{self.seed}"


def trainings(seeds: int) -> Iterator[Training]:
    """All detectors; what is most wanted first."""
    plain = ("--config", str(CONFIGS / "blend_plain.yaml"))
    for seed in range(seeds):
        yield Training(RECIPE, seed)
        yield Training(PLAIN, seed, plain)
    for seed in range(seeds):
        for label, options in PARTS.items():
            yield Training(label, seed, tuple(options))
    for limit in RECEPTIVE:
        yield Training(f"receptive_{limit}", 0, ("--net.receptive", str(limit)))
    for family in FAMILIES:
        others = {name: 1.0 for name in FAMILIES if name != family}
        option = ("--data.self_blend.init_args.families", str(others).replace("'", '"'))
        yield Training(f"without_{family}", 0, option)


def prepare(out: Path, genuine: Path, source: Source, jobs: int) -> Path:
    """Cut the faces out and make the held-out self-blends, both at most once; return the folder of the latter."""
    print(extract(genuine, out / "crops", extraction=Extraction(size=SIZE), jobs=jobs))
    print(blend(out / "crops", out / "blends", per_face=2, source=source, jobs=jobs))
    return out / "blends"


def train(training: Training, out: Path, crops: Path, arguments: argparse.Namespace) -> Path:
    """Train and test one detector, unless that was done; return its checkpoint."""
    options = ["--config", str(CONFIGS / "blend_cpu.yaml"), *training.options]
    plain = training.label == PLAIN
    options += ["--net.init_args.weights" if plain else "--net.weights", arguments.weights]
    options += ["--data.crops", str(crops), "--data.self_blend.init_args.source", arguments.source]
    options += ["--seed_everything", str(training.seed), "--data.seed", str(training.seed)]
    options += ["--trainer.enable_progress_bar", "false", "--trainer.precision", arguments.precision]
    if "mixed" in arguments.precision:  # gradients are clipped
        options += ["--model.optimizer.init_args.fused", "false"]
    if arguments.epochs:
        options += ["--trainer.max_epochs", str(arguments.epochs)]
        options += ["--model.lr_scheduler.init_args.total_steps", str(arguments.epochs * steps(crops))]
    return train_and_test(out / training.name, options).checkpoint


def measure(trained: list[tuple[Training, Path]], place: Path, out: Path, home: Path) -> Path:
    """Score all explanations of the main detectors, and the contributions of the others; return the set's crops."""
    settings = Extraction(frames=FRAMES, size=SIZE)
    crops = crops_of(place, out / f"crops_{place.name}", settings)
    score = partial(
        benchmark_explainers,
        crops=crops,
        trained_on=None if crops == home else home,
        false_alarms=FALSE_ALARMS,
        private=True,
        faces=FACES,
        slow_faces=SLOW,
        sanity_faces=SLOW,
    )
    main = [f"{each.label}={path}" for each, path in trained if each.label in MAIN]
    others = [f"{each.label}={path}" for each, path in trained if each.label not in MAIN]
    if main:
        score(ckpt_path=main, out=out / f"leaderboard_{place.name}", methods=METHODS)
    if others:  # each on the fakes that it detects: few are common to all
        folder = out / f"ablations_{place.name}"
        score(ckpt_path=others, out=folder, methods=["Contribution"], common_faces=False)
    return crops


def about(arguments: argparse.Namespace) -> str:
    """What was trained and tested on what, in two sentences."""
    manifest = Manifest.read(arguments.out / "crops")
    genuine = {split: int((manifest.column("label")[manifest.rows_of(split)] == REAL).sum()) for split in SPLITS}
    kind = {"photo": "portraits", "video": "frames"}[arguments.source]
    epochs = arguments.epochs or OmegaConf.load(CONFIGS / "blend_cpu.yaml").trainer.max_epochs
    return (
        f"Trained on {genuine['train']} genuine {kind} with other self-blends in each of {epochs} epochs, "
        f"{arguments.seeds} seeds, {arguments.precision}. The held-out self-blends are of {genuine['test']} other "
        f"{kind}; {genuine['val']} more chose checkpoints and thresholds."
    )


def steps(crops: Path) -> int:
    """Training steps of an epoch: twelve pairs of each genuine crop, twelve a step."""
    manifest = Manifest.read(crops)
    return int((manifest.column("label")[manifest.rows_of("train")] == REAL).sum())


def main() -> int:
    """Run the experiment; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genuine", type=Path, required=True, help="folder with real/, of portraits or genuine videos")
    parser.add_argument("--source", choices=["photo", "video"], default="photo", help="what is in it")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2: imagenet, or the path of a state dict")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="folders of real pairs to test on")
    parser.add_argument("--out", type=Path, default=Path("runs/blend"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of each training; default: the configuration's")
    parser.add_argument(
        "--precision", default="32-true", help="bf16-mixed is faster where the processor has AVX512-BF16"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes that cut and blend")
    parser.add_argument("--page", type=Path, help="the page here too, beside it the pictures, without faces")
    parser.add_argument("--only", nargs="*", help="labels of the detectors; default: all")
    arguments = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    chosen = [each for each in trainings(arguments.seeds) if not arguments.only or each.label in arguments.only]
    try:
        crops = prepare(arguments.out, arguments.genuine, arguments.source, arguments.jobs)
        trained = [
            (each, train(each, arguments.out, crops, arguments)) for each in tqdm(chosen, "detectors", unit="run")
        ]
        places = (crops, *arguments.pairs)
        page = write_page(arguments.out, {each.name: measure(trained, each, arguments.out, crops) for each in places})
        print(page)
        if arguments.page:
            publish(page, arguments.page, arguments.out, about(arguments))
    except ResGATError as error:
        print(f"blend: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
