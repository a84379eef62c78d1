"""The limits of these maps, to be shown wherever they are."""

from __future__ import annotations

import math

from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods.variants import PredictedMask
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.encoders.two_stages import TwoStages
from resgat_pl.nn.ensemble import Ensemble
from resgat_pl.nn.head import LinearHead, NodeHead, NormalisedHead
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT


def caveats(detector: Detector, calibrated: bool) -> list[str]:
    """Sentences on what the maps of a detector do not show.

    Args:
        detector: The detector.
        calibrated: True if the file's probability is, see ``document.Calibration``.
    """
    net = detector.net
    geometry = net.backbone.geometry if isinstance(net, EncoderNet) else None
    if isinstance(net, Ensemble) and net.adds_up:
        sight = "a node of each member may see the whole crop, and on the common grid it is divided by area."
    elif not isinstance(net, EncoderNet):
        sight = "this detector has none, and the cells of its maps are equal parts of the crop."
    elif geometry is None:
        sight = "how much each sees is not known for this encoder; its cell in the maps is an equal part of the crop."
    elif math.isfinite(geometry.field):
        sight = f"it sees {geometry.field:.0f} px around its place, and the whole crop has {net.image_size}."
    else:
        sight = "through attention or squeeze-and-excitation each sees the whole crop."
    if isinstance(net, EncoderNet) and isinstance(net.backbone, TwoStages):
        sight = f"of the finer grid {sight} A coarse node sees more, and its share is divided evenly over its cell."
    graph = (
        "A contribution keeps the attention as it is: it says what a node adds here, not what would happen without it, "
        "when attention turns to other nodes. NodeAblation answers that.",
        "Attention is often close to uniform; its map then shows the shape of the grid, with a ring along the border, "
        "and nothing about the face. It does not say for which class a node speaks.",
    )
    black_box = (
        f"A {type(net).__name__} is a black box: its maps estimate what the pixels do, and are no parts of its "
        "computation, as the contributions of a ResGAT are.",
    )
    if isinstance(net, Ensemble) and net.adds_up:
        black_box = (
            "The contributions of an ensemble are those of its members, each times its weight. They keep the attention "
            "of every member as it is, and say what a place adds here, not what would happen without it.",
        )
    over_time = (
        "A contribution keeps the attention within and between frames as it is: it says what a node of a frame adds "
        "here, not what would happen without it.",
    )
    when = (
        "A Shapley value says what a whole frame adds, compared with clips that lack it and others; it names no part "
        "of the face.",
    )
    if isinstance(net, VideoResGAT):
        first, *rest = over_time if net.is_additive else when
    else:
        first, *rest = graph if net.has_contributions else black_box
    return [
        first,
        f"A node is not a patch of pixels: {sight}",
        *rest,
        "Explanation methods answer different questions and often disagree. Where they do, no map alone is evidence.",
        *_of_head(net),
        *_of_gates(net),
        "The range of other frames draws the sampled frames of this file again, as if they were independent. Frames of "
        "a video are alike, so it is too narrow, and it does not cover how often the detector errs.",
        *(
            ["The probability is calibrated on validation data, and for their share of fakes only."]
            if calibrated
            else ["The probability is not calibrated: take it as a score."]
        ),
        "A verdict of a detector is no proof. Small, dark, turned or strongly compressed faces are judged less well: "
        "the notes beside the verdict name them by simple bounds, and a file without a note may be unlike the training "
        "media in other ways.",
    ]


def mask_note(detector: Detector, method: type[Explainer]) -> str:
    """Words on the part of a detector's own mask in the logit, and on its outline; empty for other methods."""
    if method is not PredictedMask:
        return ""
    part = " It is a factor of the contributions." if getattr(detector.net, "is_gated", False) else ""
    limit = detector.checkpoint.mask_threshold
    return part if limit is None else f"{part} Outlined in pictures where it is at least {limit:.2f}."


def _of_gates(net: DetectorNet) -> list[str]:
    """The sentences on masks and gates of a ResGAT that has them."""
    if not isinstance(net, ResGAT):
        return []
    said = []
    if net.node_gate is not None and net.is_gated:
        said.append(
            "The detector's own mask (PredictedMask) is one of three factors of a contribution: where, times the "
            "attention a node receives, times what its features say. Its other factors can outweigh it."
        )
    elif net.node_gate is not None:
        said.append(
            "The detector's own mask (PredictedMask) is trained beside the verdict. Mask: not part of the logit"
            + (", but an input of the second pass." if net.two_pass else ".")
        )
    if net.edge_gate is not None:
        said.append(
            "Edges pass gates (KeptEdges): what a gate shuts out is no part of the logit, whatever attention says."
        )
    return said


def _of_head(net: DetectorNet) -> list[str]:
    """The sentence on a head that is not linear, if there is one."""
    if not (net.is_additive if isinstance(net, VideoResGAT) else net.has_contributions):
        return []
    head = net.get_submodule("head")
    if isinstance(head, LinearHead):
        return []
    if isinstance(head, NormalisedHead):
        return [
            "The head divides by the length of the pooled features: contributions are those at this face's length. "
            "They add up exactly, but a change of one node changes the length, and with it all of them in proportion."
        ]
    if isinstance(head, NodeHead):
        return [
            "The head routes each node's votes: contributions are those at this face's routing coefficients. They add "
            "up exactly, but without one node the others may be routed differently."
        ]
    return [
        "The head is not linear: contributions are those of its local linear form at this face. They still add up, "
        "but a larger change of the face may change them too."
    ]
