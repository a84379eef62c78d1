"""The certificate of a face: the fewest nodes that keep its verdict and that turn it, of the frame that says most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from resgat_pl.explain.base import evaluation_mode
from resgat_pl.explain.methods.subgraph import certify
from resgat_pl.explain.report.document import plain
from resgat_pl.explain.report.face_records import FaceCertificate
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT


def strongest(logits: Sequence[float], verdict: Literal["fake", "real"]) -> int:
    """Place of the frame that speaks most for a verdict.

    Since a face's score is a mean, this frame is on the side of the threshold on which the face is.
    """
    return max(range(len(logits)), key=lambda place: logits[place] if verdict == "fake" else -logits[place])


def certificate_of(net: DetectorNet, image: Tensor, frame: int, threshold: float) -> FaceCertificate | None:
    """The certificate of one picture; None of a detector without a graph, or whose answer is more than its head's.

    Args:
        net: The detector.
        image: ``(3, S, S)`` float in [0, 1], RGB.
        frame: Its number in the file.
        threshold: Score in [0, 1] above which it is called fake.

    Example:
        >>> import torch
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64).eval()
        >>> certificate_of(net, torch.rand(3, 64, 64), 0, 0.5).numbers["total"]
        16
    """
    if not isinstance(net, ResGAT) or not net.answers_by_head:
        return None
    limit = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else math.copysign(math.inf, threshold - 0.5)
    weight = next(net.parameters())
    with evaluation_mode(net):
        found = certify(net, image[None].to(weight.device, weight.dtype), limit)[0]
    numbers = plain(found)
    numbers["limit"] = limit if math.isfinite(limit) else None
    return FaceCertificate(frame, f"{found.sentence} {found.edge_sentence}".strip(), numbers)
