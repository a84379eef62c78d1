"""Maps of the further outputs of a detector in a report: why this kind of manipulation, and why this region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import torch
from torch import Tensor

from resgat_pl.explain.base import Explanation, completeness_gap, evaluation_mode
from resgat_pl.explain.report.node_maps import mean_of_known
from resgat_pl.explain.sentences import Finding
from resgat_pl.nn.outputs import GENUINE, NONE_OF_THESE, name_kinds
from resgat_pl.nn.resgat import ResGAT

MOST: Final = 4
"""Outputs whose maps are shown, the likeliest."""
LIKELY: Final = 0.5


@dataclass(frozen=True)
class OutputMaps:
    """All further outputs of some faces; tensors are float32 on the CPU.

    Attributes:
        names: As of ``nn.outputs.Outputs``.
        kinds: Names of the kinds.
        logit: ``(B, P)``.
        node: ``(B, P, h, w)``, contributions to each output; with ``bias`` they add up to ``logit``.
        bias: ``(P,)``.
        kind_probability: ``(B, 1 + K)``, of genuine and the kinds.
        region_probability: ``(B, R)``.
    """

    names: Sequence[str]
    kinds: Sequence[str]
    logit: Tensor
    node: Tensor
    bias: Tensor
    kind_probability: Tensor
    region_probability: Tensor

    def findings(self, said: Sequence[Finding], limit: float | None) -> list[Finding]:
        """Findings with the kind and the manipulated regions of their faces added."""
        fake = torch.tensor([finding.verdict == "fake" for finding in said])
        by_kind = torch.nn.functional.pad(self.logit[:, : len(self.kinds)], (1, 0))
        named = name_kinds(by_kind, fake, self.kinds, limit) if self.kinds else [""] * len(said)
        regions = [name.partition(":")[2] for name in self.names[len(self.kinds) :]]
        return [
            replace(
                finding,
                kind=named[place],
                kinds=dict(zip((GENUINE, *self.kinds), self.kind_probability[place].tolist(), strict=True))
                if self.kinds
                else {},
                manipulated=dict(zip(regions, self.region_probability[place].tolist(), strict=True)),
            )
            for place, finding in enumerate(said)
        ]

    def shown(self, explained: Explanation, threshold: float = 0.5) -> dict[str, Explanation]:
        """Explanations of the likeliest outputs, at most ``MOST``, by title; those of all faces alike.

        They are likelier than not for some face; where one is called fake the likeliest kind is one of them.

        Args:
            explained: Of the logit of *fake* of the same faces, for the lattice and the edges.
            threshold: Score in [0, 1] above which a face is called fake.
        """
        likely = torch.cat([self.kind_probability[:, 1 : 1 + len(self.kinds)], self.region_probability], dim=1)
        most = likely.amax(dim=0)
        if self.kinds and bool((explained.logit.sigmoid() > threshold).any()):
            most[int(most[: len(self.kinds)].argmax())] = 1.0
        chosen = [place for place in most.argsort(descending=True, stable=True).tolist() if most[place] > LIKELY]
        return {title_of(self.names[place]): self._explanation(place, explained) for place in sorted(chosen[:MOST])}

    def of_each_face(self) -> dict[str, Tensor]:
        """Maps ``(B, h, w)`` of each face's likeliest kind, ``kind``, and region, ``region``, as far as there are."""
        found = {}
        kinds, every = len(self.kinds), torch.arange(len(self.node))
        if kinds:
            found["kind"] = self.node[every, self.logit[:, :kinds].argmax(dim=1)]
        if kinds < len(self.names):
            found["region"] = self.node[every, kinds + self.logit[:, kinds:].argmax(dim=1)]
        return found

    def _explanation(self, place: int, explained: Explanation) -> Explanation:
        node, logit = self.node[:, place], self.logit[:, place]
        bias = self.bias[place].expand(len(logit))
        return replace(
            explained,
            method=title_of(self.names[place]),
            unit="logit",
            signed=True,
            target="fake",
            node_map=node,
            edge_scores=None,
            logit=logit,
            bias=bias,
            completeness_gap=completeness_gap(node.flatten(1), logit, bias),
        )


