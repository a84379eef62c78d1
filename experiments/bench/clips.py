"""What clips cost: VideoResGAT on cached node features against images, and its contributions against its prediction.

MobileNetV2 to stride 16 at 224 px (14×14 nodes) with random weights, clips of 16 frames, each temporal part. On cached
features the encoder does not run, which is how a temporal part is trained after a detector of single frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import torch
from measure import Row, faster, report, slower
from torch import Tensor

from resgat_pl.nn.video.ledger import clip_ledger
from resgat_pl.nn.video.net import VideoResGAT

FRAMES = 16
THREADS = 2


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this part."""
    parser.add_argument("--side", type=int, default=224, help="side of the images in px")
    parser.add_argument("--encoder", default="mobilenet_v2", help="encoder, to stride 16")
    parser.add_argument("--threads", type=int, default=THREADS, help="threads of torch")


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each temporal part, from images and from features."""
    torch.set_num_threads(arguments.threads)
    detail = f"{arguments.encoder}, stride 16, {arguments.side} px, {FRAMES} frames, {arguments.threads} threads"
    images = torch.rand(1, FRAMES, 3, arguments.side, arguments.side)
    for temporal in ("mean", "attention", "spacetime", "lstm"):
        torch.manual_seed(0)
        net = VideoResGAT(
            temporal,
            clip_frames=FRAMES,
            encoder=arguments.encoder,
            encoder_stage=3,
            heads=4,
            hidden=32,
            image_size=arguments.side,
        ).eval()
        with torch.inference_mode():
            nodes = net.encode(images)
        cached, whole, rounds = _predict(net, nodes), _predict(net, images), arguments.rounds
        what = f"VideoResGAT, {temporal}, a clip of cached features"
        yield faster(what, cached, "with the encoder", whole, 20, rounds, detail)
        if net.is_additive:
            what = f"contributions of a clip, {temporal}"
            yield slower(what, _explain(net, images), "its prediction", whole, 1.10, rounds, detail)


def _predict(net: VideoResGAT, given: Tensor) -> Callable[[], object]:
    @torch.inference_mode()
    def predict() -> object:
        return net(given) if given.shape[2] == 3 else net.forward_nodes(given)

    return predict


def _explain(net: VideoResGAT, images: Tensor) -> Callable[[], object]:
    @torch.inference_mode()
    def explain() -> object:
        return clip_ledger(net, net.encode(images)).cell

    return explain


if __name__ == "__main__":
    sys.exit(report(rows, __doc__, options))
