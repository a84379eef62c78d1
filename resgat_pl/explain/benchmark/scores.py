"""Definitions of the scores of explanation methods, in the groups of the leaderboard's tables."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

BASELINES: Final = ("Random", "Uniform", "CentrePrior", "MeanMask")
"""Methods without a network, which every other has to beat."""
ORACLE: Final = "Restoration"
"""The effect of restoring each node alone, as a map: needs the real counterpart, which nobody has of a fake. Nodes act
together, so the nodes with the largest effects are not the best set of nodes."""


class Score(NamedTuple):
    """One score.

    Attributes:
        title: Head of its column.
        better: Whether ``high`` or ``low`` values are good; empty where neither is.
        meaning: In a sentence.
    """

    title: str
    better: Literal["high", "low", ""]
    meaning: str


GAINED: Final = ("auroc_face", "iou", "pixel_auroc", "pointing", "seam")
"""Scores of localisation whose difference to the priors is reported."""
PRIORS: Final = {"centre": "CentrePrior", "mean": "MeanMask"}
"""Baselines that know where forgeries usually are, by the ending of the scores that compare with them."""
RIVALS: Final = {"random": "Random", "centre": "CentrePrior"}
"""Baselines whose nodes are exchanged beside a method's, by the ending of the scores that compare with them."""
SWAPPED: Final = ("flips", "implanted", "sufficiency")
"""Scores of a few exchanged nodes, which are compared with as many other nodes."""

_LOCALISATION: Final = {
    "auroc_face": Score(
        "AUROC in face",
        "high",
        "how often a manipulated node ranks above a clean one inside the face; blank for whole-face forgeries, whose "
        "nodes in the face are nearly all manipulated",
    ),
    "iou": Score(
        "IoU",
        "high",
        "intersection over union of the mask and the area where the map, drawn at the mask's resolution, passes the "
        "threshold that was best on validation faces",
    ),
    "pixel_auroc": Score("pixel AUROC", "high", "how often a manipulated pixel of the drawn map is above a clean one"),
    "pointing": Score("pointing", "high", "share of faces whose highest node is manipulated"),
    "seam": Score("seam", "high", "share of the top 10.2 % of the nodes whose cell touches the rim of the mask"),
    "seam_gain": Score("seam − chance", "high", "the same minus the share of all nodes that do, which is chance"),
    "auroc": Score("AUROC, all", "high", "AUROC over all nodes; position alone goes a long way here"),
    "mass": Score("mass", "high", "share of the positive evidence that lies inside the mask"),
    "aupro": Score("AUPRO", "high", "per-region overlap up to 30 % false positives, by pixels; chance is 0.15"),
}
_GAIN: Final = {
    "gain": Score("AUROC in face − best", "high", "AUROC in face minus that of the baseline that is best on these"),
    **{
        f"{score}_over_{end}": Score(
            f"{_LOCALISATION[score].title} − {'centre' if end == 'centre' else 'mean mask'}",
            "high",
            f"{_LOCALISATION[score].title} minus that of {prior}, face by face",
        )
        for score in GAINED
        for end, prior in PRIORS.items()
    },
}


def _swapped(name: str, title: str, meaning: str) -> dict[str, Score]:
    """A score of exchanged nodes and its excess over other nodes."""
    return {
        name: Score(title, "high", meaning),
        f"{name}_over_random": Score(f"{title} − random", "high", f"{title} minus that of as many random nodes"),
        f"{name}_over_centre": Score(f"{title} − centre", "high", f"{title} minus that of as many central nodes"),
    }


