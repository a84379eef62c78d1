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
from resgat_pl.explain.benchmark.faces import CHUNK, Array, BenchmarkFaces, judge_of
from resgat_pl.explain.benchmark.sanity import cascade, randomised, with_uniform_attention
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
            ``leaderboard.SCORES`` for what they mean.
        cost: ``forward``, ``backward`` and ``graph`` passes and ``ms`` an image, the largest ``gap`` of completeness.
        traits: ``unit``, ``signed``, ``exact`` of the explainer.
    """

    maps: Tensor
    scores: dict[str, Array] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for a file."""
        plain = np.array(json.dumps({"cost": self.cost, "traits": self.traits}))
        return {"maps": self.maps.numpy(), "plain": plain, **{f"score_{n}": v for n, v in self.scores.items()}}

    @classmethod
    def unpack(cls, arrays: dict[str, NDArray[Any]]) -> MethodScores:
        """The inverse of ``pack``."""
        scores = {name.removeprefix("score_"): value for name, value in arrays.items() if name.startswith("score_")}
        return cls(torch.from_numpy(arrays["maps"]), scores, **json.loads(str(arrays["plain"])))


def measure_method(
    net: DetectorNet,
    factory: Factory,
    faces: BenchmarkFaces,
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
    result.traits = {"unit": explainer.unit, "signed": explainer.signed, "exact": explainer.exact}
    score_maps(net, result, faces, slow_faces, batch_size, title)
    share = SPARED if slow else 1
    result.scores |= _control(explainer, result.maps, faces, max(1, limit // share))
    result.scores |= _sanity(net, factory, result.maps, faces, max(1, sanity_faces // share))
    return result


def score_maps(
    net: DetectorNet, result: MethodScores, faces: BenchmarkFaces, slow_faces: int, batch_size: int, title: str
) -> None:
    """Add the scores that follow from the maps alone: localisation and faithfulness."""
    result.scores |= _localisation(result.maps, faces)
    result.scores |= _restoration(net, result.maps, faces, batch_size, title)
    result.scores |= _deletion(net, result.maps[:slow_faces], faces, batch_size, title)


def _localisation(maps: Tensor, faces: BenchmarkFaces) -> dict[str, Array]:
    masks, landmarks = faces.masks[: len(maps)], faces.landmarks[: len(maps)]
    covers = faces.lattice.cover(masks)
    inside = torch.zeros_like(covers, dtype=torch.bool)
    known = landmarks.isfinite().all(dim=(1, 2))
    if known.any():
        inside[known] = inside_face(landmarks[known], faces.lattice)
    found = {
        "auroc": localisation.node_auroc(maps, covers),
        "auroc_face": localisation.node_auroc(maps, covers, inside),
        "pointing": localisation.pointing_game(maps, covers),
        "mass": localisation.mass_accuracy(maps, covers),
        "aupro": localisation.aupro(maps, masks, faces.lattice),
    }
    return _spread(found, torch.arange(len(maps)), len(faces))


def _restoration(
    net: DetectorNet, maps: Tensor, faces: BenchmarkFaces, batch_size: int, title: str
) -> dict[str, Array]:
    who = faces.paired[: len(maps)].nonzero().flatten()
    nodes, judge = math.prod(faces.lattice.shape), judge_of(net)
    counts = sorted({*faith.steps(nodes), faith.few(nodes)})
    order = faith.order_of(maps)
    logits = torch.empty(0, len(counts))
    with tqdm(total=len(who), desc=f"{title}: restoration", unit="face", leave=False) as bar:
        for some in _parts(who):
            pictures = faces.images[some], faces.reals[some]
            found = faith.curves(judge, *pictures, order[some], faces.lattice, counts, batch_size)
            logits = torch.cat([logits, found])
            bar.update(len(some))
    whole, real = faces.logit[who], faces.real_logit[who]
    left = faith.area(torch.cat([whole[:, None], logits, real[:, None]], dim=1) - real[:, None], counts, nodes)
    scores = {
        "restoration": left / (whole - real).double(),
        "flips": (logits[:, counts.index(faith.few(nodes))] <= faces.cut).double(),
        "effects": spearman(maps[who].flatten(1), faces.effects[who], constant=0),
    }
    return _spread(scores, who, len(faces))


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


def _control(explainer: Explainer, maps: Tensor, faces: BenchmarkFaces, count: int) -> dict[str, Array]:
    """Score 1 if the map's maximum is higher on the fake than on its real counterpart; ties count half."""
    who = faces.paired[:count].nonzero().flatten()
    tops = [explainer.attribute(faces.reals[part]).node_map.cpu().amax(dim=(1, 2)) for part in _parts(who)]
    gap = maps[who].amax(dim=(1, 2)) - torch.cat([*tops, torch.empty(0)])
    return _spread({"control": (gap.sign() + 1) / 2}, who, len(faces))


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
