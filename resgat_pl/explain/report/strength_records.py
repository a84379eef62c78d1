"""Records of the document on how strong the evidence is, and how often the detector errs on files like this one."""

from __future__ import annotations

from dataclasses import dataclass, field

from resgat_pl.evaluation.error_rates import ErrorRate


@dataclass(frozen=True)
class Likelihood:
    """Likelihood ratio p(score | fake) / p(score | genuine) of a file.

    Attributes:
        log10_lr: Its logarithm to base 10; positive speaks for fake.
        ratio: The ratio, two digits, as ``32`` or ``1/32``.
        words: On the verbal scale of ENFSI (2015), as ``moderate support for fake``.
        low: Least log10 ratio that the pool supports.
        high: Greatest.
        bounded: Whether the calibration gave a ratio beyond that, so that the bound is given.
        cllr: Of the pool, in bits; 0 for perfect ratios, 1 for no information.
        pool: Videos that it was calibrated on, in words.
    """

    log10_lr: float
    ratio: str
    words: str
    low: float
    high: float
    bounded: bool
    cllr: float
    pool: str


@dataclass(frozen=True)
class Strength:
    """Strength of the evidence.

    Attributes:
        likelihood: None of a checkpoint without a pool, and without a face.
        statement: The ratio in sentences, or why there is none.
        rates: Error rates at the threshold, of the strata that this file belongs to, and of each compression and kind.
        source: Where they come from, or why there are none.
        not_tested: Manipulations that no test covered.
    """

    likelihood: Likelihood | None = None
    statement: str = ""
    rates: list[ErrorRate] = field(default_factory=list)
    source: str = ""
    not_tested: list[str] = field(default_factory=list)
