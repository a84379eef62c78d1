"""Maps over the face that say why a face was called fake.

``Contribution(model).attribute(images)`` gives an ``Explanation``; every method works alike. Each is imported when it
is first used, so that those which need other packages (see the ``figures`` extra) cost nothing until then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from resgat_pl.explain.base import Explainer as Explainer, Explanation as Explanation
    from resgat_pl.explain.methods.clips import ClipContribution as ClipContribution, FrameShapley as FrameShapley
    from resgat_pl.explain.methods.consensus import Consensus as Consensus
    from resgat_pl.explain.methods.ensemble import EnsembleContribution as EnsembleContribution
    from resgat_pl.explain.methods.gnn import GNNExplainer as GNNExplainer
    from resgat_pl.explain.methods.gradient import (
        GradCAM as GradCAM,
        GradientSHAP as GradientSHAP,
        InputXGradient as InputXGradient,
        IntegratedGradients as IntegratedGradients,
        Saliency as Saliency,
    )
    from resgat_pl.explain.methods.graph import (
        Attention as Attention,
        AttentionExcess as AttentionExcess,
        Contribution as Contribution,
        EdgeContribution as EdgeContribution,
        NodeEvidence as NodeEvidence,
    )
    from resgat_pl.explain.methods.importance import (
        PartialDependence as PartialDependence,
        PermutationImportance as PermutationImportance,
    )
    from resgat_pl.explain.methods.lime import LIME as LIME
    from resgat_pl.explain.methods.nodes import (
        NodeAblation as NodeAblation,
        NodeLIME as NodeLIME,
        NodeRISE as NodeRISE,
        NodeShapley as NodeShapley,
    )
    from resgat_pl.explain.methods.occlusion import Occlusion as Occlusion
    from resgat_pl.explain.methods.relevancy import Relevancy as Relevancy
    from resgat_pl.explain.methods.shap import KernelSHAP as KernelSHAP
    from resgat_pl.explain.methods.subgraph import MinimalSubgraph as MinimalSubgraph
    from resgat_pl.explain.methods.variants import (
        CoarseContribution as CoarseContribution,
        FineContribution as FineContribution,
        KeptEdges as KeptEdges,
        PredictedMask as PredictedMask,
        Routing as Routing,
    )
    from resgat_pl.explain.registry import explainer as explainer

_INTERFACE: Final = {
    **{"Explainer": "base", "Explanation": "base", "explainer": "registry"},
    **{"ClipContribution": "methods.clips", "FrameShapley": "methods.clips"},
}


def __getattr__(name: str) -> object:
    if name in _INTERFACE:
        return getattr(import_module(f"{__name__}.{_INTERFACE[name]}"), name)
    if not name.startswith("_"):
        from resgat_pl.explain.registry import methods

        if name in (known := methods()):
            return known[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from resgat_pl.explain.registry import methods

    return [*_INTERFACE, *methods()]
