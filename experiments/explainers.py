"""Which explanation is best: trains detectors, scores every method on each, leaves the tables in runs/explainers.

Three seeds of GATv1 and GATv2, with and without mask guidance; finer nodes; and leave-one-kind-out: for each kind of
alteration a guided detector that saw neither this kind nor some face regions. Killed, the same command continues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from tqdm import tqdm
from unseen import HEAD, Line, judge, line

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.types import video_key
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.synth.generate import synthesize
from resgat_pl.data.synth.plan import METHOD_KINDS
from resgat_pl.data.synth.portraits import list_images
from resgat_pl.explain.benchmark.command import benchmark_explainers
from resgat_pl.reproduce.runs import train_and_test

CONFIG = Path(__file__).parent.parent / "configs" / "explainers.yaml"
GUIDANCE = 2.0
EPOCHS = 2
BATCH = 24
FACES = {"faces": 60, "slow_faces": 6, "sanity_faces": 4}
"""Fakes that each method explains on each detector; fewer for methods of many passes and for the sanity checks."""
FOLDS = {
    "resampled": ["mouth"],
    "warped": ["nose"],
    "recoloured": ["left_cheek", "right_cheek"],
    "recompressed": ["forehead"],
    "sharpened": ["left_eye", "right_eye"],
    "renoised": ["chin", "left_ear", "right_ear"],
}
"""Face regions that are left out together with a kind of alteration; all but the whole face have their turn once."""


@dataclass(frozen=True)
class Training:
    """One detector: ``label`` is what its seeds have in common."""

    label: str
    seed: int
    attention: str
    guided: bool
    size: int = 112
    unseen: str | None = None
    """Kind of alteration left out, a key of ``FOLDS``."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.label}_seed{self.seed}"


def trainings(seeds: int) -> Iterator[Training]:
    """All detectors; what is most wanted first."""
    for seed in range(seeds):
        for attention in ("gatv2", "gatv1"):
            yield Training(f"{attention}_guided", seed, attention, True)
            yield Training(attention, seed, attention, False)
        if seed == 0:
            for kind in FOLDS:
                yield Training(f"without_{kind}", 0, "gatv2", True, unseen=kind)
            yield Training("gatv2_guided_14x14", 0, "gatv2", True, size=224)


def crops_of(out: Path, size: int) -> Path:
    """Folder of the crops of one size."""
    return out / f"crops{size}"


