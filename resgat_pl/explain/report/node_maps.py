"""Maps of a report's document: numbers of nodes and regions, means over a face, and the scale of their colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.explain.base import Explainer, Explanation
from resgat_pl.explain.report import document as doc
from resgat_pl.nn.node_geometry import Lattice

_JPEG: Final = [cv2.IMWRITE_JPEG_QUALITY, 90]
_NOTHING: Final = 1e-9  # of a region outside the crop


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def scale_in(method: type[Explainer], found: dict[str, Explanation]) -> float:
    """See ``document.Method.scale``. Methods in logits share one, so that they can be compared by eye."""
    alike = [e for e in found.values() if e.unit == "logit"] if method.unit == "logit" else [found[method.__name__]]
    return scale_of(alike)


def scale_of(alike: Iterable[Explanation]) -> float:
    """Scale of some maps, see ``document.Method.scale``: two digits, above nearly all of their values."""
    values = torch.cat([explanation.node_map.abs().flatten() for explanation in alike])
    most = float(np.quantile(values.numpy(), 0.995)) or float(values.max())
    if not (math.isfinite(most) and most > 0):
        return 1.0
    step = 10.0 ** (math.floor(math.log10(most)) - 1)
    return float(f"{math.ceil(round(most / step, 6)) * step:.2g}")


def node_maps(explanation: Explanation, weights: Tensor) -> list[doc.NodeMap]:
    """One a face; ``weights (B, 9, h, w)`` are the shares of the nodes in the regions."""
    regions = torch.einsum("brhw,bhw->br", weights.double(), explanation.node_map.double())
    if explanation.unit == "probability" and not explanation.signed:  # of which a sum means nothing
        regions = regions / weights.double().sum(dim=(2, 3)).clamp(min=_NOTHING)
    in_logits = explanation.unit == "logit"
    return [
        doc.NodeMap(
            nodes=_rows(explanation.node_map[place]),
            regions=[short(value) for value in regions[place].tolist()],
            bias=short(float(explanation.bias[place])) if in_logits else None,
            gap=short(float(explanation.completeness_gap[place])) if in_logits else None,
            agreement=None if explanation.agreement is None else short(float(explanation.agreement[place])),
        )
        for place in range(len(explanation.node_map))
    ]


def region_areas(weights: Tensor, lattice: Lattice) -> Tensor:
    """Share of each region in the area of the crop, ``(B, 9)`` float64 in [0, 1]; those of a face sum to 1.

    Args:
        weights: ``(B, 9, h, w)`` shares of the nodes in the regions, each node's summing to 1.
        lattice: Of the nodes, whose cells at the border may be smaller or larger than the others.
    """
    rows, columns = (torch.tensor(edges, dtype=torch.float64).diff() for edges in lattice.edges)
    return torch.einsum("brhw,h,w->br", weights.double().cpu(), rows, columns)


def mean_map(parts: Sequence[doc.NodeMap], explanation: Explanation, part: slice) -> doc.NodeMap:
    """Mean map of a face from ``parts``, those of its frames, which are ``part`` of the explanation."""
    edges = explanation.edge_scores
    nodes = explanation.node_map[part].double().mean(dim=0)
    logit = float(explanation.logit[part].double().mean())
    bias = mean_of_known(node_map.bias for node_map in parts)
    return doc.NodeMap(
        nodes=_rows(nodes),
        regions=[short(fmean(column)) for column in zip(*(node_map.regions for node_map in parts), strict=True)],
        bias=None if bias is None else short(bias),
        gap=None if bias is None else short(abs(float(nodes.sum()) + bias - logit) / (1 + abs(logit))),
        logit=mean_of_known(node_map.logit for node_map in parts),
        edges=None if edges is None else [short(value) for value in edges[part].double().mean(dim=0).tolist()],
        agreement=mean_of_known(node_map.agreement for node_map in parts),
    )


def _rows(nodes: Tensor) -> list[list[float]]:
    return [[short(value) for value in row] for row in nodes.tolist()]


def short(value: float) -> float:
    """Seven significant digits, which is what float32 holds: sums still come out, and files stay small."""
    return float(f"{value:.7g}")


def jpeg_of(image: NDArray[np.uint8]) -> bytes:
    """``(H, W, 3)`` uint8 RGB as a JPEG file."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes()
