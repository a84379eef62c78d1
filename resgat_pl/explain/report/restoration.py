"""Restoration on the case itself: which regions and nodes, put back from the original, turn the verdict.

What is put in is a genuine face, so the logit can only fall for the right reason; but any exchange makes seams, which a
detector of forgeries may see. So what the named regions do stands beside what as many random nodes do, and beside the
whole original. See ``explain.benchmark.swaps`` for the same over a data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.face_regions import REGIONS
from resgat_pl.core.text import joined
from resgat_pl.data.crop_store.encoding import resize_crop
from resgat_pl.explain.base import Target
from resgat_pl.explain.benchmark import faithfulness as faith
from resgat_pl.explain.benchmark.faces import judge_of
from resgat_pl.explain.benchmark.swaps import DRAWS
from resgat_pl.explain.clauses import NOTICEABLE
from resgat_pl.explain.custody.record import FileHash
from resgat_pl.explain.drawing.sheet import SIDE, Strip, draw_sheet
from resgat_pl.explain.regions import or_average, region_weights
from resgat_pl.explain.report.certificates import strongest
from resgat_pl.explain.report.comparison_records import OriginalComparison, RestoredFace
from resgat_pl.explain.report.document import Document, FaceFrame, FaceTrack
from resgat_pl.explain.report.media import FoundFaces
from resgat_pl.explain.report.node_maps import short
from resgat_pl.explain.report.original import Beside
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.node_geometry import Lattice

_NAMED: Final = 3
_STEPS: Final = 64
"""Numbers of nodes after which the logit is taken, at most."""
_BATCH: Final = 32
_GAIN: Final = 4
"""The difference is shown so many times as strong."""
Picture = NDArray[np.uint8]


def comparison_of(
    document: Document, found: FoundFaces, beside: Beside, original: FileHash, net: DetectorNet
) -> OriginalComparison:
    """Compare the faces of a document with those of an original, and put the original's pixels back.

    Args:
        document: The results.
        found: The faces that they are of.
        beside: The original's, cut out alike.
        original: Its file.
        net: The detector, of single pictures.
    """
    faces = [_restored(document, place, found, beside, net) for place in range(len(document.tracks))]
    if math.isnan(beside.share):
        said = "Around the faces there is too little to see whether the original shows the same scene."
    else:
        said = f"Around the faces {beside.share:.0%} of the two shows the same."
    return OriginalComparison(original, None if math.isnan(beside.share) else short(beside.share), said, faces)


def _restored(document: Document, place: int, found: FoundFaces, beside: Beside, net: DetectorNet) -> RestoredFace:
    track = document.tracks[place]
    threshold = document.decision.threshold
    limit = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else math.copysign(math.inf, threshold - 0.5)
    verdict: Target = "fake" if track.score > threshold else "real"
    most = strongest([frame.logit for frame in track.frames], verdict)
    frame, shot = track.frames[most], found.tracks[place][most]
    # The two crops as the network sees them, and the order of nodes and regions.
    side = net.image_size
    mine, other = (_image(picture, side) for picture in (shot.image, beside.crops[shot.number, place]))
    lattice = net.lattice(side, side)
    sign = 1.0 if verdict == "fake" else -1.0
    name = _method_of(document, frame)
    order = faith.order_of(sign * torch.tensor(frame.maps[name].nodes)[None])[0]
    belongs = _regions_of(frame, lattice)
    by_region = sorted(range(len(REGIONS)), key=lambda number: -sign * frame.maps[name].regions[number])
    most_of_all = max(map(abs, frame.maps[name].regions))
    named = [number for number in by_region if sign * frame.maps[name].regions[number] > NOTICEABLE * most_of_all][
        :_NAMED
    ]
    # All exchanges in one go: regions and nodes one after another, the named regions, and as many random nodes.
    nodes = math.prod(lattice.shape)
    counts = sorted({round(share) for share in np.linspace(1, nodes, min(nodes, _STEPS)).tolist()})
    region_sets = [torch.isin(belongs, torch.tensor(by_region[: k + 1])) for k in range(len(by_region))]
    node_sets = list(faith.first_nodes(order[None], counts)[0])
    named_set = torch.isin(belongs, torch.tensor(named, dtype=torch.int64))
    random_sets = _random(nodes, int(named_set.sum()), document.seed + place)
    chosen = torch.stack([torch.zeros(nodes, dtype=torch.bool), *region_sets, *node_sets, named_set, *random_sets])
    logits = faith.judged(judge_of(net), mine, other, chosen[None], lattice, _BATCH)[0].double()
    start, rest = float(logits[0]), logits[1:]
    by_regions, by_nodes = rest[: len(region_sets)], rest[len(region_sets) : len(region_sets) + len(node_sets)]
    named_logit, random = float(rest[-1 - DRAWS]), rest[-DRAWS:]
    whole = float(by_nodes[-1])

    def turned(logit: float) -> bool:
        return (logit > limit) != (verdict == "fake")

    turned_by = None
    if turned(whole):
        kept = [turned(float(logit)) for logit in by_nodes]
        last = max((number for number, is_turned in enumerate(kept) if not is_turned), default=-1)
        turned_by = counts[last + 1]
    record = RestoredFace(
        face=track.number,
        frame=frame.index,
        logit=short(start),
        original_logit=short(whole),
        limit=short(limit) if math.isfinite(limit) else None,
        regions=[REGIONS[number] for number in by_region],
        region_changes=_changes(start, by_regions),
        nodes=order.tolist(),
        node_counts=counts,
        node_changes=_changes(start, by_nodes),
        named=[REGIONS[number] for number in named],
        named_logit=short(named_logit) if named else None,
        named_nodes=int(named_set.sum()),
        random_logit=short(float(random.mean())) if named else None,
        random_turned=float(np.mean([turned(logit) for logit in random.tolist()])) if named else None,
        turned_by=turned_by,
        difference=short(255 * float((mine - other).abs().mean())),
        sentence=_sentence(track, verdict, named, named_logit, random, start, whole, limit, turned_by, nodes),
    )
    restored = faith.fill(mine, other, named_set[None], lattice)
    return replace(record, png=_sheet(document, record, mine, other, restored))


def _sentence(
    track: FaceTrack,
    verdict: str,
    named: Sequence[int],
    named_logit: float,
    random: Tensor,
    start: float,
    whole: float,
    limit: float,
    turned_by: int | None,
    nodes: int,
) -> str:
    """The finding in words."""
    other = "real" if verdict == "fake" else "fake"

    def side(logit: float) -> str:
        return "fake" if logit > limit else "real"

    ahead = f"Face {track.number}: in the frame that speaks most for {verdict} the logit is {_signed(start)}"
    original = f"; with the whole face of the original it is {_signed(whole)}, {side(whole)}."
    if side(start) != verdict:
        return f"{ahead}, which is {side(start)} by itself{original}"
    if side(whole) == verdict:
        if verdict == "real":
            return f"{ahead}{original} Both are called real, so there is no verdict to turn."
        return (
            f"{ahead}{original} The original is judged alike, so putting its pixels back cannot turn the verdict: what "
            "the detector reacts to is in the original as well."
        )
    said = ahead + original
    if named:
        mean, turned = float(random.mean()), sum(side(logit) == other for logit in random.tolist())
        does = "turns" if side(named_logit) == other else "does not turn"
        said += (
            f" Putting back {joined([REGIONS[number] for number in named])} alone {does} the verdict "
            f"({_signed(named_logit)}); as many random nodes turn it in {turned} of {len(random)} draws "
            f"(mean {_signed(mean)})."
        )
    if turned_by is not None:
        said += f" In the order of their contributions {turned_by} of {nodes} nodes turn it, and more keep it turned."
    return said


def _method_of(document: Document, frame: FaceFrame) -> str:
    """The map that gives the order: one that adds up to the logit if there is one, else the first that is signed."""
    for fits in (lambda m: m.exact and m.unit == "logit", lambda m: m.signed, lambda m: True):
        for method in document.methods:
            if method.name in frame.maps and fits(method) and frame.maps[method.name].logit is None:
                return method.name
    return next(iter(frame.maps))


def _regions_of(frame: FaceFrame, lattice: Lattice) -> Tensor:
    """``(N,)`` int64, the region that has most of each node's cell."""
    landmarks, _ = or_average(torch.tensor(frame.landmarks)[None])
    return region_weights(landmarks, lattice)[0].argmax(dim=0).flatten()


def _random(nodes: int, count: int, seed: int) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(np.isin(np.arange(nodes), rng.permutation(nodes)[:count])) for _ in range(DRAWS)]


def _changes(start: float, logits: Tensor) -> list[float]:
    return [short(change) for change in np.diff([start, *logits.tolist()])]


def _image(picture: Picture, side: int) -> Tensor:
    return torch.from_numpy(np.array(resize_crop(picture, side))).permute(2, 0, 1)[None].float().div(255)


def _sheet(document: Document, record: RestoredFace, mine: Tensor, other: Tensor, restored: Tensor) -> bytes:
    difference = (_GAIN * (mine - other).abs()).clamp(0, 1)
    panels = [_shown(picture) for picture in (mine, other, difference, restored)]
    titles = [
        f"file, logit {_signed(record.logit)}",
        f"original, {_signed(record.original_logit)}",
        f"difference × {_GAIN}",
        "nothing put back" if record.named_logit is None else f"put back, {_signed(record.named_logit)}",
    ]
    strip = Strip(f"frame {record.frame}", panels, titles, record.sentence)
    return draw_sheet([strip], f"{document.file} beside its original, face {record.face}", panel=2.0)[0]


def _shown(image: Tensor) -> Picture:
    picture = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
