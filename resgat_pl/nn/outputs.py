"""Further outputs of one graph beside the logit of *fake*: the kind of manipulation, and the manipulated regions.

Each is a row of one linear layer on the pooled graph, so each has a separate exact map over the nodes, by the same
arithmetic as the logit of *fake* (``nn.contribution``): z_p = b'_p + Σ_j c_pj.

- ``kind:NAME``: the log-odds of this kind against *genuine*, whose row would be a constant 0: the softmax over
  (0, z_1, …, z_K) are the probabilities of genuine and of the kinds. So the map of a kind says why it is this kind and
  not genuine.
- ``region:NAME``: the log-odds that this region of the face was manipulated; regions do not exclude each other.

A face of none of the kinds is found by its energy, log Σ_k exp z_k (Liu et al., "Energy-based Out-of-distribution
Detection", NeurIPS 2020), or by the largest z_k (Hendrycks et al., "Scaling Out-of-Distribution Detection for
Real-World Settings", ICML 2022): a fake below a limit that validation chose is of none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.core.text import nearest
from resgat_pl.nn.gat import GraphState, GridGATConv, GridGATv2Conv
from resgat_pl.nn.grid import Grid

GENUINE: Final = "genuine"
NONE_OF_THESE: Final = "none of these"
_KIND, _REGION = "kind:", "region:"
_MOST: Final = 256


class OutputContributions(NamedTuple):
    """Decomposed outputs; everything is in logits of the output, positive towards it.

    ``node.sum(-1) + bias`` is ``logit``, to float precision.

    Attributes:
        logit: ``(B, P)`` float, as ``Outputs.forward`` gives it.
        node: ``(B, P, N)`` float, c_pj: what node j adds to output p.
        bias: ``(P,)`` float, b'_p: the outputs without any node, computed from the parameters.
    """

    logit: Tensor
    node: Tensor
    bias: Tensor


class Outputs(nn.Module):
    """Rows of a linear layer on the pooled graph, by name.

    Args:
        names: ``kind:NAME`` with the name of a manipulation method in the manifest, ``region:NAME`` with one of
            ``core.face_regions.FACE_REGIONS``, or ``region:*`` for all of these.
        in_features: heads × hidden.

    Attributes:
        names: One for each row: kinds first, then regions.
        kinds: Names of the kinds, without *genuine*.
        regions: Names of the regions.

    Raises:
        ConfigError: A name is no such name, or is there twice.

    Example:
        >>> outputs = Outputs(["region:mouth", "kind:FaceSwap", "kind:Face2Face"], 8)
        >>> outputs.names, outputs.kinds
        (['kind:FaceSwap', 'kind:Face2Face', 'region:mouth'], ['FaceSwap', 'Face2Face'])
    """

    def __init__(self, names: Sequence[str], in_features: int) -> None:
        super().__init__()
        self.kinds, self.regions = _parsed(names)
        self.names = [*(f"{_KIND}{kind}" for kind in self.kinds), *(f"{_REGION}{name}" for name in self.regions)]
        self.linear = nn.Linear(in_features, len(self.names))

    @property
    def weight(self) -> Tensor:
        """``(P, in_features)``, the directions that ``gat.attend`` reads."""
        return self.linear.weight

    def forward(self, graph: GraphState) -> Tensor:
        """Logits ``(B, P)`` of graphs; their directions are the last that were read, where pooling was left out."""
        if graph.pooled is None and graph.read is not None:
            return graph.read[:, -len(self.names) :] + self.linear.bias
        found: Tensor = self.linear(graph.pooled)
        return found

    def kind_logits(self, logits: Tensor) -> Tensor:
        """Of ``(B, P)`` those of genuine, which are 0, and of the kinds: ``(B, 1 + K)``, for a softmax."""
        return F.pad(logits[:, : len(self.kinds)], (1, 0))

    def region_logits(self, logits: Tensor) -> Tensor:
        """Of ``(B, P)`` those of the regions, ``(B, R)``."""
        return logits[:, len(self.kinds) :]

    def decompose(self, gat: GridGATConv | GridGATv2Conv, grid: Grid, graph: GraphState) -> OutputContributions:
        """Each output as a sum over the nodes of graphs that ``gat`` has just made of ``grid``, see the module."""
        value = gat.along(graph, self.weight.unsqueeze(0)) / grid.num_nodes  # (B, N, heads, P)
        heard = grid.sum_by_source(graph.weights)
        if graph.gate is not None:
            heard = heard * graph.gate.unsqueeze(-1)
        return OutputContributions(
            logit=self(graph),
            node=torch.einsum("bnh,bnhp->bpn", heard, value),
            bias=self.linear.bias + self.weight @ gat.constant,
        )


def energy(kind_logits: Tensor) -> Tensor:
    """Energy log Σ_k exp z_k of the kinds in ``kind_logits (B, 1 + K)``, genuine left out: ``(B,)``, high if known.

    Example:
        >>> energy(torch.tensor([[0.0, 2.0, -9.0], [0.0, -3.0, -3.0]]))
        tensor([ 2.0000, -2.3069])
    """
    return kind_logits[:, 1:].logsumexp(dim=1)


def name_kinds(kind_logits: Tensor, fake: Tensor, kinds: Sequence[str], limit: float | None) -> list[str]:
    """The kind of each face: genuine, one of the kinds, or none of these.

    Args:
        kind_logits: ``(B, 1 + K)`` float.
        fake: ``(B,)`` bool, the verdict, which the kind never contradicts.
        kinds: K names.
        limit: Fakes with less ``energy`` are of none of these; None where validation chose none, and then all are of
            one of them.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0, -9.0], [0.0, -3.0, -2.0], [0.0, 2.0, 1.0]])
        >>> name_kinds(logits, torch.tensor([True, True, False]), ["swap", "mouth"], limit=0.0)
        ['swap', 'none of these', 'genuine']
    """
    best = kind_logits[:, 1:].argmax(dim=1).tolist()
    known = [True] * len(best) if limit is None else (energy(kind_logits) >= limit).tolist()
    return [
        GENUINE if not is_fake else kinds[place] if is_known else NONE_OF_THESE
        for is_fake, is_known, place in zip(fake.tolist(), known, best, strict=True)
    ]


def _parsed(names: object) -> tuple[list[str], list[str]]:
    """Kinds and regions of ``net.outputs``."""
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"net.outputs is {str(names)!r:.80}; it must be a list such as [kind:Deepfakes, kind:FaceSwap, region:*]."
        )
    kinds: list[str] = []
    regions: list[str] = []
    for name in names:
        if name == "region:*":
            regions += FACE_REGIONS
        elif name == "kind:*":
            raise ConfigError(
                "net.outputs has kind:*, the methods of a manifest, which resgat fit puts in its place once the crops "
                "are there (resgat extract). In Python name them: kind:Deepfakes and so on."
            )
        elif name.startswith(_REGION):
            region = name.removeprefix(_REGION)
            if region not in FACE_REGIONS:
                hint = nearest(region, list(FACE_REGIONS))
                raise ConfigError(
                    f"net.outputs has {name:.80}, and there is no such region.{hint} There are: "
                    f"{', '.join(FACE_REGIONS)}, or region:* for all."
                )
            regions.append(region)
        elif name.startswith(_KIND) and name != _KIND:
            kinds.append(name.removeprefix(_KIND))
        else:
            raise ConfigError(f"net.outputs has {name!r:.80}; each is kind:NAME or region:NAME, or region:* for all.")
    if wrong := [kind for kind in kinds if kind in {GENUINE, NONE_OF_THESE, "original"}]:
        raise ConfigError(f"net.outputs has kind:{wrong[0]}, which is what is left beside the kinds: leave it out.")
    for found in (kinds, regions):
        if twice := sorted({name for name in found if found.count(name) > 1}):
            raise ConfigError(f"net.outputs has {twice[0]!r:.80} twice: leave one out.")
    if len(kinds) + len(regions) > _MOST:
        raise ConfigError(f"net.outputs has {len(kinds) + len(regions)} outputs; {_MOST} are the most.")
    return kinds, regions
