"""Training on a vision transformer: the graph's share of a step, parts of the encoder trained, cached features.

ViT-S/16 with random weights, whose speed is that of trained ones. An epoch is one of ``Trainer.fit``, loading included
and validation not, in seconds a crop: the slow side takes fewer crops.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from faces import write_crops
from lightning.pytorch import Callback, Trainer
from measure import Row, interleave, ratio_row, report
from torch import Tensor, nn

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule

VIT = "timm/vit_small_patch16_224"
SMALL = {"encoder": VIT, "heads": 6, "hidden": 64}
"""Heads as wide as the encoder's own: those of configs/dinov2_norms.yaml."""
PAPERS = {"encoder": VIT, "heads": 9, "hidden": 512}
CACHED = {
    "ViT-S/16, GATv2, 6 × 64": SMALL,
    "ResNet-50, GATv1, 9 × 512": {"attention": "gatv1"},
    "ResNet-50, GATv2, 9 × 512": {"attention": "gatv2"},
}
"""Networks whose epochs are measured."""
BATCH, SIDE = 8, 224
CROPS = 512
"""Of an epoch from the cache."""
WITH_ENCODER = 6
"""Batches of an epoch with the encoder."""


def bare() -> nn.Module:
    """The ViT with one logit from its class token."""
    import timm

    return timm.create_model("vit_small_patch16_224", num_classes=1, img_size=SIDE)


def step_of(net: nn.Module) -> Callable[[], None]:
    """Forward, backward and a step of AdamW over what is trained, on one fixed batch."""
    net.train()
    images = torch.rand(BATCH, 3, SIDE, SIDE)
    labels = (torch.arange(BATCH) % 2).float()
    optimizer = torch.optim.AdamW([one for one in net.parameters() if one.requires_grad], lr=1e-4, fused=True)

    def step() -> None:
        found = net(images)
        logit = found.squeeze(1) if isinstance(found, Tensor) else found.logit
        F.binary_cross_entropy_with_logits(logit, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class EpochTime(Callback):
    """Seconds of the training epoch, from before its first batch is loaded."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        self.seconds = time.perf_counter() - self.started


def epoch_of(net: ResGAT, crops: Path, cache: Path | None) -> Callable[[], float]:
    """Seconds a crop of an epoch, from the cache or with the encoder."""
    module = ResGATModule(net)
    limit = 1.0 if cache else WITH_ENCODER

    def epoch() -> float:
        data = FaceDataModule(
            crops, image_size=SIDE, batch_size=BATCH, num_workers=0, features_cache=cache, allow_leakage=True
        )
        timer = EpochTime()
        quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        Trainer(
            max_epochs=1,
            accelerator="cpu",
            limit_train_batches=limit,
            limit_val_batches=0,
            enable_progress_bar=False,
            callbacks=[timer],
            **quiet,
        ).fit(module, data)
        batches = len(data.train_dataloader()) if cache else WITH_ENCODER
        return timer.seconds / (batches * BATCH)

    return epoch


def steps(arguments: argparse.Namespace) -> Iterator[Row]:
    """Rows of one step, all measured in turn."""
    torch.manual_seed(0)
    modes = ("norms", "lora", "frozen")
    nets = {
        "bare": bare(),
        "GATv1, 9 × 512": ResGAT("gatv1", **PAPERS),
        "GATv2, 9 × 512": ResGAT("gatv2", **PAPERS),
        "GATv2, 6 × 64": ResGAT("gatv2", **SMALL),
        **{mode: ResGAT("gatv2", **SMALL, train=mode) for mode in modes},
    }
    times = dict(zip(nets, interleave(*map(step_of, nets.values()), rounds=arguments.rounds), strict=True))
    settings = f"batch {BATCH}, {SIDE} px, fp32, {torch.get_num_threads()} threads"
    for name in ("GATv1, 9 × 512", "GATv2, 9 × 512", "GATv2, 6 × 64"):
        against = "bare ViT-S/16 with a linear head, same settings"
        yield ratio_row(
            f"step of ResGAT on ViT-S/16, {name}", against, [times[name], times["bare"]], "≤", 1.1, settings
        )
    for mode, target in zip(modes, (0.75, None, None), strict=True):
        yield ratio_row(
            f"step of ResGAT on ViT-S/16, train {mode}",
            "train full",
            [times[mode], times["GATv2, 6 × 64"]],
            "≤",
            target,
            f"GATv2, 6 × 64; {settings}",
        )


def epochs(arguments: argparse.Namespace) -> Iterator[Row]:
    """Rows of an epoch from cached features, against the same training with the frozen encoder."""
    with tempfile.TemporaryDirectory() as folder:
        crops = Path(folder) / "crops"
        crops.mkdir()
        write_crops(crops, CROPS * 10 // 9, "jpg", SIDE)
        for name, options in CACHED.items():
            net = ResGAT(**options, train="frozen")
            cached, slow = epoch_of(net, crops, Path(folder) / "features"), epoch_of(net, crops, None)
            pairs = [(cached(), slow()) for _ in range(arguments.rounds + 1)][1:]
            yield ratio_row(
                f"epoch from cached features, {name}",
                "with the frozen encoder",
                [list(each) for each in zip(*pairs, strict=True)],
                "≥",
                20,
                f"a crop; batches of {BATCH}, {SIDE} px, {torch.get_num_threads()} threads",
            )


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # advice on loading processes and frozen layers
    yield from steps(arguments)
    yield from epochs(arguments)


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
