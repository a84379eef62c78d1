"""The page of ``experiments/systems.py``: what is claimed of each system, what was measured, and a verdict by rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from systems_claims import Line, claims
from systems_measure import ELSEWHERE, FACES, LEFT_OUT, MEMBERS, Lab
from systems_values import Value, around

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.output_tables import markdown_table
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval, interval, over_seeds

Verdict = Literal["held", "did not hold", "cannot be decided here"]
HELD, NOT_HELD, OPEN = "held", "did not hold", "cannot be decided here"
SEEDS: Final = 3
"""Fewer give no verdict: claims are about a way of training, and not about one checkpoint."""


class Found(NamedTuple):
    """A line that was measured: both numbers, the difference, and why it is not there."""

    ours: Interval
    beside: Interval
    gap: Interval
    note: str = ""


NOTHING: Final = Interval(math.nan)


def verdict(gap: Interval, seeds: int, margin: float, low: bool = False) -> Verdict:
    """The verdict on a difference, by its 95 % interval and nothing else.

    Held where the interval lies above 0; did not hold where it lies below 0 or excludes a gain of ``margin``; cannot be
    told here otherwise, without an interval, and from fewer than ``SEEDS`` seeds.

    Args:
        gap: Ours less the other.
        seeds: Number of seeds behind it.
        margin: The least gain that is worth naming.
        low: Whether low values are good, so that the difference counts with the other sign.

    Example:
        >>> verdict(Interval(0.05, 0.01, 0.09, 30), 3, 0.02), verdict(Interval(0.0, -0.01, 0.01, 30), 3, 0.02)
        ('held', 'did not hold')
        >>> verdict(Interval(0.05, -0.01, 0.11, 30), 3, 0.02)
        'cannot be decided here'
    """
    if not gap.known or seeds < SEEDS:
        return OPEN
    least, most = (-gap.high, -gap.low) if low else (gap.low, gap.high)
    if least > 0:
        return HELD
    return NOT_HELD if most < margin else OPEN


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Verdict on a claim: held if all its measures did, not if one did not."""
    if NOT_HELD in verdicts:
        return NOT_HELD
    return HELD if verdicts and set(verdicts) == {HELD} else OPEN


def measured(line: Line, lab: Lab, seeds: int) -> Found:
    """Both numbers of a line and their difference, paired by seed and by resample of the clips."""
    try:
        ours = [line.ours(lab, seed) for seed in range(seeds)]
        beside = None if isinstance(line.beside, float) else [line.beside(lab, seed) for seed in range(seeds)]
    except ResGATError as error:
        return Found(NOTHING, NOTHING, NOTHING, str(error).rstrip("."))
    constant = line.beside if isinstance(line.beside, float) else 0.0
    if beside is None:
        return Found(_mean(ours), Interval(constant), _less(_mean(ours), constant))
    if all(isinstance(each, Interval) for each in beside):  # a number without resamples
        base = _mean(beside)
        return Found(_mean(ours), base, _less(_mean(ours), base.value))
    return Found(_mean(ours), _mean(beside), _gap(ours, beside))


def _mean(found: Sequence[Value | Interval]) -> Interval:
    values = [each for each in found if isinstance(each, Value)]
    if len(values) < len(found):
        return around([each for each in found if isinstance(each, Interval)])
    return interval(over_seeds(np.stack([each.values for each in values]), 0), min(each.clips for each in values))


def _gap(ours: Sequence[Value | Interval], beside: Sequence[Value | Interval]) -> Interval:
    tables = [np.stack([each.values for each in some if isinstance(each, Value)]) for some in (ours, beside)]
    clips = min(each.clips for each in (*ours, *beside) if isinstance(each, Value))
    return interval(over_seeds(tables[0] - tables[1], 0), clips)


def _less(value: Interval, constant: float) -> Interval:
    return value._replace(value=value.value - constant, low=value.low - constant, high=value.high - constant)


