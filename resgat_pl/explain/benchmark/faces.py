"""The faces of a benchmark: detected fakes with masks, landmarks and genuine counterparts, loaded and scored once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import VIDEO_KEY, video_key
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.explain.benchmark import faithfulness as faith
from resgat_pl.explain.benchmark.areas import extent
from resgat_pl.explain.benchmark.scores import RIVALS, SWAPPED
from resgat_pl.explain.benchmark.swaps import Pairs, control_scores
from resgat_pl.explain.face_set import in_turn
from resgat_pl.explain.regions import inside_face, or_average
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.node_geometry import Lattice

Array = NDArray[np.float64]

CHUNK: Final = 8
"""Faces explained at once at most: the median time over the chunks is the time per face."""

_CACHED: Final = 8
"""Faces that a CPU judges at once: MobileNetV2 at 160 px takes twice as long for each of 32, which leave the cache."""


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
        extent: ``(F,)`` str, see ``areas.extent``; the average face's place where landmarks are missing.
        controls: By name ``(F,)`` float64, see ``swaps.control_scores``; NaN where there is no counterpart.
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
    extent: NDArray[np.object_]
    controls: dict[str, Array]

    def __len__(self) -> int:
        return len(self.rows)

    def pairs(self, judge: faith.Judge, some: Tensor, batch_size: int) -> Pairs:
        """Fakes at some places, each of which has a counterpart, as ``swaps`` exchanges their nodes."""
        pictures = self.images[some], self.reals[some]
        return Pairs(
            judge, *pictures, self.logit[some], self.real_logit[some], self.cut, self.lattice, batch_size=batch_size
        )


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
        queues.append(in_turn(by_video))
    return np.array(in_turn(queues)[:count], np.int64)


def counterparts(faces: FaceCrops) -> dict[int, int]:
    """Position of the real counterpart of each fake, where it is there and shows the same square of the frame."""
    boxes = faces.manifest.table.column("box").take(faces.rows).to_pylist()
    return {fake: real for fake, real in faces.pairs().tolist() if boxes[fake] == boxes[real]}


def judge_faces(
    net: DetectorNet, faces: FaceCrops, places: NDArray[np.int64], batch_size: int, cut: float, seed: int
) -> dict[str, Array]:
    """Logits of the chosen faces and of their counterparts, whole, node by node, and with other nodes exchanged.

    Returns:
        ``logit`` and ``real_logit`` ``(F,)``, ``effects`` ``(F, N)``, see ``BenchmarkFaces``; ``ms``, the
        milliseconds that the effects of a face take; the scores of ``swaps.control_scores``, ``(F,)``.
    """
    partner, judge = counterparts(faces), judge_of(net)
    lattice = net.lattice(faces.image_size, faces.image_size)
    logit = torch.cat([judge(pixels(faces, part.tolist())) for part in _chunks(places)])
    real_logit, effects = np.full(len(places), np.nan), np.full((len(places), math.prod(lattice.shape)), np.nan)
    paired = np.array([place in partner for place in places.tolist()])
    controls = {f"{name}_{end}": np.full(len(places), np.nan) for name in SWAPPED for end in RIVALS}
    seconds = []
    with tqdm(total=int(paired.sum()), desc="restoring single nodes", unit="face", leave=False) as bar:
        for some in _chunks(np.flatnonzero(paired)):
            images = pixels(faces, places[some].tolist())
            reals = pixels(faces, [partner[place] for place in places[some].tolist()])
            started = time.perf_counter()
            real_logit[some] = judge(reals).double().numpy()
            effects[some] = faith.single(judge, images, reals, lattice, batch_size).double().numpy()
            seconds.append((time.perf_counter() - started) / len(some))
            both = torch.from_numpy(real_logit[some]).float()
            pairs = Pairs(judge, images, reals, logit[some], both, cut, lattice, batch_size)
            for name, values in control_scores(pairs, seed, some.tolist()).items():
                controls[name][some] = values.numpy()
            bar.update(len(some))
    return {
        "logit": logit.double().numpy(),
        "real_logit": real_logit,
        "effects": effects,
        "ms": np.array(1000 * float(np.median(seconds)) if seconds else np.nan),
        **controls,
    }


def load_faces(
    net: DetectorNet, faces: FaceCrops, places: NDArray[np.int64], judged: dict[str, Array], cut: float
) -> BenchmarkFaces:
    """The chosen faces with the results of ``judge_faces``."""
    table = faces.manifest.table.take(faces.rows[places]).to_pylist()
    partner = counterparts(faces)
    chosen = places.tolist()
    images = pixels(faces, chosen)
    reals = torch.zeros_like(images)
    paired = torch.tensor([place in partner for place in chosen])
    if paired.any():
        reals[paired] = pixels(faces, [partner[place] for place in chosen if place in partner])
    masks = [faces.mask(place) for place in chosen]
    blank = torch.zeros(images.shape[2:])
    stacked = torch.stack([blank if mask is None else torch.from_numpy(mask).float() / 255 for mask in masks])
    landmarks = torch.tensor([row["landmarks"] or [math.nan] * 10 for row in table]).reshape(-1, 5, 2)
    lattice = net.lattice(*images.shape[2:])
    return BenchmarkFaces(
        rows=faces.rows[places],
        kind=np.array([row["method"] for row in table], object),
        group=clips(faces, places),
        images=images,
        reals=reals,
        paired=paired,
        masks=stacked,
        landmarks=landmarks,
        logit=torch.from_numpy(judged["logit"]).float(),
        real_logit=torch.from_numpy(judged["real_logit"]).float(),
        cut=cut,
        lattice=lattice,
        effects=torch.from_numpy(judged["effects"]).float(),
        extent=extent(lattice.cover(stacked), inside_face(or_average(landmarks)[0], lattice)),
        controls={name: values for name, values in judged.items() if name.endswith(("_random", "_centre"))},
    )


def judge_of(net: DetectorNet) -> faith.Judge:
    """The network's logit for images anywhere, on the CPU."""
    device = next(net.parameters()).device

    @torch.inference_mode()
    def judge(images: Tensor) -> Tensor:
        parts = torch.split(images, _CACHED) if device.type == "cpu" else (images,)
        return torch.cat([net(part.to(device)).logit.float().cpu() for part in parts])

    return judge


