"""Training on one GPU: ours against the paper's loop at its own settings and against bare ResNet-50 at ours.

Without a GPU there is nothing to measure, and no row; ``--device cpu --side 64`` only tries that everything runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from faces import write_crops
from measure import Row, interleave, ratio_row, report
from torch import Tensor, nn
from training import Loop, bare

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.transforms import DFDCAugmentation
from resgat_pl.nn.resgat import ResGAT

OWN_BATCH = 128
PAPERS_BATCH = 8


def training_block(
    net: nn.Module, arguments: argparse.Namespace, batch: int, ours: bool, images_in_all: int
) -> Callable[[], None]:
    """So many images' worth of steps: ours are bf16, channels_last, compiled and fused, the paper's none of it."""
    device = torch.device(arguments.device)
    net = net.to(device).train()
    images = torch.randint(256, (batch, 3, arguments.side, arguments.side), dtype=torch.uint8, device=device)
    labels = (torch.arange(batch, device=device) % 2).float()
    model: Callable[[Tensor], object] = net
    if ours:
        net = net.to(memory_format=torch.channels_last)
        model = torch.compile(net) if device.type == "cuda" else net
    adam = torch.optim.Adam(net.parameters(), lr=3e-4, fused=ours)

    def block() -> None:
        for _ in range(max(1, images_in_all // batch)):
            with torch.autocast(device.type, torch.bfloat16, enabled=ours):
                inputs = images.float().div_(255)
                if ours:
                    inputs = inputs.contiguous(memory_format=torch.channels_last)
                found = model(inputs)
                logit = found.squeeze(1) if isinstance(found, Tensor) else found.logit
                loss = F.binary_cross_entropy_with_logits(logit.float(), labels)
            loss.backward()
            adam.step()
            adam.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return block


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """All rows; none without a GPU."""
    if arguments.device is None:
        if not torch.cuda.is_available():
            print("(no GPU: nothing measured)")
            return
        arguments.device = "cuda"
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "a try on the CPU"
    many = 4 * OWN_BATCH
    plain = training_block(bare(), arguments, OWN_BATCH, True, many)
    same = f"bare ResNet-50, same settings, {name}"
    settings = f"bf16, channels_last, compiled, batch {OWN_BATCH}"
    for version, least in (("gatv2", 0.78), ("gatv1", 0.92)):
        label = f"training on a GPU, {version.replace('gat', 'GAT')}"
        ours = training_block(ResGAT(version), arguments, OWN_BATCH, True, many)
        loop = training_block(Loop(version), arguments, PAPERS_BATCH, False, many)
        times = interleave(ours, plain, loop, rounds=arguments.rounds)
        yield ratio_row(f"{label}, images/s", same, times[:2], "≥", least, f"{many} images; {settings}")
        papers = f"the paper's loop at its settings (fp32, batch {PAPERS_BATCH})"
        yield ratio_row(label, papers, [times[0], times[2]], "≥", 10, f"{many} images; {settings}")
        with tempfile.TemporaryDirectory() as folder:
            write_crops(Path(folder), 4096, "jpg")
            yield ratio_row(
                f"input for {version.replace('gat', 'GAT')}: JPEG, DFDC augmentation",
                "training on as many images",
                interleave(_epoch(Path(folder), arguments, many), ours, rounds=arguments.rounds),
                "≤",
                1,
                f"{many} images, {_workers()} workers",
            )


def _epoch(crops: Path, arguments: argparse.Namespace, images: int) -> Callable[[], None]:
    data = FaceDataModule(
        crops,
        augmentation=DFDCAugmentation(),
        image_size=arguments.side,
        batch_size=OWN_BATCH,
        num_workers=_workers(),
        allow_leakage=True,
    )
    data.setup("predict")
    loader = data.train_dataloader()

    def read() -> None:
        seen = 0
        for batch in loader:
            seen += len(batch["image"].to(arguments.device, non_blocking=True))
            if seen >= images:
                return

    return read


def _workers() -> int:
    return max(1, (os.cpu_count() or 2) - 1)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cuda where there is one")
    parser.add_argument("--side", type=int, default=224, help="of the images in px")


if __name__ == "__main__":
    sys.exit(report(rows, __doc__, _options))
