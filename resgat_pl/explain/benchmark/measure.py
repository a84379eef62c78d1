"""One explanation method on one checkpoint's detected fakes: every score of every face."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import video_key
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.metrics.rank import spearman
from resgat_pl.explain.base import Explainer, Explanation
from resgat_pl.explain.benchmark import faithfulness as faith, localisation
from resgat_pl.explain.benchmark.sanity import CASCADE, randomised, with_uniform_attention
from resgat_pl.explain.regions import inside_face
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT

Array = NDArray[np.float64]
Factory = Callable[[ResGAT], Explainer]

SLOW: Final = 30
"""Passes of the whole network an image (a backward pass counts twice) above which a method is slow."""
SPARED: Final = 8
"""Controls and sanity checks of slow methods take one face of so many, since they explain each face again."""
_CHUNK: Final = 8  # faces explained at once at most: the median time over the chunks is what a face takes


@dataclass(frozen=True)
class BenchmarkFaces:
    """Correctly detected fakes with all that scores need; F faces of S × S pixels and a grid of N nodes.

    Attributes:
        rows: ``(F,)`` int64, rows of the manifest.
        kind: ``(F,)`` str, manipulation methods.
        group: ``(F,)`` str, the genuine clips that the fakes were made from, which are resampled.
        images: ``(F, 3, S, S)`` float32 in [0, 1], RGB.
        reals: The same for the real counterparts; zero where there is none.
        paired: ``(F,)`` bool, whether there is a real counterpart.
        masks: ``(F, S, S)`` float32 in [0, 1], share manipulated; zero where there is no mask.
        landmarks: ``(F, 5, 2)`` float32 in [0, 1]; NaN where missing.
        logit: ``(F,)`` float32 of the fakes.
        real_logit: ``(F,)`` float32 of the counterparts, NaN where there is none.
        cut: Logit above which the detector calls a face fake.
        lattice: Where the nodes are.
        effects: ``(F, N)`` float32, by how much restoring each node alone lowers the logit; NaN where there is no
            counterpart.
    """

    rows: NDArray[np.int64]
    kind: NDArray[np.object_]
    group: NDArray[np.object_]
    images: Tensor
    reals: Tensor
    paired: Tensor
    masks: Tensor
    landmarks: Tensor
    logit: Tensor
    real_logit: Tensor
    cut: float
    lattice: Lattice
    effects: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class MethodScores:
    """What was measured of one method.

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


def choose_detected_fakes(faces: FaceCrops, detected: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int64]:
    """Choose fakes to explain by rule: in turn from each manipulation method, and from each of its videos in turn.

    Where some fakes have masks or a counterpart in the same square of the frame and others do not, only those with
    both, or else with masks, or else with a counterpart, are chosen.

    Args:
        faces: The test crops.
        detected: ``(n,)`` bool, whether a crop is called fake.
        count: Number of faces at most.
        seed: Of the order of the videos.

    Returns:
        Positions in ``faces``; the first few are spread as widely as all of them.

    Raises:
        SplitError: No fake is detected.
    """
    manifest = faces.manifest
    right = (faces.labels == 1) & detected & ~faces.untouched
    if not right.any():
        fakes = int((faces.labels == 1).sum())
        called = f"None of the {fakes} fakes of the test split is called fake"
        if not fakes:
            called = "The test split has no fakes"
        raise SplitError(f"{called}, so there is no right answer to explain.")
    masked = np.array([path is not None for path in manifest.column("mask_path")[faces.rows]])
    paired = np.zeros(len(faces), bool)
    paired[list(counterparts(faces))] = True
    best = next(part for part in (right & masked & paired, right & masked, right & paired, right) if part.any())
    places = np.flatnonzero(best)
    video, kind = manifest.video_codes[faces.rows[places]], manifest.column("method")[faces.rows[places]]
    rng = np.random.default_rng(seed)
    queues: list[list[int]] = []
    for name in sorted(set(kind)):
        codes = rng.permutation(np.unique(video[kind == name]))
        by_video = [_middle_out(places[video == code].tolist()) for code in codes]
        turns = range(max(map(len, by_video)))
        queues.append([mine[turn] for turn in turns for mine in by_video if turn < len(mine)])
    longest = max(map(len, queues))
    taken = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    return np.array(taken[:count], np.int64)


def counterparts(faces: FaceCrops) -> dict[int, int]:
    """Position of the real counterpart of each fake, where it is there and shows the same square of the frame."""
    boxes = faces.manifest.table.column("box").take(faces.rows).to_pylist()
    return {fake: real for fake, real in faces.pairs().tolist() if boxes[fake] == boxes[real]}


