"""Runs the chosen explanation methods on the faces of one file."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain import registry
from resgat_pl.explain.base import Attribution, Explainer, Explanation
from resgat_pl.explain.methods.graph import Attention, Contribution, NodeEvidence, attention_map
from resgat_pl.nn.contribution import Contributions, contributions
from resgat_pl.nn.resgat import ResGAT

DEFAULT: Final = "Contribution,Attention,NodeEvidence"
"""They are read off the pass that scores the faces, so they cost nothing."""


def _read_contribution(found: Contributions) -> Attribution:
    return Attribution(found.node, found.output.logit, found.bias, found.edge)


def _read_attention(found: Contributions) -> Attribution:
    output = found.output
    return Attribution(attention_map(output), output.logit, found.bias, output.attention.mean(dim=-1))


def _read_evidence(found: Contributions) -> Attribution:
    return Attribution(found.evidence, found.output.logit, found.bias)


_READ: Final[dict[type[Explainer], Callable[[Contributions], Attribution]]] = {
    Contribution: _read_contribution,
    Attention: _read_attention,
    NodeEvidence: _read_evidence,
}
"""How to read a method off the pass that scores, in place of a pass of its own."""


def choose_methods(names: str) -> list[type[Explainer]]:
    """Explainers by class name, separated by commas.

    Raises:
        ConfigError: None is named, one is unknown, or one needs more than a network.
    """
    wanted = list(dict.fromkeys(name for part in names.split(",") if (name := part.strip())))
    if not wanted:
        raise ConfigError(f"--methods names nothing. There are: {', '.join(registry.methods())}.")
    chosen = [registry.find(name) for name in wanted]
    if needy := [method.__name__ for method in chosen if not _is_plain(method)]:
        raise ConfigError(f"--methods: {needy[0]} needs more than a network and a picture, and cannot be used here.")
    return chosen


def is_shared(method: type[Explainer]) -> bool:
    """Whether a method is read off the pass that scores."""
    return method in _READ


class Explained(NamedTuple):
    """What all methods find for some faces.

    Attributes:
        contribution: Always there, for the logits and the sentences.
        attention: ``(B, E, heads)`` float32, of the same pass.
        methods: By name, in the order asked for.
    """

    contribution: Explanation
    attention: Tensor
    methods: dict[str, Explanation]


def run(net: ResGAT, images: Tensor, methods: Sequence[type[Explainer]], batch_size: int) -> Explained:
    """Explain ``images (B, 3, H, W)`` float in [0, 1], RGB, on the CPU, by every method."""
    shared, attention = _shared(net, images, batch_size)
    found = {
        method.__name__: shared.get(method) or method(net, batch_size=batch_size).attribute(images).cpu()
        for method in methods
    }
    return Explained(shared[Contribution], attention, found)


@torch.no_grad()
def logits(net: ResGAT, images: Tensor, batch_size: int) -> Tensor:
    """Logits ``(B,)`` float32 on the CPU of ``images (B, 3, H, W)`` float in [0, 1], RGB, on the CPU."""
    device = next(net.parameters()).device
    return torch.cat([net(batch.to(device)).logit.float().cpu() for batch in torch.split(images, batch_size)])


@torch.no_grad()
def _shared(net: ResGAT, images: Tensor, batch_size: int) -> tuple[dict[type[Explainer], Explanation], Tensor]:
    """Read every method of ``_READ`` off a single pass; also the attention ``(B, E, heads)`` of that pass."""
    device = next(net.parameters()).device
    started = time.perf_counter()
    attention: list[Tensor] = []
    lattice = net.backbone.lattice(*images.shape[2:])
    parts: dict[type[Explainer], list[Attribution]] = {method: [] for method in _READ}
    for batch in torch.split(images, batch_size):
        found = contributions(net, batch.to(device))
        attention.append(found.output.attention.float().cpu())
        for method, read in _READ.items():
            parts[method].append(read(found))
    seconds = (time.perf_counter() - started) / len(images)
    explained = {
        method: Explanation.from_parts(method, net.grid, lattice, found, seconds).cpu()
        for method, found in parts.items()
    }
    return explained, torch.cat(attention)


def _is_plain(method: type[Explainer]) -> bool:
    extra = list(inspect.signature(method).parameters.values())[1:]
    return all(
        parameter.default is not parameter.empty or parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        for parameter in extra
    )
