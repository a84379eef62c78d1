"""Maps over the face that say why a face was called fake.

``Contribution(model).attribute(images)`` gives an ``Explanation``; every method works alike. Each is imported when it
is first used, so that those which need other packages (see the ``figures`` extra) cost nothing until then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from resgat_pl.explain.base import Explainer, Explanation
    from resgat_pl.explain.methods.gnn import GNNExplainer
    from resgat_pl.explain.methods.gradient import GradCAM, GradientSHAP, IntegratedGradients, Saliency
    from resgat_pl.explain.methods.graph import Attention, AttentionExcess, Contribution, EdgeContribution, NodeEvidence
    from resgat_pl.explain.methods.importance import PartialDependence, PermutationImportance
    from resgat_pl.explain.methods.lime import LIME
    from resgat_pl.explain.methods.nodes import NodeAblation, NodeLIME, NodeRISE, NodeShapley
    from resgat_pl.explain.methods.occlusion import Occlusion
    from resgat_pl.explain.methods.shap import KernelSHAP, PartitionSHAP

METHODS: Final = {
    "Attention": "graph",
    "AttentionExcess": "graph",
    "Contribution": "graph",
    "EdgeContribution": "graph",
    "NodeEvidence": "graph",
    "NodeAblation": "nodes",
    "NodeLIME": "nodes",
    "NodeRISE": "nodes",
    "NodeShapley": "nodes",
    "GNNExplainer": "gnn",
    "GradCAM": "gradient",
    "GradientSHAP": "gradient",
    "IntegratedGradients": "gradient",
    "Saliency": "gradient",
    "Occlusion": "occlusion",
    "LIME": "lime",
    "KernelSHAP": "shap",
    "PartitionSHAP": "shap",
    "PartialDependence": "importance",
    "PermutationImportance": "importance",
}
"""All methods: class and module, the default families first."""

__all__ = [
    "LIME",
    "METHODS",
    "Attention",
    "AttentionExcess",
    "Contribution",
    "EdgeContribution",
    "Explainer",
    "Explanation",
    "GNNExplainer",
    "GradCAM",
    "GradientSHAP",
    "IntegratedGradients",
    "KernelSHAP",
    "NodeAblation",
    "NodeEvidence",
    "NodeLIME",
    "NodeRISE",
    "NodeShapley",
    "Occlusion",
    "PartialDependence",
    "PartitionSHAP",
    "PermutationImportance",
    "Saliency",
]


def __getattr__(name: str) -> Any:
    home = METHODS.get(name) or ("explanation" if name in {"Explainer", "Explanation"} else None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