def title_of(name: str) -> str:
    """Title of an output's map.

    Example:
        >>> title_of("kind:Face2Face"), title_of("region:left eye")
        ('Why Face2Face', 'Why left eye')
    """
    return f"Why {name.partition(':')[2]}"


def about(title: str) -> str:
    """One sentence on the map of an output."""
    return (
        f"{title}: what each node adds to the logit of this output, attention times value. Its nodes and bias add up "
        "to that logit exactly; it is another one than the logit of fake."
    )


@torch.no_grad()
def output_maps(net: ResGAT, images: Tensor, batch_size: int) -> OutputMaps | None:
    """Decompose the further outputs of ``images (B, 3, H, W)`` float in [0, 1], RGB; None of a net without any.

    Args:
        net: Its mode is restored.
        images: The faces.
        batch_size: Images that go through the network at once.
    """
    outputs = net.outputs
    if outputs is None:
        return None
    weight = next(net.parameters())
    with evaluation_mode(net):
        parts = []
        for batch in torch.split(images, batch_size):
            graph = net.graph(net.encode(batch.to(weight.device, weight.dtype)))
            parts.append(outputs.decompose(net.gat, net.grid, graph))
    logit = torch.cat([part.logit for part in parts]).float().cpu()
    node = torch.cat([part.node for part in parts]).float().cpu()
    return OutputMaps(
        names=outputs.names,
        kinds=outputs.kinds,
        logit=logit,
        node=net.levels(*images.shape[2:]).summed(node),
        bias=parts[0].bias.float().cpu(),
        kind_probability=outputs.kind_logits(logit).softmax(dim=1),
        region_probability=outputs.region_logits(logit).sigmoid(),
    )


def mean_of(said: Sequence[Finding]) -> Mapping[str, Mapping[str, float]]:
    """Means of the kinds and regions of one face over its frames, as fields of a ``Finding``."""
    return {
        field: {name: sum(getattr(one, field)[name] for one in said) / len(said) for name in getattr(said[0], field)}
        for field in ("kinds", "manipulated")
    }


def common_kind(said: Sequence[Finding], verdict: str) -> str:
    """The kind of a face over its frames; genuine if the verdict on it is, and empty without kinds.

    None of these if most frames that were called fake are; else the likeliest on average.
    """
    kinds = [finding.kind for finding in said if finding.kind != GENUINE]
    if not said[0].kinds or verdict != "fake":
        return GENUINE if said[0].kinds else ""
    if kinds and 2 * kinds.count(NONE_OF_THESE) > len(kinds):
        return NONE_OF_THESE
    mean = {name: value for name, value in mean_of(said)["kinds"].items() if name != GENUINE}
    return max(mean, key=lambda name: mean[name])


def mean_finding(said: Sequence[Finding], probability: float, limit: float = 0.5) -> Finding:
    """The finding on a face from those on its frames: every number is their mean."""
    return replace(
        said[0],
        logit=fmean(finding.logit for finding in said),
        bias=fmean(finding.bias for finding in said),
        regions={name: fmean(finding.regions[name] for finding in said) for name in said[0].regions},
        average_face=any(finding.average_face for finding in said),
        entropy=mean_of_known(finding.entropy for finding in said),
        agreement=mean_of_known(finding.agreement for finding in said),
        mean_probability=probability,
        limit=limit,
        kinds=mean_of(said)["kinds"],
        manipulated=mean_of(said)["manipulated"],
        mask={name: fmean(finding.mask[name] for finding in said) for name in said[0].mask},
        kind=common_kind(said, "fake" if probability > limit else "real"),
    )
