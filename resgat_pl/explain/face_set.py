"""A fixed set of faces, explained: what ``Heatmaps`` draws, describes and logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.face_regions import REGIONS
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.loading.clips import FaceClips
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.explain.benchmark.localisation import node_auroc
from resgat_pl.explain.drawing.overlay import SheetFace
from resgat_pl.explain.methods.clips import ClipContribution
from resgat_pl.explain.methods.gradient import InputXGradient
from resgat_pl.explain.methods.graph import Attention, Contribution, read_outs
from resgat_pl.explain.methods.variants import PredictedMask
from resgat_pl.explain.regions import inside_face, or_average, region_weights
from resgat_pl.explain.report.outputs import OutputMaps, output_maps
from resgat_pl.explain.sentences import Finding, attention_entropy, unexplained
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

_BATCH = 16


@dataclass(frozen=True)
class ExplainedFaces:
    """Faces and what the network makes of them; tensors are on the CPU, maps in logits of *fake* but for attention.

    Attributes:
        images: ``(n, 3, S, S)`` uint8, RGB.
        labels: ``(n,)`` int64, 1 = fake.
        masks: For each face its ``(S, S)`` uint8 manipulation mask, or None.
        landmarks: ``(n, 5, 2)`` float32, the average face's where a face has none.
        average_face: ``(n,)`` bool, where that is so.
        logit: ``(n,)`` float32.
        maps: By name ``(n, h, w)`` float32. Of a network with contributions ``contribution``, whose sum over the nodes
            and ``bias`` are ``logit``, and ``attention``, see ``attention_map``; else ``input × gradient``.
        lattice: Where the nodes are.
        bias: ``(n,)`` float32, b' of ``nn.contribution``; None without contributions.
        entropy: ``(n,)`` float32, ``attention_entropy``; None likewise.
        reason: A sentence on why there are no contributions; empty where there are.
        outputs: Further outputs of the network with their maps; None of one without any. The kind of a face is then
            the likeliest.
    """

    images: Tensor
    labels: Tensor
    masks: Sequence[NDArray[np.uint8] | None]
    landmarks: Tensor
    average_face: Tensor
    logit: Tensor
    maps: Mapping[str, Tensor]
    lattice: Lattice
    bias: Tensor | None = None
    entropy: Tensor | None = None
    reason: str = ""
    outputs: OutputMaps | None = None

    @property
    def first(self) -> Tensor:
        """The first of the maps, which is measured."""
        return next(iter(self.maps.values()))

    def regions(self) -> Tensor:
        """Sum of the first map over each face region, ``(n, len(REGIONS))`` float32.

        Of contributions these and ``bias`` add up to ``logit``.
        """
        return torch.einsum("brhw,bhw->br", region_weights(self.landmarks, self.lattice), self.first)

    def findings(self) -> list[Finding]:
        """The numbers that the words are made of."""
        if self.bias is None or self.entropy is None:
            return unexplained(self.logit, self.reason)
        tables = self.regions().tolist()
        said = [
            Finding(
                logit=float(self.logit[i]),
                bias=float(self.bias[i]),
                regions=dict(zip(REGIONS, tables[i], strict=True)),
                average_face=bool(self.average_face[i]),
                entropy=float(self.entropy[i]),
            )
            for i in range(len(tables))
        ]
        return said if self.outputs is None else self.outputs.findings(said, None)

    def sheet(self) -> list[SheetFace]:
        """The faces to draw, with their maps."""
        probability = self.logit.sigmoid()
        return [
            SheetFace(
                image=self.images[i].permute(1, 2, 0).numpy(),
                title=f"{'fake' if self.labels[i] == FAKE else 'real'}, p={float(probability[i]):.2f}",
                mask=mask,
                maps={name: maps[i].numpy() for name, maps in self.maps.items()},
                lattice=self.lattice,
            )
            for i, mask in enumerate(self.masks)
        ]


def in_turn(queues: Sequence[Sequence[int]]) -> list[int]:
    """The first of every queue, then the second of every queue that has one, and so on.

    Example:
        >>> in_turn([[1, 2, 3], [4], [5, 6]])
        [1, 4, 5, 2, 6, 3]
    """
    return [entry for turn in zip_longest(*queues) for entry in turn if entry is not None]


def choose_faces(faces: FaceCrops, count: int) -> NDArray[np.int64]:
    """Choose a balanced set by rule: half real, half fake, spread over methods and videos, the middle frame of each.

    Returns:
        ``(n,)`` int64 positions in ``faces``, real ones first; the same for the same data.
    """
    methods = faces.manifest.column("method")[faces.rows]
    videos = faces.manifest.video_codes[faces.rows]
    chosen: list[int] = []
    for label in (REAL, FAKE):
        members = np.flatnonzero((faces.labels == label) & ~faces.untouched)
        by_method: dict[str, list[int]] = {}
        for video in np.unique(videos[members]):
            frames = members[videos[members] == video]
            middle = int(frames[len(frames) // 2])
            by_method.setdefault(methods[middle], []).append(middle)
        rng = np.random.default_rng(0)
        queues = [rng.permutation(by_method[method]).tolist() for method in sorted(by_method)]
        chosen += in_turn(queues)[: count // 2 + (count % 2) * label]
    return np.array(chosen, np.int64)


class _Maps(NamedTuple):
    """Maps of faces and the rest that a network gives, as in ``ExplainedFaces``."""

    logit: Tensor
    maps: Mapping[str, Tensor]
    lattice: Lattice
    bias: Tensor | None
    entropy: Tensor | None
    reason: str
    outputs: OutputMaps | None = None


def _maps_of(net: DetectorNet, images: Tensor) -> _Maps:
    """Contributions and attention of a ResGAT; of a detector without contributions input × gradient."""
    if isinstance(net, VideoResGAT) and net.is_additive:
        alone = ClipContribution(net, _BATCH).attribute(images).cpu()
        return _Maps(alone.logit, {"contribution": alone.node_map}, alone.lattice, alone.bias, None, "")
    if isinstance(net, ResGAT) and net.has_contributions:
        masked = [PredictedMask] if net.node_gate is not None else []
        read, attention = read_outs(net, images, [Contribution, Attention, *masked], _BATCH)
        found = read["Contribution"]
        maps = {"contribution": found.node_map, "attention": read["Attention"].node_map}
        if masked:
            factor = "a factor of contributions" if net.is_gated else "not part of the logit"
            maps[f"mask: {factor}"] = read["PredictedMask"].node_map
        entropy = attention_entropy(attention, found.edge_index.cpu())
        further = output_maps(net, images, _BATCH)
        if further is not None:
            maps |= further.of_each_face()
        return _Maps(found.logit, maps, found.lattice, found.bias, entropy, "", further)
    found = InputXGradient(net, _BATCH).attribute(images).cpu()
    reason = f"No region is named: the logit of a {type(net).__name__} is no sum over regions."
    return _Maps(found.logit, {"input × gradient": found.node_map}, found.lattice, None, None, reason)


def explain_faces(net: DetectorNet, faces: FaceCrops, chosen: NDArray[np.int64]) -> ExplainedFaces:
    """Explain the faces at some positions, at least one, in evaluation mode; the network's mode is restored."""
    if isinstance(faces, FaceClips):  # of each clip one frame, by itself
        faces = FaceCrops(faces.manifest, faces.rows, faces.image_size)
    positions = chosen.tolist()
    images = torch.stack([faces[position]["image"] for position in positions])
    found = _maps_of(net, images / 255)
    points = faces.manifest.column("landmarks")[faces.rows[chosen]]
    unknown = np.full(10, np.nan, np.float32)
    known = np.stack([unknown if face is None else np.asarray(face, np.float32) for face in points])
    landmarks, average_face = or_average(torch.from_numpy(known).reshape(-1, 5, 2))
    if average_face.any():
        rank_zero_info(
            f"{int(average_face.sum())} of {len(positions)} explained faces have no usable landmarks: their regions "
            "are those of an average face."
        )
    return ExplainedFaces(
        images=images,
        labels=torch.from_numpy(faces.labels[chosen]),
        masks=[faces.mask(position) for position in positions],
        landmarks=landmarks,
        average_face=average_face,
        **found._asdict(),
    )


