"""Runs the chosen explanation methods on the faces of one file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeGuard

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import errors_of
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer, Explanation, why_not
from resgat_pl.explain.clauses import covered
from resgat_pl.explain.methods.clips import ClipContribution, ClipExplainer, FrameShapley, clip_logits
from resgat_pl.explain.methods.graph import Contribution, ReadOut, read_outs
from resgat_pl.explain.methods.variants import (
    CoarseContribution,
    FineContribution,
    KeptEdges,
    PredictedMask,
    Routing,
)
from resgat_pl.explain.report.outputs import OutputMaps, output_maps
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.ensemble import Ensemble
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

DEFAULT: Final = "Contribution,Attention,NodeEvidence"
"""Methods for a ResGAT: they are read off the pass that scores the faces, so they cost nothing."""
OWN: Final[tuple[type[ReadOut], ...]] = (PredictedMask, Routing, KeptEdges, FineContribution, CoarseContribution)
"""Methods of the same pass that only networks with an optional part have."""
_HALF: Final = 0.5
OF_ANY: Final = "InputXGradient"
"""Methods for a detector without contributions: one pass back costs little."""

OF_ENSEMBLE: Final = "EnsembleContribution"
"""For an ensemble of detectors with contributions."""


def default_methods(net: DetectorNet) -> str:
    """Names of the methods for a detector when none are asked for; what only it has is among them."""
    if isinstance(net, VideoResGAT):
        return ClipContribution.__name__ if net.is_additive else FrameShapley.__name__
    if isinstance(net, Ensemble) and net.adds_up:
        return OF_ENSEMBLE
    if not net.has_contributions:
        return OF_ANY
    return ",".join([DEFAULT, *(method.__name__ for method in OWN if why_not(method, net) is None)])


def require_explainable(net: DetectorNet, methods: Sequence[type[Explainer]]) -> None:
    """Refuse methods that cannot explain a network, before the long work.

    Raises:
        ConfigError: Says why, and names others.
    """
    for method in methods:
        if reason := why_not(method, net):
            raise ConfigError(f"--methods: {reason}")
        if isinstance(net, VideoResGAT) and not issubclass(method, ClipExplainer):
            raise ConfigError(
                f"--methods: {method.__name__} explains single pictures, and this detector judges clips: take "
                "ClipContribution (when and where) or FrameShapley (when)."
            )
        if isinstance(net, VideoResGAT):
            method(net)  # which refuses a network without an additive form


def choose_methods(names: str) -> list[type[Explainer]]:
    """Explainers by class name, entry point or class path, separated by commas.

    Raises:
        ConfigError: None is named, one is unknown, or one needs more than a network.
    """
    wanted = list(dict.fromkeys(name for part in names.split(",") if (name := part.strip())))
    if not wanted:
        raise ConfigError(f"--methods names nothing. There are: {', '.join(registry.methods())}.")
    chosen = list(dict.fromkeys(registry.find(name) for name in wanted))
    if needy := [method.__name__ for method in chosen if registry.required_arguments(method)]:
        raise ConfigError(f"--methods: {needy[0]} needs more than a network and a picture, and cannot be used here.")
    return chosen


def is_shared(method: type[Explainer]) -> TypeGuard[type[ReadOut]]:
    """True for a method that is read off the pass that scores."""
    return issubclass(method, ReadOut)


class Explained(NamedTuple):
    """The results of all methods for some faces.

    Attributes:
        logit: ``(B,)`` float32.
        contribution: For the sentences: the contributions of a ResGAT; else a method among those asked for whose map
            adds up to the logit; None where there is none.
        attention: ``(B, E, heads)`` float32, of the same pass; None of a detector without contributions.
        methods: By name, in the order asked for.
        outputs: Further outputs of the network, with their maps; None of one without any.
        faces: Of a detector of clips, the logits ``(k,)`` of the clips of each face; None of any other.
    """

    logit: Tensor
    contribution: Explanation | None
    attention: Tensor | None
    methods: dict[str, Explanation]
    outputs: OutputMaps | None = None
    faces: list[Tensor] | None = None


def run(
    net: DetectorNet,
    images: Tensor,
    methods: Sequence[type[Explainer]],
    batch_size: int,
    lengths: Sequence[int] = (),
) -> Explained:
    """Explain ``images (B, 3, H, W)`` float in [0, 1], RGB, on the CPU, by every method.

    Args:
        net: The detector.
        images: Faces, those of one person over time one after the other.
        methods: What to explain by.
        batch_size: Images at once.
        lengths: Number of images of each person; a detector of clips needs them.
    """
    if isinstance(net, VideoResGAT):
        return _run_clips(net, images, methods, batch_size, lengths)
    if not isinstance(net, ResGAT) or not net.has_contributions:
        maps = {method.__name__: method(net, batch_size=batch_size).attribute(images).cpu() for method in methods}
        exact = (maps[method.__name__] for method in methods if method.exact and method.unit == "logit")
        further = output_maps(net, images, batch_size) if isinstance(net, ResGAT) else None
        return Explained(logits(net, images, batch_size), next(exact, None), None, maps, further)
    shared, attention = read_outs(net, images, [Contribution, *filter(is_shared, methods)], batch_size)
    found = {
        method.__name__: shared.get(method.__name__) or _attributed(method, net, images, batch_size)
        for method in methods
    }
    contribution = shared[Contribution.__name__]
    return Explained(contribution.logit, contribution, attention, found, output_maps(net, images, batch_size))


def own_parts(detector: Detector, explained: Explained | None) -> list[str]:
    """Sentences on a detector's own mask and on its gates of edges, where these are among the methods.

    Args:
        detector: With the threshold of its mask, if validation chose one.
        explained: Of the faces of one file; None without faces.
    """
    threshold = detector.checkpoint.mask_threshold
    found = {} if explained is None else explained.methods
    said = []
    mask = found.get(PredictedMask.__name__)
    if mask is not None:
        part = "a factor of the contributions" if getattr(detector.net, "is_gated", False) else "not part of the logit"
        covers = ""
        if threshold is not None:
            share = float(covered(mask.node_map, mask.lattice, threshold).mean())
            covers = f" It covers {share:.0%} of these faces' crops at its threshold {threshold:.2f}."
        said.append(f"The detector's own mask (PredictedMask) is {part}.{covers}")
    kept = found.get(KeptEdges.__name__)
    if kept is not None and kept.edge_scores is not None:
        edges = kept.edge_scores
        said.append(
            f"The bottleneck keeps {float(edges.mean()):.0%} of what the edges send on these faces; "
            f"{float((edges > _HALF).double().mean()):.0%} of the edges are kept by more than half."
        )
    return said


def mask_numbers(detector: Detector, explained: Explained) -> list[dict[str, float]]:
    """The numbers of ``Finding.mask`` of each face; empty ones without a mask, or without a threshold for it."""
    mask, threshold = explained.methods.get(PredictedMask.__name__), detector.checkpoint.mask_threshold
    if mask is None or threshold is None:
        return [{} for _ in explained.logit]
    about = {"threshold": threshold, "factor": float(getattr(detector.net, "is_gated", False))}
    return [{"share": share, **about} for share in covered(mask.node_map, mask.lattice, threshold).tolist()]


def _run_clips(
    net: VideoResGAT, images: Tensor, methods: Sequence[type[Explainer]], batch_size: int, lengths: Sequence[int]
) -> Explained:
    first, *rest = dict.fromkeys(method for method in methods if issubclass(method, ClipExplainer))
    seen = {first.__name__: first(net, batch_size).attribute_faces(images, lengths)}
    seen |= {method.__name__: method(net, batch_size).attribute_faces(images, lengths) for method in rest}
    found = {name: explanation for name, (explanation, _) in seen.items()}
    explanation, faces = seen[first.__name__]
    return Explained(explanation.logit, found.get(ClipContribution.__name__), None, found, faces=faces)


def _attributed(method: type[Explainer], net: ResGAT, images: Tensor, batch_size: int) -> Explanation:
    with errors_of("explainer", method):
        return method(net, batch_size=batch_size).attribute(images).cpu()


def outputs_shown(explained: Explained, threshold: float) -> dict[str, Explanation]:
    """Maps of the likeliest further outputs, by title, see ``OutputMaps.shown``; none of a network without any."""
    if explained.outputs is None:
        return {}
    of_fake = explained.contribution or next(iter(explained.methods.values()))
    return explained.outputs.shown(of_fake, threshold)


def face_logits(net: DetectorNet, images: Tensor, batch_size: int, lengths: Sequence[int]) -> list[Tensor]:
    """Logits of each face, ``(n,)`` of its images or, of a detector of clips, ``(k,)`` of its clips; as of ``run``."""
    if isinstance(net, VideoResGAT):
        return clip_logits(net, images, lengths, batch_size)
    return list(torch.split(logits(net, images, batch_size), list(lengths)))


@torch.no_grad()
def logits(net: DetectorNet, images: Tensor, batch_size: int) -> Tensor:
    """Logits ``(B,)`` float32 on the CPU of ``images (B, 3, H, W)`` float in [0, 1], RGB, on the CPU."""
    device = next(net.parameters()).device
    return torch.cat([net(batch.to(device)).logit.float().cpu() for batch in torch.split(images, batch_size)])
