"""Which explanation methods to run, and running them on one file's faces."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

import resgat_pl.explain
from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Attribution, Explainer, Explanation
from resgat_pl.explain.methods.graph import Attention, Contribution, NodeEvidence, attention_map
from resgat_pl.nn.contribution import Contributions, contributions
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT

DEFAULT: Final = "Contribution,Attention,NodeEvidence"
"""They are read off the pass that scores the faces, so they cost nothing."""
_ABOUT: Final = {
    "Contribution": "What each node adds to the logit, attention times value; nodes and bias add up to it exactly.",
    "Attention": "The paper's map: how much the other nodes listen to a node, whichever way it speaks.",
    "AttentionExcess": "Attention above or below what perfectly uniform attention would show.",
    "NodeEvidence": "What each node says, however much attention it gets: the value factor of the contribution.",
}


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
    wanted = [name for name in (part.strip() for part in names.split(",")) if name]
    known = {method.__name__: method for method in _READ}
    if not wanted or not known.keys() >= set(wanted):
        known = _known()  # imports every method, so only where it must
    chosen: list[type[Explainer]] = []
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--methods: there is no {name}. There are: {', '.join(sorted(known))}.")
        if known[name] not in chosen:
            chosen.append(known[name])
    if not chosen:
        raise ConfigError(f"--methods names nothing. There are: {', '.join(sorted(known))}.")
    return chosen


def is_shared(method: type[Explainer]) -> bool:
    """Whether a method is read off the pass that scores."""
    return method in _READ


def about(method: type[Explainer]) -> str:
    """One sentence on what a method shows."""
    return _ABOUT.get(method.__name__) or (inspect.getdoc(method) or "").split("\n\n")[0].replace("`", "").replace(
        "\n", " "
    )


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
        method.__name__: shared.get(method) or _on_cpu(method(net, batch_size=batch_size).attribute(images))
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
    explained = {method: _explanation(net, lattice, method, found, seconds) for method, found in parts.items()}
    return explained, torch.cat(attention)


def _on_cpu(explanation: Explanation) -> Explanation:
    edges = explanation.edge_scores
    return replace(
        explanation,
        node_map=explanation.node_map.cpu(),
        edge_scores=None if edges is None else edges.cpu(),
        edge_index=explanation.edge_index.cpu(),
        logit=explanation.logit.cpu(),
        bias=explanation.bias.cpu(),
        completeness_gap=explanation.completeness_gap.cpu(),
    )


def _explanation(
    net: ResGAT, lattice: Lattice, method: type[Explainer], parts: list[Attribution], seconds: float
) -> Explanation:
    nodes = torch.cat([part.nodes.float().cpu() for part in parts])
    logit = torch.cat([part.logit.float().cpu() for part in parts])
    bias = torch.cat([part.bias.float().cpu() for part in parts])
    edges = [part.edges.float().cpu() for part in parts if part.edges is not None]
    gap = (nodes.sum(dim=1) + bias - logit).abs() / (1 + logit.abs())
    return Explanation(
        method=method.__name__,
        unit=method.unit,
        signed=method.signed,
        target="fake",
        node_map=nodes.reshape(len(nodes), *net.grid.shape),
        lattice=lattice,
        edge_scores=torch.cat(edges) if edges else None,
        edge_index=net.grid.edge_index.cpu(),
        logit=logit,
        bias=bias,
        completeness_gap=gap if method.unit == "logit" else torch.full_like(gap, torch.nan),
        n_forward=1,
        n_backward=0,
        n_graph=0,
        seconds=seconds,
    )


def _known() -> dict[str, type[Explainer]]:
    """Every explainer that needs nothing but a network, by name."""
    for module in pkgutil.iter_modules(resgat_pl.explain.__path__, f"{resgat_pl.explain.__name__}."):
        importlib.import_module(module.name)
    found: dict[str, type[Explainer]] = {}
    rest = [Explainer]
    while rest:
        for method in rest.pop().__subclasses__():
            rest.append(method)
            if method.__module__.startswith("resgat_pl.") and not inspect.isabstract(method) and _is_plain(method):
                found[method.__name__] = method
    return found


def _is_plain(method: type[Explainer]) -> bool:
    extra = list(inspect.signature(method).parameters.values())[1:]
    return not method.__name__.startswith("_") and all(
        parameter.default is not parameter.empty or parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        for parameter in extra
    )
