"""The limits of these maps, to be shown wherever they are."""

from __future__ import annotations

import math

from resgat_pl.evaluation.detector import Detector


def caveats(detector: Detector, calibrated: bool) -> list[str]:
    """Sentences on what the maps of a detector do not show.

    Args:
        detector: The detector.
        calibrated: True if the file's probability is, see ``document.Calibration``.
    """
    config = detector.net.config
    side = int(config["image_size"])
    geometry = detector.net.backbone.geometry
    if geometry is None:
        sight = "how much each sees is not known for this encoder; its cell in the maps is an equal part of the crop."
    elif math.isfinite(geometry.field):
        sight = f"it sees {geometry.field:.0f} px around its place, and the whole crop has {side}."
    else:
        sight = "through attention or squeeze-and-excitation each sees the whole crop."
    head = (
        "The head is not linear: contributions are those of its local linear form at this face. They still add up, "
        "but a larger change of the face may change them too."
    )
    return [
        "A contribution keeps the attention as it is: it says what a node adds here, not what would happen without it, "
        "when attention turns to other nodes. NodeAblation answers that.",
        f"A node is not a patch of pixels: {sight}",
        "Attention is often close to uniform; its map then shows the shape of the grid, with a ring along the border, "
        "and nothing about the face. It does not say for which class a node speaks.",
        "Explanation methods answer different questions and often disagree. Where they do, no map alone is evidence.",
        *([head] if config["head"] != "linear" else []),
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
