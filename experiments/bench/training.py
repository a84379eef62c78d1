"""A training step of ResGAT against bare ResNet-50 and against the paper's loop over the images of a batch."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from measure import Row, interleave, ratio_row, report
from torch import Tensor, nn
from torchvision.models import resnet50

from resgat_pl.nn.resgat import ResGAT

BATCH, SIDE = 8, 224
WIDE = {"fused": True}
"""What both sides of the first rows use besides the paper's Adam at 3e-4."""


class Loop(nn.Module):
    """The paper's way, written from its description: one graph an image, its edges listed anew for each.

    ResNet-50 without pooling and classifier, the 49 cells of its map as nodes, right and lower neighbours joined both
    ways, one layer of PyTorch Geometric with 9 heads of 512, the mean over the nodes, one linear layer.
    """

    def __init__(self, attention: str) -> None:
        super().__init__()
        from torch_geometric.nn import GATConv, GATv2Conv

        self.backbone = nn.Sequential(*list(resnet50().children())[:-2])
        self.gat = (GATConv if attention == "gatv1" else GATv2Conv)(2048, 512, heads=9)
        self.fc = nn.Linear(9 * 512, 1)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, 224, 224)`` float in [0, 1] → logit ``(B, 1)``."""
        rows = []
        for features in self.backbone(images):
            _, height, width = features.shape
            nodes = features.flatten(1).T
            edges = []
            for row in range(height):
                for column in range(width):
                    here = row * width + column
                    if column + 1 < width:
                        edges += [[here, here + 1], [here + 1, here]]
                    if row + 1 < height:
                        edges += [[here, here + width], [here + width, here]]
            index = torch.tensor(edges, device=nodes.device).T.contiguous()
            rows.append(self.gat(nodes, index).mean(dim=0))
        return self.fc(torch.stack(rows))


def bare() -> nn.Module:
    """Torchvision's ResNet-50 with one logit."""
    net = resnet50()
    net.fc = nn.Linear(2048, 1)
    return net


def training_step(net: nn.Module, channels_last: bool, optimiser: dict[str, bool]) -> Callable[[], None]:
    """Forward, backward and a step of Adam on one fixed batch."""
    net.train()
    images = torch.rand(BATCH, 3, SIDE, SIDE)
    if channels_last:
        net.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(BATCH) % 2).float()
    adam = torch.optim.Adam(net.parameters(), lr=3e-4, **optimiser)

    def step() -> None:
        found = net(images)
        logit = found.squeeze(1) if isinstance(found, Tensor) else found.logit
        F.binary_cross_entropy_with_logits(logit, labels).backward()
        adam.step()
        adam.zero_grad()

    return step


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    torch.manual_seed(0)
    threads = f"batch {BATCH}, {SIDE} px, fp32, {torch.get_num_threads()} threads"
    ours = {version: training_step(ResGAT(version), True, WIDE) for version in ("gatv1", "gatv2")}
    reference = training_step(bare(), True, WIDE)
    loops = {version: training_step(Loop(version), False, {}) for version in ("gatv1", "gatv2")}
    # One round of all of them: the five networks share whatever the machine does meanwhile.
    # Single rounds differ by a tenth, as much as the targets leave; hence more of them.
    times = interleave(reference, *ours.values(), *loops.values(), rounds=2 * arguments.rounds)
    plain, first, second, loop1, loop2 = times
    same = "bare ResNet-50, same settings (channels_last, fused Adam)"
    yield ratio_row("training step, GATv2", same, [second, plain], "≤", 1.25, threads)
    yield ratio_row("training step, GATv1", same, [first, plain], "≤", 1.05, threads)
    yield ratio_row("training step, GATv2", "the paper's loop over images", [second, loop2], "≥", 1.5, threads)
    yield ratio_row("training step, GATv1", "the paper's loop over images", [first, loop1], "≥", 1.5, threads)
    images = [BATCH / statistics.median(own) for own in (plain, first, second)]
    print("images/s: bare {:.2f}, GATv1 {:.2f}, GATv2 {:.2f}".format(*images), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(report(rows, __doc__))