def judge_faces(net: ResGAT, faces: FaceCrops, places: NDArray[np.int64], batch_size: int) -> dict[str, Array]:
    """What the network says to the chosen faces and their counterparts, whole and node by node.

    Returns:
        ``logit`` and ``real_logit`` ``(F,)``, ``effects`` ``(F, N)``, see ``BenchmarkFaces``; ``ms``, the
        milliseconds that the effects of a face take.
    """
    partner, judge = counterparts(faces), judge_of(net)
    lattice = net.backbone.lattice(faces.image_size, faces.image_size)
    logit = torch.cat([judge(_pixels(faces, part.tolist())) for part in _chunks(places)])
    real_logit, effects = np.full(len(places), np.nan), np.full((len(places), math.prod(lattice.shape)), np.nan)
    paired = np.array([place in partner for place in places.tolist()])
    seconds = []
    with tqdm(total=int(paired.sum()), desc="restoring single nodes", unit="face", leave=False) as bar:
        for some in _chunks(np.flatnonzero(paired)):
            images = _pixels(faces, places[some].tolist())
            reals = _pixels(faces, [partner[place] for place in places[some].tolist()])
            started = time.perf_counter()
            real_logit[some] = judge(reals).double().numpy()
            effects[some] = faith.single(judge, images, reals, lattice, batch_size).double().numpy()
            seconds.append((time.perf_counter() - started) / len(some))
            bar.update(len(some))
    return {
        "logit": logit.double().numpy(),
        "real_logit": real_logit,
        "effects": effects,
        "ms": np.array(1000 * float(np.median(seconds)) if seconds else np.nan),
    }


def load_faces(
    net: ResGAT, faces: FaceCrops, places: NDArray[np.int64], judged: dict[str, Array], cut: float
) -> BenchmarkFaces:
    """The chosen faces with what ``judge_faces`` found of them."""
    table = faces.manifest.table.take(faces.rows[places]).to_pylist()
    partner = counterparts(faces)
    chosen = places.tolist()
    images = _pixels(faces, chosen)
    reals = torch.zeros_like(images)
    paired = torch.tensor([place in partner for place in chosen])
    if paired.any():
        reals[paired] = _pixels(faces, [partner[place] for place in chosen if place in partner])
    masks = [faces.mask(place) for place in chosen]
    blank = torch.zeros(images.shape[2:])
    return BenchmarkFaces(
        rows=faces.rows[places],
        kind=np.array([row["method"] for row in table], object),
        group=np.array([_clip(row) for row in table], object),
        images=images,
        reals=reals,
        paired=paired,
        masks=torch.stack([blank if mask is None else torch.from_numpy(mask).float() / 255 for mask in masks]),
        landmarks=torch.tensor([row["landmarks"] or [math.nan] * 10 for row in table]).reshape(-1, 5, 2),
        logit=torch.from_numpy(judged["logit"]).float(),
        real_logit=torch.from_numpy(judged["real_logit"]).float(),
        cut=cut,
        lattice=net.backbone.lattice(*images.shape[2:]),
        effects=torch.from_numpy(judged["effects"]).float(),
    )


