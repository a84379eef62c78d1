"""Maps over the face that say why a face was called fake.

``Contribution(model).attribute(images)`` gives an ``Explanation``; every method works alike. Each is imported when it
is first used, so that those which need other packages (see the ``figures`` extra) cost nothing until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.base import Explainer as Explainer, Explanation as Explanation
    from resgat_pl.explain.methods.gnn import GNNExplainer as GNNExplainer
    from resgat_pl.explain.methods.gradient import (
        GradCAM as GradCAM,
        GradientSHAP as GradientSHAP,
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
    from resgat_pl.explain.methods.shap import KernelSHAP as KernelSHAP, PartitionSHAP as PartitionSHAP

METHODS: Final = {
    "Attention": "methods.graph",
    "AttentionExcess": "methods.graph",
    "Contribution": "methods.graph",
    "EdgeContribution": "methods.graph",
    "NodeEvidence": "methods.graph",
    "NodeAblation": "methods.nodes",
    "NodeLIME": "methods.nodes",
    "NodeRISE": "methods.nodes",
    "NodeShapley": "methods.nodes",
    "GNNExplainer": "methods.gnn",
    "GradCAM": "methods.gradient",
    "GradientSHAP": "methods.gradient",
    "IntegratedGradients": "methods.gradient",
    "Saliency": "methods.gradient",
    "Occlusion": "methods.occlusion",
    "LIME": "methods.lime",
    "KernelSHAP": "methods.shap",
    "PartitionSHAP": "methods.shap",
    "PartialDependence": "methods.importance",
    "PermutationImportance": "methods.importance",
}
"""All methods: class and module, the default families first."""

__getattr__, __dir__ = lazy_names(__name__, {**METHODS, "Explainer": "base", "Explanation": "base"})
