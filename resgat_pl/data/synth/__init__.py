"""Synthetic face videos in the layouts of the real data sets: genuine clips and self-blended fakes."""

from resgat_pl.data.synth.generate import Summary, synthesize
from resgat_pl.data.synth.plan import METHOD_KINDS

__all__ = ["METHOD_KINDS", "Summary", "synthesize"]
