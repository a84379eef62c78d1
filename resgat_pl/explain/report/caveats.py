"""The limits of these maps, to be shown wherever they are."""

from __future__ import annotations

import math

from resgat_pl.evaluation.detector import Detector
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.head import LinearHead, NormalisedHead
from resgat_pl.nn.video.net import VideoResGAT


def caveats(detector: Detector, calibrated: bool) -> list[str]:
    """Sentences on what the maps of a detector do not show.

    Args:
        detector: The detector.
        calibrated: True if the file's probability is, see ``document.Calibration``.
    """
    net = detector.net
    geometry = net.backbone.geometry if isinstance(net, EncoderNet) else None
    if not isinstance(net, EncoderNet):
        sight = "this detector has none, and the cells of its maps are equal parts of the crop."
    elif geometry is None:
        sight = "how much each sees is not known for this encoder; its cell in the maps is an equal part of the crop."
    elif math.isfinite(geometry.field):
        sight = f"it sees {geometry.field:.0f} px around its place, and the whole crop has {net.image_size}."
    else:
        sight = "through attention or squeeze-and-excitation each sees the whole crop."
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
        "The interval is over the sampled frames of this file. It does not cover how often the detector errs on media "
        "unlike those it was trained on.",
        *(
            ["The probability is calibrated on validation data, and for their share of fakes only."]
            if calibrated
            else ["The probability is not calibrated: take it as a score."]
        ),
        "A verdict of a detector is no proof. Small, dark, turned or strongly compressed faces are judged less well: "
        "the notes beside the verdict name them by simple bounds, and a file without a note may be unlike the training "
        "media in other ways.",
    ]


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
    return [
        "The head is not linear: contributions are those of its local linear form at this face. They still add up, "
        "but a larger change of the face may change them too."
    ]
