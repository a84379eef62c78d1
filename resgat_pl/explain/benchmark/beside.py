"""Faces beside the fakes that are explained: genuine ones, of which no map should name a part, and validation faces.

On the latter the threshold is chosen above which a node counts as named; never on the faces that are scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import REAL
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.explain.benchmark.faces import choose_detected_fakes, clips, counterparts, judge_of, load_pixels
from resgat_pl.explain.face_set import in_turn
from resgat_pl.nn.detector_net import DetectorNet

_CANDIDATES: Final = 4
"""Validation fakes judged for each one that is wanted, at most: some are not detected."""


@dataclass(frozen=True)
class GenuineFaces:
    """Genuine test faces, G of S × S pixels, called genuine or not; counterparts and others in turn.

    Attributes:
        images: ``(G, 3, S, S)`` uint8, RGB.
        group: ``(G,)`` str, their clips, as ``BenchmarkFaces.group``.
        partner: ``(F,)`` int64, place among these of each explained fake's counterpart; −1 where it has none.
    """

    images: Tensor
    group: NDArray[np.object_]
    partner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ValidationFaces:
    """Detected validation fakes with masks, V of S × S pixels, and genuine validation faces.

    Attributes:
        images: ``(V, 3, S, S)`` uint8, RGB, the fakes.
        masks: ``(V, S, S)`` float32 in [0, 1], share manipulated.
        genuine: ``(W, 3, S, S)`` uint8, RGB: the fakes' counterparts and others in turn.
    """

    images: Tensor
    masks: Tensor
    genuine: Tensor

    def __len__(self) -> int:
        return len(self.images)


def choose_genuine(faces: FaceCrops, fakes: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose genuine faces by rule: the fakes' counterparts, and in turn with them as many others at most.

    Args:
        faces: Crops of one split.
        fakes: Positions of the fakes beside which they stand.
        count: Other faces at most, spread over their videos.
        seed: Of the order of the videos.

    Returns:
        Positions in ``faces``, each once; the first few are spread as widely as all of them.
    """
    partner = counterparts(faces)
    partners = list(dict.fromkeys(partner[fake] for fake in fakes.tolist() if fake in partner))
    rest = np.setdiff1d(np.flatnonzero(faces.labels == REAL), partners)
    video = faces.manifest.video_codes[faces.rows[rest]]
    order = np.random.default_rng(seed).permutation(np.unique(video))
    others = in_turn([rest[video == code].tolist() for code in order])[:count]
    return np.array(in_turn([partners, others]), np.int64)


def load_genuine(faces: FaceCrops, fakes: NDArray[np.int64], chosen: NDArray[np.int64]) -> GenuineFaces:
    """The chosen genuine faces, see ``choose_genuine``."""
    partner, place = counterparts(faces), {position: number for number, position in enumerate(chosen.tolist())}
    found = [place.get(partner.get(fake, -1), -1) for fake in fakes.tolist()]
    return GenuineFaces(load_pixels(faces, chosen.tolist()), clips(faces, chosen), np.array(found, np.int64))


def choose_validation(
    net: DetectorNet, faces: FaceCrops, count: int, cut: float, seed: int, batch_size: int
) -> NDArray[np.int64]:
    """Choose validation fakes with masks that are detected, spread as the test fakes are.

    Args:
        net: The detector.
        faces: The validation crops.
        count: Faces at most; so many times four are judged.
        cut: Logit above which a face is called fake.
        seed: Of the order of the videos.
        batch_size: Images at once.

    Returns:
        Positions in ``faces``; none where there is no such face.
    """
    masked = np.array([path is not None for path in faces.manifest.column("mask_path")[faces.rows]], bool)
    try:
        places = choose_detected_fakes(faces, masked, _CANDIDATES * count, seed)
    except SplitError:  # no fake has a mask
        return np.zeros(0, np.int64)
    judge = judge_of(net)
    parts = np.split(places, range(batch_size, len(places), batch_size))
    logit = torch.cat([judge(load_pixels(faces, part.tolist()).float() / 255) for part in parts])
    detected: NDArray[np.int64] = places[(logit > cut).numpy()]
    return detected[:count]


def load_validation(faces: FaceCrops, chosen: NDArray[np.int64], genuine: NDArray[np.int64]) -> ValidationFaces:
    """The chosen validation faces, see ``choose_validation`` and ``choose_genuine``."""
    masks = [mask for place in chosen.tolist() if (mask := faces.mask(place)) is not None]
    size = faces.image_size
    stacked = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, size, size)
    images, spared = (load_pixels(faces, some.tolist()) for some in (chosen, genuine))
    return ValidationFaces(images, stacked.float() / 255, spared)