def measure_method(
    net: ResGAT,
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
            ahead = _CHUNK if found else 1  # one face tells what the others will take
            found.append(explainer.attribute(faces.images[done : min(done + ahead, limit)]))
            if not done and (slow := found[0].n_forward + 2 * found[0].n_backward > SLOW):
                limit = bar.total = min(len(faces), slow_faces)
            bar.update(len(found[-1].logit))
    trial = MethodScores(torch.cat([part.node_map.cpu() for part in found]))
    gaps = torch.cat([part.completeness_gap for part in found])
    trial.cost = {
        "forward": found[0].n_forward,
        "backward": found[0].n_backward,
        "graph": found[0].n_graph,
        "ms": 1000 * float(np.median([part.seconds for part in found])),
        "gap": float(gaps.max()),
    }
    trial.traits = {"unit": explainer.unit, "signed": explainer.signed, "exact": explainer.exact}
    score_maps(net, trial, faces, slow_faces, batch_size, title)
    share = SPARED if slow else 1
    trial.scores["control"] = _control(explainer, trial.maps, faces, max(1, limit // share))
    trial.scores |= _sanity(net, factory, trial.maps, faces, max(1, sanity_faces // share))
    return trial


def score_maps(
    net: ResGAT, trial: MethodScores, faces: BenchmarkFaces, slow_faces: int, batch_size: int, title: str
) -> None:
    """Add the scores that follow from the maps alone: localisation and faithfulness."""
    trial.scores |= _localisation(trial.maps, faces)
    trial.scores |= _restoration(net, trial.maps, faces, batch_size, title)
    trial.scores |= _deletion(net, trial.maps[:slow_faces], faces, batch_size, title)


def judge_of(net: ResGAT) -> faith.Judge:
    """The network's logit for images anywhere, on the CPU."""
    device = next(net.parameters()).device

    @torch.inference_mode()
    def judge(images: Tensor) -> Tensor:
        logit: Tensor = net(images.to(device)).logit
        return logit.float().cpu()

    return judge


_KEY: Final = ("dataset", "method", "compression", "video")


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
    return {name: _spread(values, torch.arange(len(maps)), len(faces)) for name, values in found.items()}


def _restoration(net: ResGAT, maps: Tensor, faces: BenchmarkFaces, batch_size: int, title: str) -> dict[str, Array]:
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
    return {name: _spread(values, who, len(faces)) for name, values in scores.items()}


def _deletion(net: ResGAT, maps: Tensor, faces: BenchmarkFaces, batch_size: int, title: str) -> dict[str, Array]:
    """Deletion and insertion in probability, as the field reports them."""
    nodes, judge, count = math.prod(faces.lattice.shape), judge_of(net), len(maps)
    counts, order = faith.steps(nodes), faith.order_of(maps)
    images = faces.images[:count]
    found: dict[str, Array] = {}
    for name, filler in (("blur", faith.blurred(images)), ("mean", faith.mean_colour(images))):
        empty = _batched(judge, filler, batch_size)
        ways = {
            "deletion": (images, filler, faces.logit[:count], empty),
            "insertion": (filler, images, empty, faces.logit[:count]),
        }
        for way, (base, put, first, last) in ways.items():
            inner = faith.curves(judge, base, put, order, faces.lattice, counts, batch_size)
            curve = torch.cat([first[:, None], inner, last[:, None]], dim=1).double().sigmoid()
            found[f"{way}_{name}"] = _spread(faith.area(curve, counts, nodes), torch.arange(count), len(faces))
    return found


def _control(explainer: Explainer, maps: Tensor, faces: BenchmarkFaces, count: int) -> Array:
    """Whether the map's top on the fake is above that on its real counterpart; ties count half."""
    who = faces.paired[:count].nonzero().flatten()
    tops = [explainer.attribute(faces.reals[part]).node_map.cpu().amax(dim=(1, 2)) for part in _parts(who)]
    if not tops:
        return np.full(len(faces), np.nan)
    gap = maps[who].amax(dim=(1, 2)) - torch.cat(tops)
    return _spread((gap.sign() + 1) / 2, who, len(faces))


def _sanity(net: ResGAT, factory: Factory, maps: Tensor, faces: BenchmarkFaces, count: int) -> dict[str, Array]:
    images, maps = faces.images[:count], maps[:count].flatten(1)
    images = images[: len(maps)]
    who = torch.arange(len(maps))

    def explain(changed: ResGAT, **target: Any) -> Tensor:
        parts = [factory(changed).attribute(part, **target).node_map.cpu() for part in torch.split(images, _CHUNK)]
        return torch.cat(parts).flatten(1)

    similar = partial(spearman, maps, constant=0)
    found = {f"random_{parts[-1]}": similar(explain(randomised(net, parts))).abs() for parts in CASCADE}
    found["target_flip"] = similar(explain(net, target="real"))
    found["uniform_attention"] = similar(explain(with_uniform_attention(net)))
    return {name: _spread(values, who, len(faces)) for name, values in found.items()}


def _clip(row: dict[str, Any]) -> str:
    """The genuine clip behind a fake, of which all that was made of it, in any compression, is a part."""
    source = row["source_video"] or video_key(*(row[name] for name in _KEY))
    dataset, method, _, video = (source.split("/", 3) + [""] * 3)[:4]
    return video_key(dataset, method, "", video)


def _spread(values: Tensor, places: Tensor, count: int) -> Array:
    """Values of some faces in a table of all; NaN elsewhere."""
    table = np.full(count, np.nan)
    table[places.numpy()] = values.double().numpy()
    return table


def _middle_out(places: list[int]) -> list[int]:
    """A video's middle frame first: the first and last ones are often fades."""
    middle = (len(places) - 1) / 2
    return sorted(places, key=lambda place: abs(places.index(place) - middle))


def _chunks(values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(values, range(_CHUNK, len(values), _CHUNK)) if len(values) else []


def _parts(places: Tensor) -> tuple[Tensor, ...]:
    """As ``torch.split``, which makes one empty part of nothing."""
    return torch.split(places, _CHUNK) if len(places) else ()


def _pixels(faces: FaceCrops, places: list[int]) -> Tensor:
    return torch.stack([faces[place]["image"] for place in places]).float() / 255


def _batched(judge: faith.Judge, images: Tensor, batch_size: int) -> Tensor:
    return torch.cat([judge(part) for part in torch.split(images, batch_size)])
