"""What inference costs: ResGAT against the bare encoder, exported files against eager PyTorch, and int8's AUROC.

Times are of ResNet-50 on 224 px with random weights, which cost what trained ones do. AUROC needs a trained detector:
``--ckpt``, or a small one is trained here on synthetic videos (minutes). Keep the machine quiet.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torchvision
from checkpoints import save_untrained
from measure import Row, faster, interleave, ratio_row, report
from torch import Tensor, nn

from resgat_pl.evaluation.detector import Detector
from resgat_pl.export.command import export
from resgat_pl.export.int8 import to_int8
from resgat_pl.export.runtime import ExportedDetector
from resgat_pl.nn.resgat import ResGAT

BATCHES = (1, 32)
THREADS = 2


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Every row."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    detail = f"{THREADS} threads, 224 px, channels_last"
    plain = torchvision.models.resnet50(num_classes=1).eval().to(memory_format=torch.channels_last)
    for attention in ("gatv2", "gatv1"):
        net = ResGAT(attention).eval().to(memory_format=torch.channels_last)
        for batch in BATCHES:
            images = torch.rand(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
            name = f"ResGAT, {attention}, eager, batch {batch}"
            times = interleave(eager(net, images), eager(plain, images), rounds=arguments.rounds)
            yield ratio_row(name, "torchvision's ResNet-50", times, "≤", 1.25, detail)
    with TemporaryDirectory() as folder:
        yield from _exported(Path(folder), arguments.rounds)
        yield _accuracy(Path(folder), arguments.ckpt, arguments.crops)


def eager(net: nn.Module, images: Tensor) -> Callable[[], object]:
    """A prediction as PyTorch users make it."""

    @torch.inference_mode()
    def predict() -> object:
        return net(images)

    return predict


def _exported(folder: Path, rounds: int) -> Iterator[Row]:
    """Times of the exported files against eager, in whichever memory format eager is faster."""
    net = ResGAT("gatv2").eval()
    save_untrained(net, folder / "random.ckpt")
    export(folder / "random.ckpt", folder / "float32.onnx")
    # Times do not depend on the ranges, so noise will do; nothing is said about what this file predicts.
    (folder / "int8.onnx").write_bytes((folder / "float32.onnx").read_bytes())
    noise = np.random.default_rng(0)
    to_int8(folder / "int8.onnx", (noise.random((2, 3, 224, 224), np.float32) for _ in range(2)))
    last = ResGAT("gatv2").eval().to(memory_format=torch.channels_last)
    last.load_state_dict(net.state_dict())
    for batch in BATCHES:
        images = torch.rand(batch, 3, 224, 224)
        arrays = images.numpy()
        formats = {
            "contiguous": eager(net, images),
            "channels_last": eager(last, images.contiguous(memory_format=torch.channels_last)),
        }
        taken = [sum(seconds) for seconds in interleave(*formats.values(), rounds=2)]
        best = min(zip(taken, formats, strict=True))[1]
        for precision in ("float32", "int8"):
            detector = ExportedDetector.load(folder / f"{precision}.onnx", THREADS)
            yield faster(
                f"exported, {precision}, with contributions, gatv2, batch {batch}",
                partial(detector, arrays),
                f"eager without, {best}",
                formats[best],
                2.0,
                rounds,
                f"{THREADS} threads, 224 px",
            )


def _accuracy(folder: Path, checkpoint: Path | None, crops: Path | None) -> Row:
    """AUROC of int8 minus that of the checkpoint, over validation crops."""
    if checkpoint is None:
        checkpoint = train(folder)
    found = export(checkpoint, folder / "trained.onnx", int8=True, calibration=crops, tolerance=0.999)
    match = re.search(r"([\d,]+) validation crops: AUROC ([\d.]+) instead of ([\d.]+)", found)
    if match is None:
        raise RuntimeError(f"unexpected: {found}")
    after, before = float(match[2]), float(match[3])
    config = Detector.load(checkpoint).net.config
    detail = f"{after:.4f} instead of {before:.4f}, {match[1]} crops, {config['encoder']}, {config['image_size']} px"
    return Row("int8: difference of AUROC", "its checkpoint", abs(after - before), "≤", 0.005, "AUROC", detail=detail)


def train(folder: Path) -> Path:
    """A small detector, trained on synthetic videos: minutes on two cores."""
    config = Path(__file__).parents[2] / "configs" / "smoke.yaml"
    for command in (
        ["synth", folder / "videos", "--videos", 60, "--frames", 8, "--size", 192],
        ["fit", "--config", config, "--data.root", folder / "videos", "--data.crops", folder / "crops",
         "--trainer.default_root_dir", folder / "run", "--trainer.max_epochs", 4, "--trainer.logger", "false"],
    ):  # fmt: skip
        line = [sys.executable, "-m", "resgat_pl", *map(str, command)]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - this program itself
    (best,) = (folder / "run").rglob("best.ckpt")
    return best


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ckpt", type=Path, help="trained detector for the row of AUROC; default: train a small one")
    parser.add_argument("--crops", type=Path, help="its crops; default: those it was trained on")


if __name__ == "__main__":
    sys.exit(report(rows, __doc__, _options))
