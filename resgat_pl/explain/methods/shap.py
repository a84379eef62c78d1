"""Shapley values of the parts of an image, by the package shap."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Attribution, Explainer
from resgat_pl.explain.methods.occlusion import HiddenParts
from resgat_pl.explain.methods.passes import count_passes
from resgat_pl.explain.methods.pixels import Fill, Segments, node_of_pixel, segment, sum_by_cell
from resgat_pl.explain.methods.requirements import at_least, missing, one_of

_AT_ONCE: Final = 32
"""Coalitions that shap's search asks for at once. Where it goes next depends on it, so it is not the batch size."""


class KernelSHAP(Explainer):
    """Kernel SHAP (Lundberg & Lee, NeurIPS 2017): Shapley values of squares or superpixels, by weighted regression.

    Hidden segments show ``fill``. The values are of the logit and add up: the bias is the logit with everything hidden,
    and the package imposes the sum on the regression. Its default of ten segments that are not zero is switched off. A
    superpixel's value is spread evenly over its pixels and summed over each node's cell.

    Args:
        model: See ``Explainer``.
        samples: Coalitions an image, at least two for each segment: those of one segment and of all but one come first.
        segments: See ``pixels.Segments``.
        fill: What hidden segments show: see ``pixels.Fill``, or a picture ``(3, H, W)`` or a colour ``(3, 1, 1)``.
        seed: Of the coalitions and of the superpixels.
        batch_size: See ``Explainer``.

    Raises:
        ConfigError: See ``Explainer``, or an argument is out of range.
    """

    exact: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        samples: int = 1000,
        segments: Segments = "squares",
        fill: Fill | Tensor = "mean",
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, batch_size)
        at_least(2, samples=samples)
        at_least(0, seed=seed)
        one_of(get_args(Segments), segments=segments)
        self.samples = samples
        self.segments = segments
        self.fill = fill
        self.seed = seed

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``.

        Raises:
            ConfigError: There are too few samples for the segments, ``fill`` is unknown or does not fit, or shap or
                scikit-image is not installed.
        """
        shap = _shap(type(self).__name__)
        squares = node_of_pixel(self.net, *images.shape[2:])
        nodes, biases = [], []
        with count_passes(self.net) as passes:
            for image in images:
                table = segment(self.net, image, self.segments, self.seed)
                game = HiddenParts(self.net, image, table, self.fill, self.batch_size)
                if self.samples < 2 * game.segments:
                    raise ConfigError(
                        f"samples is {self.samples}, but the image has {game.segments} segments: give at least "
                        f"{2 * game.segments}, better ten times as many."
                    )
                with _seeded(self.seed):
                    explainer = shap.KernelExplainer(_Evaluate(game), np.zeros((1, game.segments)))
                    values = explainer.shap_values(
                        np.ones((1, game.segments)), nsamples=self.samples, l1_reg=False, silent=True
                    )[0]
                biases.append(float(explainer.expected_value))
                nodes.append(_over_nodes(values, table, squares))
            logit = self.net(images).logit
        return passes.attribution(torch.cat(nodes), logit, logit.new_tensor(biases))


class PartitionSHAP(Explainer):
    """Partition SHAP (Owen values; the package's ``PartitionExplainer``) of the squares of the network's grid.

    The image is halved again and again along its longer side, as by the package's ``Image`` masker, and a part's worth
    is shared out among its halves as Shapley values of two players. The masker goes down to pixels and channels; here
    the cells of the grid are the leaves, since what is below them would be summed again, and with few evaluations the
    package never gets there. Parts that matter more are divided first; a part still whole when the samples are used up
    is shared out evenly. 7×7 squares take 1,804 coalitions to finish. The values are of the logit and add up: the bias
    is the logit with everything hidden. The first call takes seconds, in which numba compiles the package's code.

    Args:
        model: See ``Explainer``.
        samples: Coalitions an image.
        fill: What hidden squares show: see ``pixels.Fill``, or a picture ``(3, H, W)`` or a colour ``(3, 1, 1)``.
        seed: Of the order of parts that matter alike.
        batch_size: See ``Explainer``.

    Raises:
        ConfigError: See ``Explainer``, or an argument is out of range.
    """

    exact: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        samples: int = 1000,
        fill: Fill | Tensor = "mean",
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        super().__init__(model, batch_size)
        at_least(4, samples=samples)  # all, nothing and the halves
        at_least(0, seed=seed)
        self.samples = samples
        self.fill = fill
        self.seed = seed

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``; raises ConfigError if ``fill`` is unknown or does not fit, or shap is not installed."""
        shap = _shap(type(self).__name__)
        table = node_of_pixel(self.net, *images.shape[2:])
        rows, columns = self.net.backbone.grid_shape(*images.shape[2:])
        masker = _Coalitions(halves(rows, columns), (1, rows * columns))
        nodes, biases = [], []
        with count_passes(self.net) as passes:
            for image in images:
                game = HiddenParts(self.net, image, table, self.fill, self.batch_size)
                with _seeded(self.seed):
                    found = shap.PartitionExplainer(_Evaluate(game), masker)(
                        np.ones((1, game.segments)), max_evals=self.samples, batch_size=_AT_ONCE, silent=True
                    )
                biases.append(float(found.base_values[0]))
                nodes.append(torch.from_numpy(found.values).to(image))
            logit = self.net(images).logit
        return passes.attribution(torch.cat(nodes), logit, logit.new_tensor(biases))


def halves(rows: int, columns: int) -> NDArray[np.float64]:
    """Tree of a grid that is halved again and again along its longer side, down to single nodes.

    The same tree as that of the package's ``Image`` masker, which takes seconds to compile.

    Returns:
        ``(N - 1, 4)`` float64 in scipy's form: the two parts joined (nodes from 0, joined parts from N in the order of
        the rows), 0, and their nodes. The last row is the whole grid.
    """
    joined: list[tuple[int, int, int, int]] = []

    def part(top: int, left: int, height: int, width: int) -> int:
        if height * width == 1:
            return top * columns + left
        if height >= width:
            first = part(top, left, height // 2, width)
            second = part(top + height // 2, left, height - height // 2, width)
        else:
            first = part(top, left, height, width // 2)
            second = part(top, left + width // 2, height, width - width // 2)
        joined.append((first, second, 0, height * width))
        return rows * columns + len(joined) - 1

    part(0, 0, rows, columns)
    return np.array(joined, np.float64)


class _Evaluate:
    """The game as shap wants it: coalitions ``(M, segments)`` in, their logits ``(M,)`` float64 out."""

    def __init__(self, game: HiddenParts) -> None:
        self.game = game

    def __call__(self, coalitions: NDArray[Any]) -> NDArray[np.float64]:
        kept = torch.from_numpy(np.asarray(coalitions) > 0.5)
        return self.game.logits(kept).double().cpu().numpy()


class _Coalitions(NamedTuple):
    """A shap masker that leaves the masking to the model: it passes the coalition on.

    Attributes:
        clustering: ``(N - 1, 4)`` float64, the tree in scipy's form.
        shape: Inputs a coalition gives, and players.
    """

    clustering: NDArray[np.float64]
    shape: tuple[int, int]

    def __call__(self, mask: NDArray[np.bool_], _: NDArray[np.float64]) -> tuple[NDArray[np.bool_]]:
        return (mask[None].copy(),)


def _over_nodes(values: NDArray[np.float64], table: Tensor, squares: Tensor) -> Tensor:
    """Spread the values of segments evenly over their pixels, and sum these by node: ``(1, N)``."""
    spread = torch.from_numpy(values).to(table.device) / table.flatten().bincount()
    return sum_by_cell(spread[table][None], squares).float()


def _shap(method: str) -> Any:  # shap's own types are incomplete
    try:
        with warnings.catch_warnings():
            # shap (0.51) builds its colour maps when imported, with a function that matplotlib 3.11 will drop.
            warnings.simplefilter("ignore")
            import shap
    except ImportError as error:
        raise missing(method, "shap", error) from error
    return shap


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global random state, from which shap draws, and put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002  # shap takes no generator
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