def prepare(out: Path, faces: Path | None, sizes: set[int], jobs: int) -> None:
    """Write the videos and cut the faces out; both at most once."""
    people = 436 if faces is None else min(436, len(list_images(faces)) // 2 * 2)
    synthesize(
        out / "videos",
        videos=people,
        fakes_per_real=5,
        frames=6,
        size=288,
        faces=faces,
        change=24,
        extent=1.3,
        jobs=jobs,
    )
    for size in sorted(sizes):
        print(extract(out / "videos", crops_of(out, size), extraction=Extraction(frames=3, size=size), jobs=jobs))


def train(training: Training, out: Path, weights: str) -> Path:
    """Train and test one detector, unless that was done; return its checkpoint."""
    crops = crops_of(out, training.size)
    folder = out / training.name
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ["--config", str(CONFIG)]
    if training.unseen is not None:
        fold = folder / "fold.yaml"
        fold.write_text(yaml.safe_dump({"data": {"split": leave_out(out, training.unseen)}}))
        arguments += ["--config", str(fold)]
    arguments += ["--net.attention", training.attention, "--net.weights", weights]
    arguments += ["--model.mask_loss_weight", str(GUIDANCE if training.guided else 0.0)]
    arguments += ["--model.lr_scheduler.init_args.T_max", str(EPOCHS * steps(crops, training.unseen, out))]
    arguments += ["--trainer.max_epochs", str(EPOCHS), "--data.batch_size", str(BATCH)]
    arguments += ["--data.crops", str(crops), "--data.image_size", str(training.size)]
    arguments += ["--trainer.enable_progress_bar", "false"]  # several at a time
    arguments += ["--seed_everything", str(training.seed), "--data.seed", str(training.seed)]
    return train_and_test(folder, arguments).checkpoint


def leave_out(out: Path, kind: str) -> dict[str, object]:
    """Split protocol, as in a configuration, that leaves out a kind of alteration and the regions of its fold."""
    method = next(method for method, made in METHOD_KINDS.items() if made == kind)
    videos = [key for key, fake in fakes_of(out).items() if fake["region"] in FOLDS[kind] and fake["kind"] != kind]
    return {"class_path": "resgat_pl.data.splits.LeaveOut", "init_args": {"methods": [method], "videos": videos}}


def fakes_of(out: Path) -> dict[str, dict[str, str]]:
    """What ``synth`` notes about each fake (kind, region, original), by its key in the manifest."""
    noted = json.loads((out / "videos" / "synth.json").read_text())["fakes"]
    parts = {name: Path(name).parts for name in noted}
    return {video_key("ffpp", at[1], at[2], Path(at[-1]).stem): noted[name] for name, at in parts.items()}


def steps(crops: Path, unseen: str | None, out: Path) -> int:
    """Training steps of an epoch."""
    manifest = Manifest.read(crops)
    train_rows = manifest.column("split") == "train"
    if unseen is not None:
        fakes = fakes_of(out)
        left = {key for key, fake in fakes.items() if fake["kind"] == unseen or fake["region"] in FOLDS[unseen]}
        keys = np.array([video.key for video in manifest.videos()])[manifest.video_codes]
        train_rows &= ~np.isin(keys, list(left))
    faces = FaceCrops(manifest, np.flatnonzero(train_rows).astype(np.int64), 32)
    return 2 * len(faces.pairs()) // BATCH


def compare(checkpoints: dict[Training, Path], out: Path) -> str:
    """Score every method on the detectors that were trained on everything; return the leaderboards."""
    texts = []
    for size in sorted({each.size for each in checkpoints}):
        own = {each: path for each, path in checkpoints.items() if each.size == size and each.unseen is None}
        if own:
            named = [f"{each.label}={path}" for each, path in own.items()]
            texts.append(benchmark_explainers(named, crops_of(out, size), out / f"leaderboard{size}", **FACES))
    return "\n\n".join(texts)


def leave_one_out(checkpoints: dict[Training, Path], out: Path) -> str:
    """Score the detectors on what they never saw, beside one that saw it; write and return the table."""
    folds = {each.unseen: path for each, path in checkpoints.items() if each.unseen is not None}
    if not folds:
        return ""
    fakes = fakes_of(out)
    seen = next((path for each, path in checkpoints.items() if each.name == "gatv2_guided_seed0"), None)
    trained = None if seen is None else judge(seen, crops_of(out, 112))
    text = [HEAD]
    kinds: list[Line] = []
    for kind, path in folds.items():
        judged = judge(path, crops_of(out, 112))
        places = " and ".join(name.replace("_", " ") for name in FOLDS[kind])
        of_kind = [key for key, fake in fakes.items() if fake["kind"] == kind]
        of_place = [key for key, fake in fakes.items() if fake["region"] in FOLDS[kind] and fake["kind"] != kind]
        kinds.append(line(judged, f"**{kind}**", of_kind))
        text.append(str(kinds[-1]))
        if trained is not None:
            text.append(str(line(trained, f"  {kind}, trained on", of_kind)))
        text.append(str(line(judged, f"{places}, other kinds", of_place)))
    means = (np.mean([each.detection.value for each in kinds]), np.mean([each.inside.value for each in kinds]))
    text.append(f"\nMean over the kinds not trained on: detection AUROC {means[0]:.3f}, AUROC in face {means[1]:.3f}.")
    (out / "unseen.md").write_text("\n".join(text) + "\n")
    return "\n".join(text)


def main() -> int:
    """Run the experiment; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, help="folder of portraits to forge instead of drawn faces")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2: imagenet, or the path of a state dict")
    parser.add_argument("--out", type=Path, default=Path("runs/explainers"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="detectors trained at a time, with one thread each")
    parser.add_argument("--only", nargs="*", help="labels of the detectors to train; default: all")
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the trainings: two that use all cores wait for each other
    chosen = [each for each in trainings(arguments.seeds) if not arguments.only or each.label in arguments.only]
    try:
        prepare(arguments.out, arguments.faces, {each.size for each in chosen}, arguments.jobs)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            done = pool.map(lambda each: train(each, arguments.out, arguments.weights), chosen)
            progress = tqdm(zip(chosen, done, strict=True), total=len(chosen), desc="detectors", unit="run")
            checkpoints = dict(progress)
        if not arguments.train_only:
            print(compare(checkpoints, arguments.out))
            print(leave_one_out(checkpoints, arguments.out))
    except ResGATError as error:
        print(f"explainers: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