_FAITHFULNESS: Final = {
    **_swapped(
        "flips",
        "flips@5",
        "share of faces whose verdict turns when the 5 highest nodes of 49 (10.2 %) are restored, of those whose "
        "genuine counterpart is called genuine",
    ),
    **_swapped(
        "implanted",
        "implanted@5",
        "share of the same faces whose genuine counterpart is called fake once it has these nodes of the fake",
    ),
    **_swapped(
        "sufficiency",
        "sufficiency@5",
        "share of the logit, from the genuine face (0) to the fake (1), that is there when only these nodes are left "
        "of the fake",
    ),
    "restoration": Score(
        "restoration", "low", "area under the logit, from the fake's (1) to the real's (0), highest node first"
    ),
    "restoration_over_random": Score("restoration − random", "low", "restoration minus that of Random"),
    "restoration_over_centre": Score("restoration − centre", "low", "restoration minus that of CentrePrior"),
    "fidelity_plus": Score(
        "fidelity+@5", "high", "fall of the probability when the 5 highest nodes of 49 are dropped from the graph"
    ),
    "fidelity_minus": Score(
        "fidelity−@5", "low", "fall of the probability when all but these nodes are dropped; below 0 where it rises"
    ),
    "sparsity": Score(
        "sparsity", "high", "1 less the share of nodes, highest first, that alone give the verdict, the others dropped"
    ),
    "effects": Score("ρ effects", "high", "rank correlation with the effect of restoring each node alone"),
}
_SILENCE: Final = {
    "silence_top": Score(
        "top, genuine / fake",
        "low",
        "median highest node of genuine faces divided by that of fakes; 1 says nothing",
    ),
    "silence_sum": Score("Σ|map|, genuine / fake", "low", "the same of the sum of all absolute values"),
    "false_regions": Score(
        "false regions", "low", "share of genuine faces on which a node passes the threshold of IoU: an area is named"
    ),
    "control": Score("fake > real", "high", "how often the map's top on a fake is above that on its real counterpart"),
}
_SANITY: Final = {
    "deletion_blur": Score("deletion, blur", "low", "area under the probability while nodes are blurred"),
    "deletion_mean": Score("deletion, mean", "low", "area under the probability while nodes get the mean colour"),
    "insertion_blur": Score("insertion, blur", "high", "area under the probability while nodes come back from blur"),
    "insertion_mean": Score("insertion, mean", "high", "the same from the mean colour"),
    "random_head": Score(
        "head random", "low", "|ρ| with the map after the head's weights were shuffled; see the floor"
    ),
    "random_gat": Score("+ GAT random", "low", "the same with the graph attention shuffled too"),
    "random_backbone": Score("all random", "low", "the same with the encoder shuffled too"),
    "target_flip": Score("target flip", "", "ρ with the map for real: −1 for a signed method, 1 for an unsigned one"),
    "uniform_attention": Score(
        "uniform attention", "", "ρ with the map under uniform attention: 1 owes nothing to attention"
    ),
}
GROUPS: Final = {
    "Localisation": tuple(_LOCALISATION),
    "Gain over baselines": tuple(_GAIN),
    "Faithfulness": tuple(_FAITHFULNESS),
    "Silence": tuple(_SILENCE),
    "Deletion, insertion and sanity": tuple(_SANITY),
}
"""Names of the scores in each table."""
SCORES: Final = {**_LOCALISATION, **_GAIN, **_FAITHFULNESS, **_SILENCE, **_SANITY}
"""In the order of the tables."""
GENUINE: Final = tuple(name for name in _SILENCE if name != "control")
"""Scores that need genuine faces besides the counterparts."""
COMPARED: Final = (
    *("auroc_face", "iou", "pixel_auroc", "auroc", "pointing", "seam"),
    *("flips", "implanted", "sufficiency", "restoration", "effects"),
    *("silence_top", "false_regions", "deletion_blur", "insertion_blur"),
)
"""Scores by which detectors are compared."""
BY_EXTENT: Final = (
    *("auroc_face", "iou", "pixel_auroc", "pointing", "seam_gain"),
    *("flips", "implanted", "sufficiency", "effects", "silence_top"),
)
"""Scores in the table that has part and whole-face forgeries apart."""
PROPORTIONS: Final = frozenset({"pointing", "flips", "implanted", "control", "false_regions"})
"""Shares of faces."""


def by_gap(score: str) -> bool:
    """True of scores that divide by how far a logit can fall, so that a face counts by that."""
    return score.startswith(("restoration", "sufficiency"))