def page(lab: Lab, settings: dict[str, object], missing: Sequence[str], kinds: int = 6) -> str:
    """The page: verdicts first, then every number.

    Args:
        lab: The runs.
        settings: What was run, for the page's head.
        missing: What keeps it from being the whole experiment; empty where it is.
        kinds: Number of kinds of alteration.
    """
    verdicts, numbers = [], []
    for claim in claims(kinds):
        found = [(line, measured(line, lab, lab.seeds)) for line in claim.lines]
        each = [verdict(one.gap, lab.seeds, line.margin, line.low) for line, one in found]
        held = each.count(HELD)
        verdicts.append([claim.ref, claim.system, claim.text, f"**{together(each)}**", f"{held} of {len(each)}"])
        for (line, one), said in zip(found, each, strict=True):
            ours, other = (_shown(value, line.scale) for value in (one.ours, one.beside))
            gap = one.gap.text(sign="+", scale=line.scale) if not one.note else f"not measured: {one.note}"
            better = f"{line.what}{' (low is good)' if line.low else ''}"
            numbers.append([claim.ref, better, f"{line.names[0]}: {ours}", f"{line.names[1]}: {other}", gap, said])
    return "\n\n".join(
        [
            *_head(settings, missing),
            markdown_table(["", "here", "claim", "verdict", "measures that held"], verdicts),
            "## All numbers",
            markdown_table(["", "measure", "ours", "beside", "difference [95 %]", "verdict"], numbers),
            *_about(lab.seeds),
        ]
    )


def _shown(value: Interval, scale: float) -> str:
    return "–" if math.isnan(value.value) else f"{scale * value.value:.2f}"


def _head(settings: dict[str, object], missing: Sequence[str]) -> Iterable[str]:
    yield "# Every system that the paper reviews"
    yield (
        "What is claimed of each system in the paper's review, and what a variant of the same network did on synthetic "
        "portraits. Written by `make systems` (`experiments/systems.py`), which continues where it was stopped."
    )
    if missing:
        yield f"**This page was not run in full: {'; '.join(missing)}.** A verdict needs {SEEDS} seeds and an interval."
    yield "; ".join(f"{name} {value}" for name, value in settings.items()) + "."
    yield (
        "**Synthetic forgeries and small detectors: a verdict is one on this data**, and does not say which system is "
        "better on real manipulations."
    )


def _about(seeds: int) -> Iterable[str]:
    yield "## How it was measured"
    yield "\n".join(
        f"- {text}"
        for text in (
            "One detector a seed is the *baseline* (GATv2, linear head). A variant differs from it in one option "
            "and shares weights to start from, seed and crops. Clips are trained on the cached features of the "
            "baseline of their seed.",
            "*Difference*: paired by seed and by clip. Its interval is of 1,000 resamples of the genuine test clips, "
            f"with all that was made of each, and of the seeds (n: clips; no interval from fewer than {FEWEST}). It "
            "covers other people of this kind and other seeds of the training. All seeds are trained on one set and "
            "tested on the same clips, so it does not cover another set.",
            "Scores of kinds and regions, and the deletion of frames, have no common resamples: mean over seeds, from "
            "the lowest lower to the highest upper end.",
            "*Verdict*, by rule: held where the interval lies above 0; did not hold where it lies below 0 or excludes "
            f"a gain of 2 points (half a node); else, and from fewer than {SEEDS} seeds, it cannot be decided here. A "
            "claim held if all its measures did, and did not if one did not. No correction for the number of measures.",
            f"Maps: at most {FACES} fakes a seed that all compared detectors call fake. *Kind left out*: seed by seed "
            f"{', '.join(LEFT_OUT[:seeds])}. *Member*: the one of {', '.join(MEMBERS)} that validated best. "
            f"Transferred attacks are made on {ELSEWHERE}. Captions made of numbers have no false clause by "
            "construction.",
            "Cost of clips [16]: row *clips* of `make bench`, [speed](speed.md). That users understand more is a "
            "question for [a study](../how_to/user_study.md) with people.",
        )
    )
