"""One explanation method on one checkpoint's detected fakes: every score of every face."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.evaluation.metrics.rank import spearman
from resgat_pl.explain.base import Explainer, Explanation
from resgat_pl.explain.benchmark import faithfulness as faith, localisation
from resgat_pl.explain.benchmark.areas import area_iou, best_threshold, pixel_auroc, seam_hits
from resgat_pl.explain.benchmark.beside import GenuineFaces, ValidationFaces
from resgat_pl.explain.benchmark.faces import CHUNK, Array, BenchmarkFaces, judge_of
from resgat_pl.explain.benchmark.fidelity import fidelity
from resgat_pl.explain.benchmark.sanity import cascade, randomised, with_uniform_attention
from resgat_pl.explain.benchmark.scores import SWAPPED
from resgat_pl.explain.benchmark.swaps import excess, swap_scores
from resgat_pl.explain.methods.pixels import baseline_of
from resgat_pl.explain.regions import inside_face
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT

Factory = Callable[[DetectorNet], Explainer]

SLOW: Final = 30
"""Passes of the whole network an image (a backward pass counts twice) above which a method is slow."""
SPARED: Final = 8
"""Controls and sanity checks of slow methods take one face of so many, since they explain each face again."""


@dataclass
class MethodScores:
    """The measurements of one method.

    Attributes:
        maps: ``(F', h, w)`` float32, the maps of the first F' faces.
        scores: By name ``(F,)`` float64; NaN where a score was not measured or is not defined. See
            ``scores.SCORES`` for what they mean; ``top`` and ``total`` are the map's maximum and the sum of its
            absolute values.
        genuine: By name ``(G',)`` float64 of the first G' genuine faces: ``top`` and ``total`` likewise, and
            ``false_regions``, 1 where a node passes the threshold, NaN without one.
        cost: ``forward``, ``backward`` and ``graph`` passes and ``ms`` an image, the largest ``gap`` of completeness.
        traits: ``unit``, ``signed``, ``exact`` of the explainer, and the mean ``agreement`` of one that joins others;
            ``threshold`` on its node map, NaN without any validation fake, and ``validated``, the number of those.
    """

    maps: Tensor
    scores: dict[str, Array] = field(default_factory=dict)
    genuine: dict[str, Array] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for a file."""
        plain = np.array(json.dumps({"cost": self.cost, "traits": self.traits}))
        tables = {"score": self.scores, "genuine": self.genuine}
        named = {f"{kind}_{name}": values for kind, table in tables.items() for name, values in table.items()}
        return {"maps": self.maps.numpy(), "plain": plain, **named}

    @classmethod
    def unpack(cls, arrays: dict[str, NDArray[Any]]) -> MethodScores:
        """The inverse of ``pack``."""
        scores, genuine = (
            {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
            for start in ("score_", "genuine_")
        )
        return cls(torch.from_numpy(arrays["maps"]), scores, genuine, **json.loads(str(arrays["plain"])))


def measure_method(
    net: DetectorNet,
    factory: Factory,
    faces: BenchmarkFaces,
    genuine: GenuineFaces,
    validation: ValidationFaces,
    slow_faces: int,
    sanity_faces: int,
    batch_size: int,
    title: str,
) -> MethodScores:
    """Explain the faces with one method and score it.

    Args:
        net: In evaluation mode.
        factory: Makes the explainer of a network.
        faces: What to explain.
        genuine: Genuine faces, on which a map should be silent; a slow method explains half of ``slow_faces``.
        validation: Faces on which the threshold of the map is chosen; likewise.
        slow_faces: A slow method (``SLOW``) explains so many; deletion and insertion take so many of any method.
        sanity_faces: Faces of the sanity checks, fewer (``SPARED``) for a slow method.
        batch_size: Images at once.
        title: Of the progress bars.
    """
    explainer = factory(net)
    found: list[Explanation] = []
    limit, slow = len(faces), False
    with tqdm(total=limit, desc=title, unit="face", leave=False) as bar:
        while (done := sum(len(part.logit) for part in found)) < limit:
            ahead = CHUNK if found else 1  # the first face measures the passes per face
            found.append(explainer.attribute(faces.images[done : min(done + ahead, limit)]))
            if not done and (slow := found[0].n_forward + 2 * found[0].n_backward > SLOW):
                limit = bar.total = min(len(faces), slow_faces)
            bar.update(len(found[-1].logit))
    result = MethodScores(torch.cat([part.node_map.cpu() for part in found]))
    gaps = torch.cat([part.completeness_gap for part in found])
    result.cost = {
        "forward": found[0].n_forward,
        "backward": found[0].n_backward,
        "graph": found[0].n_graph,
        "ms": 1000 * float(np.median([part.seconds for part in found])),
        "gap": float(gaps.max()),
    }
    # The threshold comes before the scores that need it, from other faces than these.
    beside = max(1, slow_faces // 2) if slow else None
    tuned, spared = (
        _maps(explainer, images[:beside], f"{title}: validation {kind}")
        for images, kind in ((validation.images, "fakes"), (validation.genuine, "genuine faces"))
    )
    threshold = math.nan
    if len(tuned):
        threshold = best_threshold(tuned, validation.masks[: len(tuned)], faces.lattice, spared)
    result.traits = {"unit": explainer.unit, "signed": explainer.signed, "exact": explainer.exact}
    result.traits |= {"threshold": threshold, "validated": len(tuned)}
    if agreements := [part.agreement.cpu() for part in found if part.agreement is not None]:
        result.traits["agreement"] = float(torch.cat(agreements).mean())
    score_maps(net, result, faces, slow_faces, batch_size, title, threshold)
    silent = _maps(explainer, genuine.images[:beside], f"{title}: genuine faces")
    result.genuine = _silence(silent, threshold)
    result.scores |= _control(result.maps, silent, genuine.partner)
    checked = max(1, sanity_faces // (SPARED if slow else 1))
    result.scores |= _sanity(net, factory, result.maps, faces, checked)
    return result


def score_maps(
    net: DetectorNet,
    result: MethodScores,
    faces: BenchmarkFaces,
    slow_faces: int,
    batch_size: int,
    title: str,
    threshold: float = math.nan,
) -> None:
    """Add the scores that follow from the maps alone: localisation and faithfulness."""
    result.scores |= _localisation(result.maps, faces, threshold)
    result.scores |= _restoration(net, result.maps, faces, batch_size, title)
    result.scores |= _graph(net, result.maps, faces, batch_size)
    result.scores |= _deletion(net, result.maps[:slow_faces], faces, batch_size, title)


def _maps(explainer: Explainer, images: Tensor, title: str) -> Tensor:
    """Maps ``(B, h, w)`` of ``images (B, 3, S, S)`` uint8; nothing of no image."""
    parts = torch.split(images, CHUNK) if len(images) else ()
    shown = tqdm(parts, desc=title, unit="batch", leave=False)
    found = [explainer.attribute(part.float() / 255).node_map.cpu() for part in shown]
    return torch.cat(found) if found else torch.zeros(0, 1, 1)


def _localisation(maps: Tensor, faces: BenchmarkFaces, threshold: float) -> dict[str, Array]:
    masks, landmarks = faces.masks[: len(maps)], faces.landmarks[: len(maps)]
    covers = faces.lattice.cover(masks)
    inside = torch.zeros_like(covers, dtype=torch.bool)
    known = landmarks.isfinite().all(dim=(1, 2))
    if known.any():
        inside[known] = inside_face(landmarks[known], faces.lattice)
    whole = torch.from_numpy(faces.extent[: len(maps)] == "whole")
    seam, chance = seam_hits(maps, masks, faces.lattice)
    found = {
        "auroc": localisation.node_auroc(maps, covers),
        "auroc_face": localisation.node_auroc(maps, covers, inside).masked_fill(whole, torch.nan),
        "pointing": localisation.pointing_game(maps, covers),
        "mass": localisation.mass_accuracy(maps, covers),
        "aupro": localisation.aupro(maps, masks, faces.lattice),
        "iou": area_iou(maps, masks, faces.lattice, threshold),
        "pixel_auroc": pixel_auroc(maps, masks, faces.lattice),
        "seam": seam,
        "seam_gain": seam - chance,
        **_strength(maps),
    }
    return _spread(found, torch.arange(len(maps)), len(faces))


def _restoration(
    net: DetectorNet, maps: Tensor, faces: BenchmarkFaces, batch_size: int, title: str
) -> dict[str, Array]:
    who = faces.paired[: len(maps)].nonzero().flatten()
    judge, order = judge_of(net), faith.order_of(maps)
    parts = []
    with tqdm(total=len(who), desc=f"{title}: restoration", unit="face", leave=False) as bar:
        for some in _parts(who):
            parts.append(swap_scores(faces.pairs(judge, some, batch_size), order[some]))
            bar.update(len(some))
    names = (*SWAPPED, "restoration")
    scores = {name: torch.cat([torch.empty(0).double(), *(part[name] for part in parts)]) for name in names}
    effects = spearman(maps[who].flatten(1), faces.effects[who], constant=0)
    found = _spread({**scores, "effects": effects}, who, len(faces))
    return found | excess(found, faces.controls)


def _graph(net: DetectorNet, maps: Tensor, faces: BenchmarkFaces, batch_size: int) -> dict[str, Array]:
    """Fidelity and sparsity, of a detector with a graph whose nodes are the cells of its maps."""
    cells = math.prod(faces.lattice.shape)
    if not isinstance(net, ResGAT) or not net.answers_by_head or net.grid.num_nodes != cells:
        return {}
    count = len(maps)
    return _spread(fidelity(net, faces.images[:count], maps, faces.cut, batch_size), torch.arange(count), len(faces))


def _deletion(net: DetectorNet, maps: Tensor, faces: BenchmarkFaces, batch_size: int, title: str) -> dict[str, Array]:
    """Deletion and insertion in probability, as the field reports them."""
    nodes, judge, count = math.prod(faces.lattice.shape), judge_of(net), len(maps)
    counts, order = faith.steps(nodes), faith.order_of(maps)
    images = faces.images[:count]
    found: dict[str, Tensor] = {}
    for name, filler in (("blur", faith.blurred(images)), ("mean", baseline_of(images, "mean"))):
        empty = faith.in_batches(judge, filler, batch_size)
        ways = {
            "deletion": (images, filler, faces.logit[:count], empty),
            "insertion": (filler, images, empty, faces.logit[:count]),
        }
        for way, (base, put, first, last) in ways.items():
            inner = faith.curves(judge, base, put, order, faces.lattice, counts, batch_size)
            curve = torch.cat([first[:, None], inner, last[:, None]], dim=1).double().sigmoid()
            found[f"{way}_{name}"] = faith.area(curve, counts, nodes)
    return _spread(found, torch.arange(count), len(faces))


def _strength(maps: Tensor) -> dict[str, Tensor]:
    """Strength of each map: its highest node and the sum of its absolute values, ``(B,)`` each."""
    return {"top": maps.amax(dim=(1, 2)), "total": maps.abs().sum(dim=(1, 2))}


def _silence(maps: Tensor, threshold: float) -> dict[str, Array]:
    """Strength of the maps of genuine faces ``(G', h, w)``, and 1 where a node passes the threshold."""
    strength = {name: values.double().numpy() for name, values in _strength(maps).items()}
    named = np.full(len(maps), np.nan) if math.isnan(threshold) else (strength["top"] >= threshold).astype(np.float64)
    return {**strength, "false_regions": named}


def _control(maps: Tensor, genuine: Tensor, partner: NDArray[np.int64]) -> dict[str, Array]:
    """Score 1 if the map's maximum is higher on the fake than on its real counterpart; ties count half."""
    place = torch.from_numpy(partner[: len(maps)])
    who = ((place >= 0) & (place < len(genuine))).nonzero().flatten()
    gap = maps[who].amax(dim=(1, 2)) - genuine[place[who]].amax(dim=(1, 2))
    return _spread({"control": (gap.sign() + 1) / 2}, who, len(partner))


def _sanity(net: DetectorNet, factory: Factory, maps: Tensor, faces: BenchmarkFaces, count: int) -> dict[str, Array]:
    images, maps = faces.images[:count], maps[:count].flatten(1)
    images = images[: len(maps)]

    def explain(changed: DetectorNet, **target: Any) -> Tensor:
        parts = [factory(changed).attribute(part, **target).node_map.cpu() for part in torch.split(images, CHUNK)]
        return torch.cat(parts).flatten(1)

    similar = partial(spearman, maps, constant=0)
    found = {f"random_{name}": similar(explain(randomised(net, parts))).abs() for name, parts in cascade(net).items()}
    found["target_flip"] = similar(explain(net, target="real"))
    if isinstance(net, ResGAT):
        found["uniform_attention"] = similar(explain(with_uniform_attention(net)))
    return _spread(found, torch.arange(len(maps)), len(faces))


def _spread(found: dict[str, Tensor], places: Tensor, count: int) -> dict[str, Array]:
    """Scores of some faces in tables of all; NaN elsewhere."""
    tables = {name: np.full(count, np.nan) for name in found}
    for name, values in found.items():
        tables[name][places.numpy()] = values.double().numpy()
    return tables


def _parts(places: Tensor) -> tuple[Tensor, ...]:
    """As ``torch.split``, which makes one empty part of nothing."""
    return torch.split(places, CHUNK) if len(places) else ()