def measure(seen: ExplainedFaces) -> dict[str, float]:
    """Summarise the explanations of a set of faces.

    Returns:
        In logits of *fake*, each a mean over the set's fakes: ``explain/region/<name>``, the region's contribution;
        ``explain/bias``, b'; and ``explain/logit``, which is the sum of these. The same over the real faces as
        ``explain/region_real/<name>``, ``explain/bias_real`` and ``explain/logit_real``. Over all faces
        ``explain/attention_entropy``, see ``attention_entropy``. Over the fakes with a mask ``explain/node_auroc``, of
        the contributions against the mask, and ``explain/node_auroc_inside``, among the nodes inside the face only.
        What is not defined is left out: a class without faces, an AUROC without manipulated or without clean nodes,
        and everything once the network gives values that are not finite. Of a network without contributions there is
        ``explain/logit``, ``explain/logit_real``, and ``explain/node_auroc`` and ``_inside`` of input × gradient.
    """
    entropy = torch.zeros(0) if seen.entropy is None else seen.entropy
    if not all(bool(part.isfinite().all()) for part in (seen.logit, seen.first, entropy)):
        rank_zero_warn("The explanations have values that are not finite, so nothing is measured: training diverged.")
        return {}
    values = {} if seen.entropy is None else {"explain/attention_entropy": float(seen.entropy.mean())}
    regions = seen.regions()
    for label, suffix in ((FAKE, ""), (REAL, "_real")):
        members = seen.labels == label
        if not members.any():
            continue
        if seen.bias is not None:
            for name, mean in zip(REGIONS, regions[members].mean(dim=0).tolist(), strict=True):
                values[f"explain/region{suffix}/{name.replace(' ', '_')}"] = mean
            values[f"explain/bias{suffix}"] = float(seen.bias[members].mean())
        values[f"explain/logit{suffix}"] = float(seen.logit[members].mean())
    return values | _localisation(seen)


def _localisation(seen: ExplainedFaces) -> dict[str, float]:
    masked = [i for i, mask in enumerate(seen.masks) if mask is not None and seen.labels[i] == FAKE]
    if not masked:
        return {}
    masks = torch.stack([torch.from_numpy(seen.masks[i]) for i in masked])
    covers = seen.lattice.cover(masks.float() / 255)
    maps, inside = seen.first[masked], inside_face(seen.landmarks[masked], seen.lattice)
    scores = {
        "explain/node_auroc": float(node_auroc(maps, covers).nanmean()),
        "explain/node_auroc_inside": float(node_auroc(maps, covers, inside).nanmean()),
    }
    return {name: score for name, score in scores.items() if not math.isnan(score)}
