"""Restoration and implantation: a few nodes exchanged between a fake and its genuine counterpart.

Any exchange makes seams, which a detector of forgeries may see, and large forgeries are hit by any nodes. So what the
named nodes do is compared with what as many random nodes, and as many central ones, do on the same faces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.explain.benchmark import faithfulness as faith
from resgat_pl.explain.benchmark.scores import RIVALS, SWAPPED
from resgat_pl.explain.methods.baselines import centre_map
from resgat_pl.nn.node_geometry import Lattice

Array = NDArray[np.float64]

DRAWS: Final = 8
"""Draws of random nodes for each face, over which their scores are averaged."""


@dataclass(frozen=True)
class Pairs:
    """Fakes with their genuine counterparts; P pairs of S × S pixels.

    Attributes:
        judge: The model.
        fakes: ``(P, 3, S, S)`` float32 in [0, 1].
        reals: The same.
        logit: ``(P,)`` float32 of the fakes.
        real_logit: ``(P,)`` float32 of the counterparts.
        cut: Logit above which a face is called fake.
        lattice: Where the nodes are.
        batch_size: Images judged at once.
    """

    judge: faith.Judge
    fakes: Tensor
    reals: Tensor
    logit: Tensor
    real_logit: Tensor
    cut: float
    lattice: Lattice
    batch_size: int

    def __len__(self) -> int:
        return len(self.logit)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return math.prod(self.lattice.shape)

    def restored(self, chosen: Tensor) -> Tensor:
        """Logits ``(P, K)`` of the fakes with the genuine pixels in the chosen nodes ``(P, K, N)`` bool."""
        return faith.judged(self.judge, self.fakes, self.reals, chosen, self.lattice, self.batch_size)

    def implanted(self, chosen: Tensor) -> Tensor:
        """Logits ``(P, K)`` of the genuine faces with the fake's pixels in the chosen nodes ``(P, K, N)`` bool.

        These are also the fakes with all *other* nodes restored.
        """
        return faith.judged(self.judge, self.reals, self.fakes, chosen, self.lattice, self.batch_size)

    def verdicts(self, restored: Tensor, implanted: Tensor) -> dict[str, Tensor]:
        """Scores from the logits after a few nodes were exchanged.

        Args:
            restored: ``(P, K)`` float, see ``restored``.
            implanted: ``(P, K)`` float, see ``implanted``.

        Returns:
            ``(P, K)`` float64 each: ``flips``, 1 where restoring turns the verdict to genuine; ``implanted``, 1 where
            implanting turns that of the genuine face to fake; both NaN where the genuine face is called fake, since
            there is nothing to turn to. ``sufficiency``, the share of the logit between the genuine face (0) and the
            fake (1) that the implanted nodes alone bring.
        """
        called_fake = (self.real_logit > self.cut)[:, None]
        rise, whole = (implanted - self.real_logit[:, None]).double(), (self.logit - self.real_logit)[:, None].double()
        return {
            "flips": (restored <= self.cut).double().masked_fill(called_fake, torch.nan),
            "implanted": (implanted > self.cut).double().masked_fill(called_fake, torch.nan),
            "sufficiency": rise / whole,
        }


def swap_scores(pairs: Pairs, order: Tensor) -> dict[str, Tensor]:
    """Restoration and implantation of nodes in an order, pair by pair.

    Args:
        pairs: The pairs.
        order: ``(P, N)`` int64, most important node first.

    Returns:
        ``(P,)`` float64 each: those of ``Pairs.verdicts`` after ``faithfulness.few`` nodes, and ``restoration``, the
        area under the logit from the fake's (1) to the real one's (0) while ever more nodes are restored.
    """
    few = faith.few(pairs.nodes)
    counts = sorted({*faith.steps(pairs.nodes), few})
    restored = pairs.restored(faith.first_nodes(order, counts))
    implanted = pairs.implanted(faith.first_nodes(order, [few]))
    place = counts.index(few)
    scores = pairs.verdicts(restored[:, place : place + 1], implanted)
    curve = torch.cat([pairs.logit[:, None], restored, pairs.real_logit[:, None]], dim=1) - pairs.real_logit[:, None]
    left = faith.area(curve, counts, pairs.nodes)
    return {
        **{name: values[:, 0] for name, values in scores.items()},
        "restoration": left / (pairs.logit - pairs.real_logit).double(),
    }


def control_scores(pairs: Pairs, seed: int, numbers: Sequence[int]) -> dict[str, Tensor]:
    """Scores of as many random and as many central nodes, which a method has to exceed.

    Args:
        pairs: The pairs.
        seed: Of the random nodes; each face has its own.
        numbers: P of them, so that a face has the same random nodes whichever others it comes with.

    Returns:
        ``(P,)`` float64 each: the scores of ``Pairs.verdicts`` with the endings ``_random``, means over ``DRAWS``
        draws, and ``_centre``, of the nodes that ``CentrePrior`` ranks first.
    """
    few = faith.few(pairs.nodes)
    drawn = torch.stack([_draws(pairs.nodes, few, seed, number) for number in numbers])
    centre = faith.first_nodes(faith.order_of(centre_map(pairs.lattice)[None]), [few]).expand(len(pairs), -1, -1)
    chosen = torch.cat([drawn, centre], dim=1)
    scores = pairs.verdicts(pairs.restored(chosen), pairs.implanted(chosen))
    random = {f"{name}_random": values[:, :-1].mean(dim=1) for name, values in scores.items()}
    return random | {f"{name}_centre": values[:, -1] for name, values in scores.items()}


def excess(scores: Mapping[str, Array], controls: Mapping[str, Array]) -> dict[str, Array]:
    """Scores of ``SWAPPED`` minus those of random and of central nodes, face by face; ``(F,)`` float64 each.

    Example:
        >>> one = {name: np.ones(1) for name in SWAPPED}
        >>> other = {f"{name}_{end}": np.full(1, 0.25) for name in SWAPPED for end in ("random", "centre")}
        >>> excess(one, other)["flips_over_random"].item()
        0.75
    """
    return {f"{name}_over_{end}": scores[name] - controls[f"{name}_{end}"] for name in SWAPPED for end in RIVALS}


def _draws(nodes: int, few: int, seed: int, number: int) -> Tensor:
    rng = np.random.default_rng((seed, number))
    orders = torch.from_numpy(np.stack([rng.permutation(nodes) for _ in range(DRAWS)]))
    return faith.first_nodes(orders, [few])[:, 0]
