"""What explanations cost beside a plain prediction, and beside ``lime`` on the image.

The network is ResNet-50 on 224 px (7×7 nodes, 9 heads × 512) with random weights: what it says does not change what
it costs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from measure import Row, faster, report, slower

from resgat_pl.explain.methods.graph import Attention, Contribution
from resgat_pl.explain.methods.lime import LIME
from resgat_pl.explain.methods.nodes import NodeLIME, NodeRISE, NodeShapley
from resgat_pl.nn.resgat import ResGAT

BATCH = 16
VARIANTS: dict[str, dict[str, Any]] = {
    "mask gate": {"mask_head": "gate"},
    "mask gate, two passes": {"mask_head": "gate", "two_pass": True},
    "capsules": {"head": "capsule"},
    "edge bottleneck": {"bottleneck": True},
    "uniform weights": {"attention": "gcn"},
}
"""Networks with an optional part, by name."""


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """All rows of both versions of the attention."""
    torch.manual_seed(0)
    threads = f"ResNet-50, 224 px, {torch.get_num_threads()} threads"
    for version in ("gatv1", "gatv2"):  # the last one is what variants are compared with
        net = ResGAT(version).eval().to(memory_format=torch.channels_last)
        images = torch.rand(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
        predict = torch.no_grad()(partial(net, images))
        for kind, target in ((Contribution, 1.05), (Attention, None)):
            what = f"{kind.__name__}, {version.replace('gat', 'GAT')}"
            action = partial(kind(net).attribute, images)
            about = f"batch {BATCH}, {threads}"
            yield slower(what, action, "plain prediction of the batch", predict, target, arguments.rounds, about)
        one = images[:1]
        for method in (NodeLIME(net, samples=2000), NodeShapley(net, samples=2000), NodeRISE(net, samples=2000)):
            what = f"{type(method).__name__}, 2,000 coalitions, {version.replace('gat', 'GAT')}"
            ours, plain = partial(method.attribute, one), torch.no_grad()(partial(net, one))
            about = f"one image, {threads}"
            yield slower(what, ours, "plain prediction of the image", plain, None, arguments.rounds, about)
    yield from variants(images, predict, arguments.rounds, f"batch {BATCH}, {threads}")
    nodes, pixels = (partial(method(net, samples=1000).attribute, one) for method in (NodeLIME, LIME))
    about = f"one image, {threads}"
    yield faster(
        "NodeLIME, 1,000 samples", nodes, "lime on the image, 1,000 samples", pixels, 300, arguments.rounds, about
    )


def variants(images: torch.Tensor, plain: Callable[[], Any], rounds: int, about: str) -> Iterator[Row]:
    """Contributions of each variant beside its own prediction, and its prediction beside that of the last network."""
    for name, options in VARIANTS.items():
        net = ResGAT(**options).eval().to(memory_format=torch.channels_last)
        predict = torch.no_grad()(partial(net, images))
        action = partial(Contribution(net).attribute, images)
        yield slower(f"Contribution, {name}", action, "its plain prediction", predict, 1.10, rounds, about)
        yield slower(f"Prediction, {name}", predict, "prediction of GATv2 without it", plain, None, rounds, about)


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
