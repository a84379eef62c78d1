"""What the paper's review claims of each system, as measures of ``experiments/systems.py``: data, without a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from systems_measure import BOARDS, ELSEWHERE, Lab
from systems_values import Value

from resgat_pl.evaluation.metrics.intervals import Interval

Source = Callable[[Lab, int], Value | Interval]
"""A number of one seed."""


@dataclass(frozen=True)
class Line:
    """One measure of a claim: ours beside another detector, method or number.

    Attributes:
        what: Measure.
        names: Ours and the other, as the page calls them.
        ours: Its number.
        beside: The other's; a number is a constant.
        low: Whether low values are good.
        margin: A gain below it would not be worth naming; where the interval excludes a larger one, the claim did not
            hold.
        scale: Factor of the printed numbers.
    """

    what: str
    names: tuple[str, str]
    ours: Source
    beside: Source | float
    low: bool = False
    margin: float = 0.02
    scale: float = 100


@dataclass(frozen=True)
class Claim:
    """What the paper's review says of a system, and the measures it is held against: all of them have to agree."""

    ref: str
    system: str
    text: str
    lines: tuple[Line, ...]


def _detected(metric: str, label: str, **where: Any) -> Source:
    return lambda lab, seed: lab.detection(metric, label, seed, **where)


def _face(score: str, board: str, label: str, method: str = "Contribution") -> Source:
    return lambda lab, seed: lab.face(score, board, label, method, seed)


def _when(what: str, label: str) -> Source:
    return lambda lab, seed: lab.when(what, label, seed)


def _attacked(metric: str, label: str, made_on: str) -> Source:
    return lambda lab, seed: lab.attacked(metric, label, seed, made_on)


def _output(name: str, label: str) -> Source:
    return lambda lab, seed: lab.output(name, label, seed)


def _caption(what: str, who: str) -> Source:
    return lambda lab, seed: lab.caption(what, who, seed)


VIDEO, SEEN_FACE = "AUROC, videos", "AUROC in face"
_WHERE: Final = {"own": "", "partly": ", set forged in part"}


def _against(label: str, other: str, **options: bool) -> Line:
    return Line(VIDEO, (label, other), _detected("auroc", label), _detected("auroc", other), **options)


def _maps(board: str, label: str, other: str, *scores: tuple[str, str]) -> Iterable[Line]:
    for title, score in scores:
        low = score in {"fidelity_minus", "keeps"}
        yield Line(
            title,
            (label, other),
            _face(score, board, label),
            _face(score, board, other),
            low=low,
            margin=0.5 if score == "keeps" else 0.02,
            scale=1 if score == "keeps" else 100,
        )


def _masks() -> Iterable[Line]:
    for title, score in (("IoU", "iou"), ("pixel AUROC", "pixel_auroc"), ("AUPRO", "aupro"), ("F1 of pixels", "f1")):
        for prior, name in (("MeanMask", "mean mask"), ("CentrePrior", "centre prior")):
            ours, theirs = (_face(score, "masks", "aux", method) for method in ("PredictedMask", prior))
            yield Line(title, ("mask head", name), ours, theirs)


def _gates() -> Iterable[Line]:
    for label in ("gate", "two_pass"):
        for other in ("baseline", "aux"):
            yield _against(label, other)
            yield from _maps("masks", label, other, (SEEN_FACE, "auroc_face"), ("sufficiency@5", "sufficiency"))


