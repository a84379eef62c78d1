"""Parts of the document of ``resgat explain`` that belong to one face: certificate, members and evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FaceCertificate:
    """The fewest nodes that keep the verdict of a face, and that turn it, in one frame.

    Attributes:
        frame: ``FaceFrame.index`` of the frame, the one that speaks most for the verdict.
        sentence: The certificate in words.
        numbers: Fields of ``resgat_pl.explain.methods.subgraph.Certificate``: verdict, logit, limit (None where the
            threshold has no finite logit), bias, total, keeps and turns (nodes, logit, smallest), edges.
    """

    frame: int
    sentence: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Member:
    """One member of an ensemble, for one face.

    Attributes:
        name: Of its checkpoint.
        weight: w, 0 or more.
        temperature: T, by which its logit is divided.
        share: w · logit / T, mean over the frames; the shares add up to ``FaceTrack.logit``.
        regions: Its contributions by region, in the order of ``Document.regions``, with its weight in them; None where
            a member has none.
    """

    name: str
    weight: float
    temperature: float
    share: float
    regions: list[float] | None


@dataclass(frozen=True)
class RegionEvidence:
    """Measurements of a named region of a face, in its strongest frame; see ``report.evidence``.

    Attributes:
        region: Name of the region.
        contribution: Of that frame, in logits.
        beside: Name of the region that it is compared with: of those not named the one that says least.
        frame: ``FaceFrame.index`` of the frame.
        box: x0, y0, x1, y1 of the square that was measured, in px of the crop.
        noise: Standard deviation of the noise in grey levels of 255.
        noise_beside: The same of ``beside``.
        high: Power above a quarter of a cycle per px, as a share of all, in dB.
        high_beside: The same of ``beside``.
        noise_percentile: Share of genuine reference faces with less noise in this region; None without a reference.
        high_percentile: Likewise of ``high``.
    """

    region: str
    contribution: float
    beside: str
    frame: int
    box: list[int]
    noise: float
    noise_beside: float
    high: float
    high_beside: float
    noise_percentile: float | None
    high_percentile: float | None