def clips(faces: FaceCrops, places: NDArray[np.int64]) -> NDArray[np.object_]:
    """The genuine clip behind each crop at some positions, ``(F,)`` str: what is resampled."""
    columns = ["source_video", *VIDEO_KEY]
    rows = faces.manifest.take(faces.rows[places], columns).to_pylist()
    return np.array([_clip(row) for row in rows], object)


def _clip(row: dict[str, Any]) -> str:
    """The genuine clip behind a fake, of which all that was made of it, in any compression, is a part."""
    source = row["source_video"] or video_key(*(row[name] for name in VIDEO_KEY))
    dataset, method, _, video = (source.split("/", 3) + [""] * 3)[:4]
    return video_key(dataset, method, "", video)


def _middle_out(places: list[int]) -> list[int]:
    """A video's middle frame first: the first and last ones are often fades."""
    middle = (len(places) - 1) / 2
    return sorted(places, key=lambda place: abs(places.index(place) - middle))


def _chunks(values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(values, range(CHUNK, len(values), CHUNK)) if len(values) else []


def load_pixels(faces: FaceCrops, places: list[int]) -> Tensor:
    """Crops ``(B, 3, S, S)`` uint8, RGB, at some positions, or none."""
    size = faces.image_size
    none = torch.zeros(0, 3, size, size, dtype=torch.uint8)
    return torch.stack([faces[place]["image"] for place in places]) if places else none


def pixels(faces: FaceCrops, places: list[int]) -> Tensor:
    """Crops ``(B, 3, S, S)`` float32 in [0, 1], RGB, at some positions, or none."""
    return load_pixels(faces, places).float() / 255
