"""How often a network really ran."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from resgat_pl.explain.base import Attribution
from resgat_pl.nn.resgat import ResGAT


@dataclass
class Passes:
    """Images that went through the whole network.

    Attributes:
        forward: Images classified.
        backward: Images whose logit was derived from.
    """

    forward: int = 0
    backward: int = 0

    def attribution(self, nodes: Tensor, logit: Tensor, bias: Tensor) -> Attribution:
        """What was found at this cost; shapes as there."""
        return Attribution(nodes, logit, bias, forward=self.forward / len(logit), backward=self.backward / len(logit))


@contextmanager
def count_passes(net: ResGAT) -> Iterator[Passes]:
    """Count what happens inside the ``with`` block.

    Hooks count at the head, where every classification ends once, whether it goes through ``net`` or through its parts
    one by one. Counted and not computed by a formula: packages add evaluations of their own, and skip duplicates.
    """
    passes = Passes()

    def derived(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def classified(_: nn.Module, __: tuple[Tensor], logit: Tensor) -> None:
        passes.forward += len(logit)
        if logit.requires_grad:
            logit.register_hook(derived)  # type: ignore[no-untyped-call]  # torch does not annotate it

    handle = net.head.register_forward_hook(classified)
    try:
        yield passes
    finally:
        handle.remove()