def _clips(label: str) -> Iterable[Line]:
    names = (label, "mean")
    for title, metric in (
        (VIDEO, "auroc"),
        ("accuracy", "accuracy_at_val"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("F1", "f1_fake_at_val"),
    ):
        yield Line(title, names, _detected(metric, label), _detected(metric, "mean"))


def _spans(label: str) -> Iterable[Line]:
    for title, what in (("AUROC of frames, clips forged in part", "frame_auroc"), ("IoU of the span", "span_iou")):
        yield Line(title, (label, "mean"), _when(what, label), _when(what, "mean"))


def _across(label: str, other: str) -> Iterable[Line]:
    for where, said in _WHERE.items():
        ours, theirs = (_detected("auroc", each, where=where) for each in (label, other))
        yield Line(VIDEO + said, (label, other), ours, theirs)


def _attacks() -> Iterable[Line]:
    pair = ("trades", "baseline")
    yield from _across(*pair)
    ours, theirs = (_attacked("auroc", label, label) for label in pair)
    yield Line("AUROC, videos, PGD 2/255", pair, ours, theirs)
    ours, theirs = (_attacked("auroc", label, ELSEWHERE) for label in pair)
    yield Line("AUROC, videos, transferred PGD 2/255", pair, ours, theirs)
    ours, theirs = (_attacked("map", label, label) for label in pair)
    yield Line("ρ of the map with that before PGD", pair, ours, theirs, scale=1)


def _consensus() -> Iterable[Line]:
    for method in BOARDS["consensus"]["baseline"][1:]:
        for title, score in ((SEEN_FACE, "auroc_face"), ("flips@5", "flips")):
            ours, theirs = (_face(score, "consensus", "baseline", each) for each in ("Consensus", method))
            yield Line(title, ("Consensus", method), ours, theirs)


def _relevancy(other: str) -> Iterable[Line]:
    for title, score in ((SEEN_FACE, "auroc_face"), ("flips@5", "flips")):
        ours, theirs = (_face(score, "vit", "vit", method) for method in ("Relevancy", other))
        yield Line(title, ("Relevancy", other), ours, theirs)


def _named(who: str) -> Iterable[Line]:
    for score in ("precision", "recall"):
        ours, theirs = (_caption(name, who) for name in (score, f"{score}_chance"))
        yield Line(f"{score} of regions", (who, "chance"), ours, theirs)


def _checked() -> Iterable[Line]:
    ours, theirs = (_caption("precision", who) for who in ("verified", "learned"))
    yield Line("precision of regions", ("verified", "learned"), ours, theirs)


def _unseen(label: str, other: str) -> Iterable[Line]:
    yield _against(label, other)
    ours, theirs = (_detected("auroc", f"{each}_unseen", unseen=True) for each in (label, other))
    yield Line(f"{VIDEO}, kind left out", (label, other), ours, theirs)


_GRAPH: Final = (
    (SEEN_FACE, "auroc_face"),
    ("fidelity+@5", "fidelity_plus"),
    ("fidelity−@5", "fidelity_minus"),
    ("sparsity", "sparsity"),
    ("nodes that keep the verdict", "keeps"),
)


def claims(kinds: int) -> tuple[Claim, ...]:
    """All claims; ``kinds`` is the number of kinds of alteration."""
    names = ("kinds", "chance")
    return (
        Claim("[7]", "mask_head: aux", "a segmentation shows users the altered parts", tuple(_masks())),
        Claim(
            "[7]",
            "kinds and regions",
            "the kind of manipulation and the altered features are named",
            (
                Line("macro-F1 of kinds", names, _output("kind_f1", "kinds"), 1 / (kinds + 1)),
                Line("mAP of regions", names, _output("region_map", "kinds"), _output("region_map_chance", "kinds")),
                Line("AUROC of kinds never seen", names, _output("unknown_auroc", "kinds_unseen"), 0.5),
            ),
        ),
        Claim("[7]", "captions made of numbers", "captions say which parts were altered", tuple(_named("numbers"))),
        Claim(
            "[7]",
            "learned captions",
            "a captioner that learns says which parts were altered",
            (
                *_named("learned"),
                Line("false clauses", ("learned", "one in 20"), _caption("false", "learned"), 0.05, low=True),
            ),
        ),
        Claim("[7]", "learned captions", "a verifier makes them more precise", tuple(_checked())),
        Claim(
            "[8]",
            "head: capsule",
            "capsules are more accurate, and say more",
            (
                _against("capsule", "baseline"),
                *_maps("capsule", "capsule", "baseline", (SEEN_FACE, "auroc_face")),
                Line(
                    "ECE", ("capsule", "baseline"), _detected("ece", "capsule"), _detected("ece", "baseline"), low=True
                ),
            ),
        ),
        Claim("[9]", "mask_head: gate, two_pass", "accuracy and interpretability rise together", tuple(_gates())),
        Claim(
            "[10]", "temporal: lstm", "a recurrent network over frames is better than their mean", tuple(_clips("lstm"))
        ),
        Claim("[10]", "temporal: lstm", "and it shows when the face was altered", tuple(_spans("lstm"))),
        Claim(
            "[10]", "temporal: spacetime", "changes between frames say more than their mean", tuple(_clips("spacetime"))
        ),
        Claim("[10]", "temporal: spacetime", "and when the face was altered", tuple(_spans("spacetime"))),
        Claim("[11]", "ensemble", "an ensemble is better than its best member", tuple(_across("ensemble", "member"))),
        Claim(
            "[11]",
            "drop and zoom",
            "training that drops and enlarges parts is better",
            tuple(_across("drop_zoom", "baseline")),
        ),
        Claim("[12]", "TRADES", "training against attacks makes detector and map robust", tuple(_attacks())),
        Claim("[12]", "Consensus", "several methods together are better than each", tuple(_consensus())),
        Claim("[13]", "Relevancy", "attention highlights the influential parts", tuple(_relevancy("CentrePrior"))),
        Claim("[13]", "Relevancy", "and does so better than contributions", tuple(_relevancy("Contribution"))),
        Claim(
            "[15]",
            "GATv2",
            "a graph with attention generalises better than mean pooling",
            tuple(_unseen("baseline", "pooled")),
        ),
        Claim("[15]", "GATv2", "and better than a graph without", tuple(_unseen("baseline", "gcn"))),
        Claim("[15]", "bottleneck", "a bottleneck generalises better", tuple(_unseen("bottleneck", "baseline"))),
        Claim(
            "[15]",
            "bottleneck",
            "and makes critical nodes and edges stand out",
            tuple(_maps("graphs", "bottleneck", "baseline", *_GRAPH)),
        ),
        Claim(
            "[15]",
            "GATv2",
            "attention makes critical nodes stand out",
            tuple(_maps("graphs", "baseline", "gcn", *_GRAPH)),
        ),
        Claim("[16]", "temporal: attention", "attention over frames detects better", tuple(_clips("attention"))),
        Claim(
            "[16]",
            "temporal: attention",
            "and explains why the video is fake",
            (
                Line(
                    "logit below random orders, frames deleted",
                    ("attention", "random"),
                    lambda lab, seed: lab.deletion("attention", seed),
                    0.0,
                    scale=1,
                ),
                *_spans("attention"),
            ),
        ),
    )
