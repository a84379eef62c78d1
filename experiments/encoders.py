"""Encoders compared: size, speed, and the AUROC of a graph that is trained on each of them, frozen, on synthetic faces.

Features are computed once an encoder (``data.features_cache``), and the graph is trained from them with several seeds.
Each encoder's numbers are written when they are there: killed, the same command continues.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.core.storage import write_atomic
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.synth.generate import synthesize
from resgat_pl.evaluation.metrics.scores import Scores, evaluate
from resgat_pl.evaluation.predict import predictions
from resgat_pl.explain.custody.record import machine
from resgat_pl.nn.encoders.tuning import TrainMode
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule

SIDE: Final = 112
BATCH: Final = 32
EPOCHS: Final = 10
RATE: Final = 1e-3
HEADS, HIDDEN = 6, 64
TIMED: Final = 4
"""Images of a timed step."""
ROUNDS: Final = 3


ABOUT: Final = f"""\
SYNTHETIC forgeries of drawn faces, plain to see (`--change 60 --extent 2.4`): {{clips}} clips and as many fakes, one
crop of {SIDE} px each; nobody of the test split is in another. Written by `experiments/encoders.py` (`make encoders`),
data seed 0, one thread of {{processor}}.

- Detector: GATv2, {HEADS} heads × {HIDDEN}, on the nodes of the frozen encoder (stride 16, or a transformer's patches).
  AdamW at {RATE:g}, {EPOCHS} epochs of batches of {BATCH} from cached features; the last epoch is tested.
- AUROC: crops of the test split, in percent; the mean of {{seeds}} seeds of the graph, with the 95 % bootstrap
  interval of that mean over clips.
- Images a second of processor time of one thread: float32, batches of {TIMED}, median of {ROUNDS}; *frozen, cached* is
  a step from features, in batches of {BATCH}.
- *random*: no pretrained weights could be had where this was measured. Such a row shows size and speed; its AUROC is
  that of one draw of random features, and says nothing about the encoder."""


@dataclass(frozen=True)
class Entry:
    """A row: an encoder, the stage whose cells are its nodes, and the file of its weights."""

    name: str
    encoder: str
    stage: Literal[3, 4]
    file: str | None = None

    @property
    def key(self) -> str:
        """Name of its file of results."""
        return f"{self.encoder.replace('/', '_')}{'' if self.file is None else '_pretrained'}"


ENTRIES: Final = (
    Entry("ResNet-18", "resnet18", 3),
    Entry("ResNet-50", "resnet50", 3),
    Entry("Xception", "timm/legacy_xception", 3),
    Entry("EfficientNet-B4", "timm/efficientnet_b4", 3),
    Entry("ConvNeXt-T", "timm/convnext_tiny", 3),
    Entry("ViT-S/16", "timm/vit_small_patch16_224", 4),
    Entry("CLIP ViT-B/16", "timm/vit_base_patch16_clip_224", 4),
    Entry("DINOv2 ViT-S/14", "timm/vit_small_patch14_dinov2", 4),
    Entry("DINOv2 ViT-S/14", "timm/vit_small_patch14_dinov2", 4, "dinov2_vits14.pth"),
    Entry("MobileNetV2", "mobilenet_v2", 3),
    Entry("MobileNetV2", "mobilenet_v2", 3, "mobilenet_v2.pth"),
)


def build(entry: Entry, weights: Path | None, train: TrainMode) -> ResGAT:
    """ResGAT (GATv2) on an encoder."""
    file = None if entry.file is None or weights is None else weights / entry.file
    return ResGAT(
        encoder=entry.encoder,
        encoder_stage=entry.stage,
        weights=file,
        heads=HEADS,
        hidden=HIDDEN,
        image_size=SIDE,
        train=train,
    )


def sizes(entry: Entry) -> dict[str, int]:
    """Nodes, and parameters: all of them, and those that are trained."""
    found = {}
    for train in ("norms", "frozen"):
        net = build(entry, None, train)
        found[f"{train}_trained"] = sum(value.numel() for value in net.parameters() if value.requires_grad)
    return {**found, "parameters": sum(value.numel() for value in net.parameters()), "nodes": net.grid.num_nodes}


def speeds(entry: Entry) -> dict[str, float]:
    """Images a second of processor time: inference, training steps of AdamW, and steps from cached nodes."""
    found = {}
    images = torch.rand(TIMED, 3, SIDE, SIDE)
    for train in ("full", "norms"):
        net = build(entry, None, train).train()
        found[train] = _images_a_second(TIMED, _step(net, lambda net=net: net(images).logit))
    with torch.inference_mode():
        net.eval()
        found["inference"] = _images_a_second(TIMED, lambda: net(images))
        nodes = net.encode(images).repeat(BATCH // TIMED, 1, 1)
    nodes = nodes.clone()  # one of inference mode takes part in no training
    net = build(entry, None, "frozen")
    found["cached"] = _images_a_second(BATCH, _step(net, lambda: net.forward_nodes(nodes).logit))
    return found


def _step(net: ResGAT, forward: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW([one for one in net.parameters() if one.requires_grad], lr=1e-4, fused=True)

    def step() -> None:
        logit = forward()
        F.binary_cross_entropy_with_logits(logit, (torch.arange(len(logit)) % 2).float()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _images_a_second(images: int, work: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS + 1):
        started = time.process_time()  # of one thread: other work on the machine does not count
        work()
        taken.append(time.process_time() - started)
    return images / statistics.median(taken[1:])


def detect(entry: Entry, weights: Path | None, out: Path, seeds: int) -> dict[str, Any]:
    """Train the graph with each seed, on the same encoder, and score the test split."""
    nets: list[ResGAT] = []
    for seed in range(seeds):
        seed_everything(seed, verbose=False)
        net = build(entry, weights, "frozen")
        if nets:
            net.backbone.load_state_dict(nets[0].backbone.state_dict())
        data = FaceDataModule(
            out / "crops",
            image_size=SIDE,
            batch_size=BATCH,
            num_workers=0,
            order="balanced",
            seed=seed,
            features_cache=out / "features",
        )
        module = ResGATModule(net, lambda params: torch.optim.AdamW(params, lr=RATE, weight_decay=0.01))
        Trainer(
            max_epochs=EPOCHS,
            limit_val_batches=0,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        ).fit(module, data)
        nets.append(net.eval())
    scored = score(nets, out / "crops")
    resamples = np.mean([each.resamples["auroc"] for each in scored], axis=0)
    return {
        "auroc": list(scored[0].interval("auroc", resamples)),
        "seeds": [each.values["auroc"].value for each in scored],
    }


@torch.inference_mode()
def score(nets: list[ResGAT], crops: Path) -> list[Scores]:
    """Scores of the test crops by detectors that share an encoder, which runs once."""
    data = FaceDataModule(crops, image_size=SIDE, batch_size=BATCH, num_workers=0)
    data.setup("test")
    logits = []
    for batch in data.test_dataloader():
        nodes = nets[0].encode(batch["image"].float().div_(255))
        logits.append(torch.stack([net.forward_nodes(nodes).logit for net in nets]))
    rows = data.manifest.rows_of("test")
    every = [predictions(data.manifest, rows, mine) for mine in torch.cat(logits, dim=1)]
    return [evaluate({"frame": found["frame"]})[0] for found in every]


def table(results: list[tuple[Entry, dict[str, Any]]]) -> str:
    """The table as Markdown."""
    header = ["encoder", "weights", "nodes", "parameters", "trained: norms", "trained: frozen"]
    header += ["images/s: inference", "train full", "norms", "frozen, cached", "AUROC, frozen", "of each seed"]
    body = []
    for entry, row in results:
        value, low, high = (100 * number for number in row["auroc"][:3])
        body.append(
            [
                entry.name,
                "random" if entry.file is None else "pretrained",
                str(row["nodes"]),
                *(f"{row[name] / 1e6:.2f} M" for name in ("parameters", "norms_trained", "frozen_trained")),
                *(f"{row[name]:,.0f}" for name in ("inference", "full", "norms", "cached")),
                f"{value:.1f} [{low:.1f}, {high:.1f}]",
                ", ".join(f"{100 * seed:.1f}" for seed in row["seeds"]),
            ]
        )
    return markdown_table(header, body)


def stored(file: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Numbers from a file if it has those of the same settings, else computed and written there."""
    if file.is_file() and (known := json.loads(file.read_text()))["settings"] == settings:
        return dict(known)
    found = {**compute(), "settings": settings}
    write_atomic(file, json.dumps(found, indent=1).encode())
    return found


def measured(entry: Entry, weights: Path | None, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The numbers of a row."""
    torch.manual_seed(0)
    timing = {"side": SIDE, "images": TIMED, "rounds": ROUNDS, "heads": HEADS, "hidden": HIDDEN}
    speed = stored(out / f"{entry.encoder.replace('/', '_')}_speed.json", timing, lambda: speeds(entry))
    training = {"clips": arguments.clips, "seeds": arguments.seeds, "epochs": EPOCHS, "rate": RATE, "side": SIDE}
    found = stored(out / f"{entry.key}.json", training, lambda: detect(entry, weights, out, arguments.seeds))
    return {**sizes(entry), **speed, **found}


def main() -> int:
    """Run what is missing and write the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder with dinov2_vits14.pth and mobilenet_v2.pth; else random")
    parser.add_argument("--out", type=Path, default=Path("runs/encoders"))
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--clips", type=int, default=300, help="genuine clips, each with one fake and one frame")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of encoders, such as resnet18; default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # advice on loading processes and frozen layers
    out: Path = arguments.out
    results = []
    try:
        synthesize(out / "videos", videos=arguments.clips, fakes_per_real=1, frames=1, size=160, change=60, extent=2.4)
        print(extract(out / "videos", out / "crops", extraction=Extraction(frames=1, size=SIDE), jobs=1))
        for entry in ENTRIES:
            there = entry.file is None or (arguments.weights and (arguments.weights / entry.file).is_file())
            if there and (not arguments.only or entry.encoder in arguments.only):
                results.append((entry, measured(entry, arguments.weights, out, arguments)))
                print(entry.key, results[-1][1]["auroc"], flush=True)
    except ResGATError as error:
        print(f"encoders: error: {error}", file=sys.stderr)
        return error.status
    text = table(results)
    print(text)
    arguments.table.write_text(f"{_about(arguments)}\n\n{text}\n")
    return 0


def _about(arguments: argparse.Namespace) -> str:
    here = machine()
    processor = f"{here['processor']} ({here['instructions']})"
    return ABOUT.format(clips=arguments.clips, seeds=arguments.seeds, processor=processor)


if __name__ == "__main__":
    sys.exit(main())
