"""An explanation in a sentence, built from its numbers and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import REGIONS
from resgat_pl.core.text import joined
from resgat_pl.evaluation.metrics.rank import spearman
from resgat_pl.explain.base import Explanation, Target
from resgat_pl.explain.clauses import LIKELY, NOTICEABLE, Clause, digits_for
from resgat_pl.explain.regions import or_average
from resgat_pl.nn.outputs import GENUINE, NONE_OF_THESE

UNIFORM: Final = 0.98
"""Attention counts as uniform from this normalised entropy on. With five sources it is reached by, for example, one
weight of .31 and four of .17: the strongest source gets 1.8 times as much as each other one."""
DISAGREEMENT: Final = 0.3
"""Two explainers disagree below this rank correlation of their node maps: less than a tenth of the ranks' variance is
then common to both."""
BIAS_SHARE: Final = 0.1
"""The bias b' is mentioned from this share of all that moves the logit on, |b'| / (|b'| + Σ |regions|)."""
_PARTS: Final = {"", "Contribution", "EdgeContribution", "EnsembleContribution", "ClipContribution"}
"""Methods that take the computation itself apart; others that add up are estimates."""
_GAP: Final = 1e-3  # above it, regions and bias do not make up the logit, and the sentence would be false
_NAMED: Final = 3  # regions named on each side, the first included


@dataclass(frozen=True)
class Finding:
    """The numbers of one face that the words are made of; everything is in logits of *fake*.

    Attributes:
        logit: Of the face.
        bias: Of the model, b': what no region gives.
        regions: Contribution by region; with ``bias`` they add up to ``logit``.
        temperature: The logit is divided by it to give the probability; None if the detector is not calibrated.
        average_face: The landmarks were missing or unusable, and the regions are those of an average face.
        entropy: ``attention_entropy`` of the face, in [0, 1]; None if it is not known.
        agreement: Rank correlation with another explainer's node map, in [−1, 1]; None if there is no other.
        methods: Names of the two explainers compared.
        mean_probability: Stated as the probability where these numbers are means over several pictures of a face, of
            which the mean logit gives another probability; None for a single picture.
        limit: What ``probability`` is compared with: the threshold, on the same scale.
        reason: A sentence on why there are no regions; empty where there are.
        kind: Of manipulation, see ``nn.outputs.name_kinds``; empty of a detector without kinds.
        kinds: Probability by kind, genuine included.
        manipulated: Probability by region that it was manipulated, of a detector with outputs of regions.
        mask: Of a detector with a mask head: ``share`` of the crop that its mask covers at ``threshold``, and
            ``factor``, 1 if it is a factor of the contributions and else 0; empty of any other.
        span: Of a clip, the span of frames that adds most: ``first`` and ``last`` frame, where known ``start`` and
            ``end`` in s, and ``mean`` and ``rest``, the mean numbers of its frames and of all others; empty of a
            picture.
    """

    logit: float
    bias: float
    regions: Mapping[str, float]
    temperature: float | None = None
    average_face: bool = False
    entropy: float | None = None
    agreement: float | None = None
    methods: tuple[str, str] = ("", "")
    mean_probability: float | None = None
    limit: float = 0.5
    reason: str = ""
    kind: str = ""
    kinds: Mapping[str, float] = field(default_factory=dict)
    manipulated: Mapping[str, float] = field(default_factory=dict)
    mask: Mapping[str, float] = field(default_factory=dict)
    span: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> Target:
        """``fake`` if the probability is above ``limit``, otherwise ``real``: the decision that is stated elsewhere."""
        if self.mean_probability is not None:
            return "fake" if self.mean_probability > self.limit else "real"
        return "fake" if self.logit > self.cut else "real"  # float64 resolves it where it does not the probability

    @property
    def cut(self) -> float:
        """``limit`` as a logit."""
        odds = self.limit / (1 - self.limit) if self.limit < 1 else math.inf
        return (math.log(odds) if odds > 0 else -math.inf) * (self.temperature or 1.0)

    @property
    def probability(self) -> float:
        """Of being fake, in [0, 1]."""
        if self.mean_probability is not None:
            return self.mean_probability
        return float(torch.tensor(self.logit / (self.temperature or 1.0), dtype=torch.float64).sigmoid())

    @property
    def digits(self) -> int:
        """Decimal places of every logit in the sentence: two significant digits of the strongest region, 1 to 4."""
        return digits_for(max((abs(value) for value in self.regions.values()), default=0.0))

    @property
    def numbers(self) -> dict[str, float]:
        """All numbers that clauses are made of, by key; whether something is so is 1 or 0."""
        found = {
            "logit": self.logit,
            "probability": self.probability,
            "limit": self.limit,
            "half": 0.5,
            "verdict": float(self.verdict == "fake"),
            "calibrated": float(self.temperature is not None),
            "exact": float(self.methods[0] in _PARTS),
            "average_face": float(self.average_face),
        }
        if not self.reason:
            found |= {"bias": self.bias, **{f"region/{name}": value for name, value in self.regions.items()}}
        if self.entropy is not None:
            found |= {"entropy": self.entropy, "most_entropy": 1.0}
        if self.agreement is not None:
            found["agreement"] = self.agreement
        if self.kinds:
            found |= {f"kind/{name}": value for name, value in self.kinds.items()}
            found["unknown_kind"] = float(self.kind == NONE_OF_THESE)
        parts = (("manipulated", self.manipulated), ("mask", self.mask), ("span", self.span))
        return found | {f"{part}/{name}": value for part, values in parts for name, value in values.items()}

    @property
    def sentence(self) -> str:
        """The whole explanation: verdict, evidence for it, evidence against it, the rest, kind, and warnings.

        Regions, rest and bias add up to the logit; a number that is left out is rounded to 0, or it is a minor bias.
        """
        head, evidence, more = self._head(), self._evidence(), self._outputs()
        said = f"{head.text}: {'; '.join(part.text for part in evidence)}" if evidence else head.text
        rest = [self.reason] * bool(self.reason) + [f"{clause.text}." for clause in more] + list(self.warnings)
        return " ".join((f"{said}.", *rest))

    @property
    def clauses(self) -> list[Clause]:
        """The parts of the sentence with the keys of their numbers, all but ``reason``."""
        return [self._head(), *self._evidence(), *self._outputs(), *self._warnings()]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what makes the explanation doubtful."""
        return tuple(clause.text for clause in self._warnings())

    def _head(self) -> Clause:
        text = f"{self.verdict.capitalize()}, {self._chance()} (logit {self._number(self.logit)})"
        return Clause(text, ("probability", "logit", "verdict"))

    def _evidence(self) -> list[Clause]:
        """Regions for and against the verdict, the rest, and the bias."""
        if self.reason:
            return []
        other: Target = "real" if self.verdict == "fake" else "fake"
        supporters, opponents = self.named(self.verdict), self.named(other)
        none = Clause(
            f"no region speaks noticeably for {self.verdict}", tuple(f"region/{name}" for name in self.regions)
        )
        parts = [_side(self, supporters, self.verdict) or none]
        parts += [against] if (against := _side(self, opponents, other)) else []
        unnamed = [name for name in self.regions if name not in supporters and name not in opponents]
        rest = math.fsum(self.regions[name] for name in unnamed)
        if self._shows(rest):
            key = "+".join(f"region/{name}" for name in unnamed)
            parts.append(Clause(f"all other regions together give {self._number(rest)}", (key,)))
        moved = abs(self.bias) + sum(map(abs, self.regions.values()))
        if abs(self.bias) >= BIAS_SHARE * moved and self._shows(self.bias):
            parts.append(Clause(f"the model's bias, which no region gives, is {self._number(self.bias)}", ("bias",)))
        return parts

    def _outputs(self) -> list[Clause]:
        """The kind of manipulation and the manipulated regions, of a detector with such outputs."""
        found = []
        if self.kind == NONE_OF_THESE:
            known = joined([name for name in self.kinds if name != GENUINE])
            keys = tuple(f"kind/{name}" for name in self.kinds)
            found.append(Clause(f"Kind of manipulation: {NONE_OF_THESE} ({known})", ("unknown_kind", *keys)))
        elif self.kind in self.kinds and self.kind != GENUINE:
            text = f"Kind of manipulation: {self.kind} (probability {self.kinds[self.kind]:.2f})"
            found.append(Clause(text, (f"kind/{self.kind}",)))
        likely = [name for name, value in self.manipulated.items() if value > LIKELY]
        regions = sorted(likely, key=lambda name: self.manipulated[name])
        if regions and self.verdict == "fake":
            names = [f"the {name} (probability {self.manipulated[name]:.2f})" for name in regions[::-1]]
            keys = tuple(f"manipulated/{name}" for name in regions[::-1])
            found.append(Clause(f"Probably manipulated: {joined(names)}", keys))
        return [*found, *self._mask(), *self._span()]

    def _mask(self) -> Iterator[Clause]:
        """The share of the crop under the detector's own mask."""
        if self.mask:
            part = "a factor of the contributions" if self.mask["factor"] else "not part of the logit"
            yield Clause(
                f"The detector's own mask, {part}, covers {self.mask['share']:.2f} of the crop at its threshold "
                f"{self.mask['threshold']:.2f}",
                ("mask/share", "mask/threshold", "mask/factor"),
            )

    def _span(self) -> Iterator[Clause]:
        """The frames of a clip that add most."""
        if self.span:
            times = tuple(name for name in ("start", "end") if name in self.span)
            when = f" ({self.span['start']:.2f} to {self.span['end']:.2f} s)" if times else ""
            mean, rest = (_minus(f"{self.span[name]:+.2f}") for name in ("mean", "rest"))
            yield Clause(
                f"The span from frame {self.span['first']:.0f} to {self.span['last']:.0f}{when} adds most: its mean is "
                f"{mean}, that of the other frames {rest}",
                tuple(f"span/{name}" for name in ("first", "last", *times, "mean", "rest")),
            )

    def named(self, target: Target) -> dict[str, float]:
        """The regions that the words name as speaking for a class, strongest first; rounded to 0, none is."""
        sign = 1 if target == "fake" else -1
        most = max((abs(value) for value in self.regions.values()), default=0.0)
        speaking = {
            name: value
            for name, value in self.regions.items()
            if sign * value > 0 and self._shows(value) and abs(value) >= NOTICEABLE * most
        }
        return dict(sorted(speaking.items(), key=lambda item: -abs(item[1]))[:_NAMED])

    def _warnings(self) -> Iterator[Clause]:
        chance = self.mean_probability
        usual = "fake" if (self.logit > 0 if chance is None else chance > 0.5) else "real"
        if usual != self.verdict:
            half, limit = apart(0.5, self.limit)
            text = f"By a threshold of {half} it would be {usual}: the one in force is {limit}."
            yield Clause(text, ("half", "limit", "logit" if chance is None else "probability"))
        elif (self.logit > 0) != (self.verdict == "fake"):
            yield Clause(
                f"The mean logit alone would say {'fake' if self.logit > 0 else 'real'}: the verdict follows the mean "
                "of the frames' probabilities, which a few frames of large logits move less.",
                ("logit",),
            )
        if self.methods[0] not in _PARTS:
            text = f"The numbers of the regions are estimates by {self.methods[0]}, not parts of the computation."
            yield Clause(text, ("exact",))
        if self.average_face:
            text = "Its landmarks are missing or unusable, so the regions are those of an average face."
            yield Clause(text, ("average_face",))
        if self.temperature is None:
            yield Clause("The probability is not calibrated.", ("calibrated",))
        if self.entropy is not None and self.entropy >= UNIFORM:
            text = f"Attention is nearly uniform (entropy {self.entropy:.2f} of 1), so it singles out no node."
            yield Clause(text, ("entropy", "most_entropy"))
        if self.agreement is not None and self.agreement < DISAGREEMENT:
            yield Clause(
                f"{self.methods[0]} and {self.methods[1]} disagree (rank correlation "
                f"{_minus(f'{self.agreement:+.2f}')}), so take the regions with caution.",
                ("agreement",),
            )

    def _chance(self) -> str:
        name = "probability" if self.verdict == "fake" else "probability of fake"
        if self.probability > 0.995:
            return f"{name} above 0.99"
        return f"{name} below 0.01" if self.probability < 0.005 else f"{name} {self.probability:.2f}"

    def _number(self, value: float) -> str:
        return _minus(f"{round(value, self.digits) + 0.0:+.{self.digits}f}")  # + 0.0: no negative zero

    def _shows(self, value: float) -> bool:
        return round(value, self.digits) != 0


def _side(face: Finding, regions: Mapping[str, float], target: Target) -> Clause | None:
    """Regions that speak for a class; None without any."""
    if not regions:
        return None
    names = [f"the {name} ({face._number(value)})" for name, value in regions.items()]
    text = f"{joined(names)} {'speaks' if len(names) == 1 else 'speak'} for {target}"
    return Clause(text, tuple(f"region/{name}" for name in regions))


def findings(
    explanation: Explanation,
    landmarks: Tensor | None = None,
    attention: Tensor | None = None,
    other: Explanation | None = None,
    temperature: float | None = None,
    limit: float = 0.5,
) -> list[Finding]:
    """Gather the numbers of each face.

    Args:
        explanation: Of either target, in logits that add up: ``Contribution`` or ``EdgeContribution``.
        landmarks: ``(B, 5, 2)`` float, see ``regions.region_weights``; a face without usable ones, and with None every
            face, gets the average face's.
        attention: ``(B, E, heads)`` float, ``ResGATOutput.attention`` of the same faces, to say when it is uniform.
        other: A signed explanation of the same faces, to say when the two disagree.
        temperature: Of the calibrated detector; None if it is not calibrated.
        limit: See ``Finding``.

    Raises:
        ConfigError: The explanation does not add up to the logit, the maps or landmarks are not of the same faces, or
            the temperature is not positive.
    """
    count = len(explanation.node_map)
    gap = float(explanation.completeness_gap.max())
    if explanation.unit != "logit" or not gap <= _GAP:
        raise ConfigError(
            f"Words need contributions that add up to the logit, but those of {explanation.method} are in the unit "
            f"{explanation.unit} with a gap of {gap:.2g}. Use Contribution."
        )
    if temperature is not None and not temperature > 0:
        raise ConfigError(f"The temperature is {temperature}; it must be positive, or None if there is none.")
    known, missing = or_average(torch.full((count, 5, 2), torch.nan) if landmarks is None else landmarks)
    sign = 1 if explanation.target == "fake" else -1
    tables = (explanation.regions(known) * sign).tolist()
    entropy = None if attention is None else attention_entropy(attention, explanation.edge_index).tolist()
    agreement = None
    if other is not None:
        same = 1 if explanation.target == other.target else -1
        agreement = spearman(explanation.node_map.flatten(1), same * other.node_map.flatten(1)).tolist()
    return [
        Finding(
            logit=sign * float(explanation.logit[i]),
            bias=sign * float(explanation.bias[i]),
            regions=dict(zip(REGIONS, tables[i], strict=True)),
            temperature=temperature,
            average_face=bool(missing[i]),
            entropy=None if entropy is None else entropy[i],
            agreement=None if agreement is None or math.isnan(agreement[i]) else agreement[i],
            methods=(explanation.method, "" if other is None else other.method),
            limit=limit,
        )
        for i in range(count)
    ]


def unexplained(logit: Tensor, reason: str, temperature: float | None = None, limit: float = 0.5) -> list[Finding]:
    """The findings of faces whose logit ``(B,)`` is not known as a sum over regions.

    Args:
        logit: Of *fake*.
        reason: A sentence on why that is so.
        temperature: As of ``findings``.
        limit: Likewise.

    Example:
        >>> unexplained(torch.tensor([2.0]), "No region is named.", temperature=1.0)[0].sentence
        'Fake, probability 0.88 (logit +2.0). No region is named.'
    """
    return [Finding(value, value, {}, temperature, limit=limit, reason=reason) for value in logit.tolist()]


def attention_entropy(attention: Tensor, edge_index: Tensor) -> Tensor:
    """Normalised entropy of the attention over the sources of each node: 0 is one source, 1 is uniform.

    It is divided by the logarithm of the number of sources, and averaged over targets and heads.

    Args:
        attention: ``(B, E, heads)`` float in [0, 1], summing to 1 over the sources of a target.
        edge_index: ``(2, E)`` int64, row 1 the targets, of which each has two sources or more.

    Returns:
        ``(B,)`` float in [0, 1].
    """
    target = edge_index[1]
    sources = target.bincount()
    per_edge: Tensor = torch.special.entr(attention) / sources[target].to(attention).log()[:, None]
    return per_edge.sum(dim=1).mean(dim=-1) / len(sources)


def apart(value: float, limit: float) -> tuple[str, str]:
    """Two numbers with two decimal places, or as many more as it takes to see which is greater."""
    for style in (*(f".{digits}f" for digits in range(2, 17)), ".17g"):  # 17 digits are all that a double has
        texts = f"{value:{style}}", f"{limit:{style}}"
        if texts[0] != texts[1] or value == limit:
            break
    return texts


def _minus(number: str) -> str:
    return number.replace("-", "−")  # the sign for numbers, as long as the plus
