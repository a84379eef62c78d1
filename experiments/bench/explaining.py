"""What explanations cost: ratios of times measured side by side in one run, A B A B, medians.

The network is ResNet-50 on 224 px (7×7 nodes, 9 heads × 512) with random weights: what it says does not change what
it costs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from resgat_pl.explain import LIME, Attention, Contribution, NodeLIME, NodeRISE, NodeShapley
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.types import AttentionVersion


def times(rounds: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of each action, all of them in turn in each round, after one round that does not count."""
    taken: list[list[float]] = [[] for _ in actions]
    for turn in range(rounds + 1):
        for action, own in zip(actions, taken, strict=True):
            started = time.perf_counter()
            action()
            if turn:
                own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in taken]


def measure(attention: AttentionVersion, batch: int, rounds: int, lime: bool) -> dict[str, str]:
    """Every row for one version of the attention."""
    net = ResGAT(attention).eval()
    images = torch.rand(batch, 3, 224, 224)
    one = images[:1]

    @torch.no_grad()
    def predict() -> object:
        return net(images)

    maps = (Contribution(net), Attention(net))
    plain, *exact = times(rounds, predict, *(partial(method.attribute, images) for method in maps))
    found = {
        f"{type(method).__name__} / plain prediction, batch {batch}": f"{seconds / plain:.3f} ×"
        for method, seconds in zip(maps, exact, strict=True)
    }
    for kind in (NodeLIME, NodeShapley, NodeRISE):
        (seconds,) = times(rounds, partial(kind(net, samples=2000).attribute, one))
        found[f"{kind.__name__}, 2,000 coalitions, one image"] = f"{seconds:.3f} s"
    if lime:
        pair = (NodeLIME(net, samples=1000), LIME(net, samples=1000))
        nodes, pixels = times(1, *(partial(method.attribute, one) for method in pair))
        found["lime on the image / NodeLIME, 1,000 samples each"] = f"{pixels / nodes:.0f} ×"
    return found


def main() -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lime", action="store_true", help="also lime on images, 1,000 samples: minutes on a CPU")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    print("| what | GATv1 | GATv2 |\n|---|---|---|")
    options = (arguments.batch, arguments.rounds, arguments.lime)
    first, second = measure("gatv1", *options), measure("gatv2", *options)
    for name, value in first.items():
        print(f"| {name} | {value} | {second[name]} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
