"""Metrics from outside: any of torchmetrics on the probabilities and labels of frames, beside those of this package."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.text import first_line


class ExtraMetrics:
    """Metrics that a user adds, computed on all samples at once.

    They see the samples of all processes, in one order and each once, on the CPU. So they are the same on every number
    of processes, whatever their own synchronisation does.

    Attributes:
        names: One for each metric: the name of its class, with a number where several have the same.

    Args:
        metrics: Each is updated with ``(probability, label)``: ``(N,)`` float32 in [0, 1], of being fake, and ``(N,)``
            int64, 1 = fake; and gives one number.

    Raises:
        ConfigError: One cannot be computed from these, or gives something else; it is tried.

    Example:
        >>> from torchmetrics.classification import BinaryMatthewsCorrCoef
        >>> extra = ExtraMetrics([BinaryMatthewsCorrCoef()])
        >>> extra(np.array([0.2, 0.4, 0.9]), np.array([0, 0, 1]))
        {'BinaryMatthewsCorrCoef': tensor(1., dtype=torch.float64)}
    """

    def __init__(self, metrics: Sequence[Metric] = ()) -> None:
        self.metrics = tuple(metrics)
        self.names = metric_names(type(metric).__name__ for metric in self.metrics)
        for metric in self.metrics:
            metric.distributed_available_fn = _never  # all samples are here
        self(np.linspace(0.1, 0.9, 8), np.arange(8) % 2)

    def __call__(self, probability: NDArray[np.float64], label: NDArray[np.int64]) -> dict[str, Tensor]:
        """Compute all of them on ``(N,)`` float in [0, 1] and ``(N,)`` int; float64, by name.

        Raises:
            ConfigError: One fails.
        """
        given = torch.from_numpy(probability).float(), torch.from_numpy(label).long()
        return {name: _compute(metric, *given) for name, metric in zip(self.names, self.metrics, strict=True)}


def metric_names(classes: Iterable[str]) -> list[str]:
    """Names of metrics by those of their classes, or their paths; the second of a class ends in ``_2``.

    Example:
        >>> metric_names(["torchmetrics.MeanMetric", "MeanMetric", "Mine"])
        ['MeanMetric', 'MeanMetric_2', 'Mine']
    """
    seen: Counter[str] = Counter()
    names = []
    for path in classes:
        name = path.rpartition(".")[2]
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def _never() -> bool:
    return False


def _compute(metric: Metric, probability: Tensor, label: Tensor) -> Tensor:
    name = type(metric).__name__
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(No positive|No negative).*")  # as in ``scores``
            metric.reset()
            metric.update(probability, label)
            value = metric.compute()
    except Exception as error:  # whatever somebody else's code raises
        raise ConfigError(
            f"model.metrics: {name} cannot be computed from the probabilities and labels of frames "
            f"({first_line(error)}). It must take (N,) floats in [0, 1] and (N,) whole numbers."
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"model.metrics: {name} gives {shape}; it must give one number, to be logged.")
    return value.detach().double().reshape(())
