"""The interface of all explanation methods, in the manner of captum: ``Method(model).attribute(images)``."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import NetOutput
from resgat_pl.explain.arguments import at_least, one_of, optional, positive
from resgat_pl.explain.regions import region_weights
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.unwrap import unwrap

__all__ = ["Attribution", "Explainer", "Explanation", "Passes", "at_least", "one_of", "optional", "positive"]
"""Some are of ``arguments``, and were here."""
Target = Literal["fake", "real"]
"""The class that is explained; the logit of ``real`` is that of ``fake`` negated."""
Unit = Literal["logit", "probability", "attention", "gradient", "mask", "rank"]
"""Units of a map. ``logit`` maps can be compared with each other and added up; a ``mask`` is learnt
factors in [0, 1]; a ``rank`` goes from -1, the lowest node, to 1, the highest."""


@dataclass(frozen=True)
class Explanation:
    """Reasons for the verdicts on a batch of faces, on the grid of the network.

    Attributes:
        method: Name of the explainer's class.
        unit: What the numbers of ``node_map`` are.
        signed: True if negative values mean that a node is evidence against the target.
        target: The class explained.
        node_map: ``(B, h, w)`` float32, positive where a node is evidence for the target. Of a graph of two grids the
            nodes of both are in it, see ``nn.levels``; ``summed`` or ``averaged``.
        lattice: Where the nodes are in the images, those of the finer grid if there are two.
        edge_scores: ``(B, E)`` float32 in the order of ``edge_index``, or None where the method has none.
        edge_index: ``(2, E)`` int64, row 0 source and row 1 target node, self-loops included; E is 0 of a network
            without a graph.
        logit: ``(B,)`` float32, of the target class.
        bias: ``(B,)`` float32, the target's logit without any node, by this method. For the graph methods it is b' of
            ``nn.contribution``, computed from the parameters.
        completeness_gap: ``(B,)`` float32, |Σ node_map + bias − logit| / (1 + |logit|); NaN where ``unit`` is not
            ``logit``. At most 1e-4 for an exact method.
        n_forward: Forward passes of the whole network for each image.
        n_backward: Backward passes of the whole network for each image.
        n_graph: Passes of the graph part alone for each image, on features that were encoded once.
        seconds: Wall-clock time for each image, transfers included.
        agreement: ``(B,)`` float32 in [0, 1], of methods that join others; else None.

    Example:
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> from resgat_pl.explain.methods.graph import Contribution
        >>> found = Contribution(net).attribute(torch.rand(1, 3, 64, 64))
        >>> float((found.node_map.sum() + found.bias - found.logit).abs()) < 1e-4
        True
    """

    method: str
    unit: Unit
    signed: bool
    target: Target
    node_map: Tensor
    lattice: Lattice
    edge_scores: Tensor | None
    edge_index: Tensor
    logit: Tensor
    bias: Tensor
    completeness_gap: Tensor
    n_forward: float
    n_backward: float
    n_graph: float
    seconds: float
    agreement: Tensor | None = None

    @classmethod
    def from_parts(
        cls,
        method: type[Explainer],
        net: DetectorNet,
        lattice: Lattice,
        parts: Sequence[Attribution],
        seconds: float,
        target: Target = "fake",
    ) -> Self:
        """Join what a method found batch by batch, for the class *fake*, into the explanation of a target.

        Args:
            method: The method; its ``unit`` and ``signed`` say how the numbers are to be read.
            net: The network, whose graph is that of the last batch.
            lattice: Where the nodes are in the images.
            parts: One for each batch.
            seconds: Wall-clock time per image.
            target: The class to explain.
        """
        # Join the batches.
        edges = [part.edges.detach().float() for part in parts if part.edges is not None]
        agreement = [part.agreement.detach().float() for part in parts if part.agreement is not None]
        nodes, logit, bias = (
            torch.cat([tensor.detach().float() for tensor in tensors])
            for tensors in zip(*((part.nodes, part.logit, part.bias) for part in parts), strict=True)
        )
        counts = [len(part.logit) for part in parts]
        forward, backward, graph = (
            sum(passes * count for passes, count in zip(each, counts, strict=True)) / sum(counts)
            for each in zip(*((part.forward, part.backward, part.graph) for part in parts), strict=True)
        )
        # The logit of *real* is that of *fake* negated, and so is a signed map.
        sign = -1.0 if target == "real" else 1.0
        nodes = nodes * (sign if method.signed else 1.0)
        logit, bias = logit * sign, bias * sign
        gap = completeness_gap(nodes, logit, bias)
        return cls(
            method=method.__name__,
            unit=method.unit,
            signed=method.signed,
            target=target,
            node_map=_on_lattice(method, net, nodes, lattice),
            lattice=lattice,
            edge_scores=torch.cat(edges) * (sign if method.signed else 1.0) if edges else None,
            edge_index=edge_index_of(net).to(nodes.device),
            logit=logit,
            bias=bias,
            completeness_gap=gap if method.unit == "logit" else torch.full_like(gap, torch.nan),
            n_forward=forward,
            n_backward=backward,
            n_graph=graph,
            seconds=seconds,
            agreement=torch.cat(agreement) if agreement else None,
        )

    def cpu(self) -> Self:
        """The same explanation with all tensors in the CPU's memory."""
        tensors: dict[str, Any] = {name: value.cpu() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    def heatmap(self, size: int | tuple[int, int]) -> Tensor:
        """The map at image resolution, ``(B, H, W)`` float32: linear between the centres of the nodes."""
        return self.lattice.heatmap(self.node_map, (size, size) if isinstance(size, int) else size)

    def regions(self, landmarks: Tensor) -> Tensor:
        """Sum of the map over each face region, ``(B, len(REGIONS))`` float32.

        A node that lies in several regions is shared out by area, so the regions add up to what the nodes add up to:
        for an exact method ``regions.sum(1) + bias`` is the logit.

        Args:
            landmarks: ``(B, 5, 2)`` float, x and y in [0, 1] of the image, in the order of ``regions.LANDMARKS``.

        Raises:
            ConfigError: A landmark is missing (not finite), or their number is not that of the images.
        """
        if landmarks.shape[0] != len(self.node_map):
            raise ConfigError(f"{len(self.node_map)} faces were explained, but there are {len(landmarks)} landmarks.")
        weights = region_weights(landmarks, self.lattice).to(self.node_map)
        return torch.einsum("brhw,bhw->br", weights, self.node_map)


def _on_lattice(method: type[Explainer], net: DetectorNet, nodes: Tensor, lattice: Lattice) -> Tensor:
    """Numbers of nodes, or of the cells of the lattice, ``(B, N)``, as maps ``(B, h, w)``."""
    if nodes.shape[1] == math.prod(lattice.shape):
        return nodes.reshape(len(nodes), *lattice.shape)
    levels = net.levels(lattice.height, lattice.width)
    return levels.averaged(nodes) if method.averaged else levels.summed(nodes)


def edge_index_of(net: DetectorNet) -> Tensor:
    """``(2, E)`` int64, the edges of a network's graph, as of its latest images; ``(2, 0)`` where it has none."""
    return net.grid.edge_index if isinstance(net, ResGAT) else torch.empty(2, 0, dtype=torch.int64)


def completeness_gap(nodes: Tensor, logit: Tensor, bias: Tensor) -> Tensor:
    """``(B,)`` float, |Σ nodes + bias − logit| / (1 + |logit|) of maps ``(B, N)`` or ``(B, h, w)``."""
    return (nodes.flatten(1).sum(dim=1) + bias - logit).abs() / (1 + logit.abs())


class Attribution(NamedTuple):
    """A method's result for some images, for the class *fake*.

    Attributes:
        nodes: ``(B, N)`` float.
        logit: ``(B,)`` float.
        bias: ``(B,)`` float.
        edges: ``(B, E)`` float, or None.
        forward: Forward passes of the whole network for each image.
        backward: Backward passes, likewise.
        graph: Passes of the graph part alone, likewise.
        agreement: ``(B,)`` float, see ``Explanation``.
    """

    nodes: Tensor
    logit: Tensor
    bias: Tensor
    edges: Tensor | None = None
    forward: float = 1
    backward: float = 0
    graph: float = 0
    agreement: Tensor | None = None


class Explainer(ABC):
    """An explanation method for one network.

    ``attribute`` works in batches, on the network's device, and leaves the network as it found it: mode, parameters,
    gradients. Images elsewhere, or of another precision, are copied. Subclasses document only the arguments and errors
    that they add.

    Attributes:
        unit: See ``Unit``.
        signed: See ``Explanation``. An unsigned method gives the same map for either target.
        exact: Whether the map and the bias add up to the logit by construction.
        needs: Class of networks that it can explain: any detector, or those with an encoder or a graph.
        decomposes: Whether it needs ``nn.contribution``, which a head may not allow.
        averaged: Whether the numbers of a node are no shares of something, such as a mask: in a graph of two grids a
            place then has the mean of both nodes there, and not the sum of their shares.
        net: The network.

    Args:
        model: A detector, or a module that holds one as ``net``; compiled or distributed ones as well.
        batch_size: Images that go through the network at once; bounds the memory.

    Raises:
        ConfigError: ``model`` is something else, or a detector that the method cannot explain; or ``batch_size`` is not
            positive.

    Example:
        >>> from resgat_pl.explain.methods.graph import Contribution
        >>> net = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64)
        >>> Contribution(net).attribute(torch.rand(1, 3, 64, 64)).node_map.shape
        torch.Size([1, 2, 2])
    """

    unit: ClassVar[Unit] = "logit"
    signed: ClassVar[bool] = True
    exact: ClassVar[bool] = False
    needs: ClassVar[type[DetectorNet]] = DetectorNet
    decomposes: ClassVar[bool] = False
    averaged: ClassVar[bool] = False
    net: DetectorNet

    def __init__(self, model: nn.Module, batch_size: int = 32) -> None:
        method = type(self)
        net = unwrap(model, method.__name__, method.needs)
        if reason := why_not(method, net):
            raise ConfigError(reason)
        at_least(1, batch_size=batch_size)
        self.net = net
        self.batch_size = batch_size

    def attribute(self, images: Tensor, target: Target = "fake") -> Explanation:
        """Explain ``images (B, 3, H, W)`` float in [0, 1], RGB.

        Raises:
            ConfigError: There is no image, the images have another shape, type or range, they are too small for a grid
                of 2×2 nodes, or ``target`` is unknown.
        """
        _check(images, target)
        started = time.perf_counter()
        weight = next(self.net.parameters())
        with evaluation_mode(self.net):
            parts = [
                self.explain(batch.to(weight.device, weight.dtype)) for batch in torch.split(images, self.batch_size)
            ]
        seconds = (time.perf_counter() - started) / len(images)
        lattice = self.net.lattice(*images.shape[2:])
        return Explanation.from_parts(type(self), self.net, lattice, parts, seconds, target)

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """Reason that it cannot explain a network of the class ``needs``, as a verb phrase; None if it can."""
        return None

    @abstractmethod
    def explain(self, images: Tensor) -> Attribution:
        """Explain at most ``batch_size`` images on the network's device, the network being in evaluation mode.

        The caller may or may not record gradients; a method that needs them, or not, switches them itself.
        """


def why_not(method: type[Explainer], net: DetectorNet) -> str | None:
    """Reason that a method cannot explain a network; None if it can.

    Example:
        >>> from resgat_pl.explain.methods.graph import Contribution
        >>> from resgat_pl.nn.pooled import PooledClassifier
        >>> why_not(Contribution, PooledClassifier("resnet18", image_size=64))
        'Contribution explains the graph of a ResGAT, and this network is a PooledClassifier, which has none. ...'
    """
    mine, name = type(net).__name__, method.__name__
    instead = "Methods of pixels explain any detector, such as InputXGradient, Occlusion and KernelSHAP."
    if method.needs is ResGAT and not isinstance(net, ResGAT):
        return f"{name} explains the graph of a ResGAT, and this network is a {mine}, which has none. {instead}"
    if not isinstance(net, method.needs):
        return f"{name} explains detectors of the class {method.needs.__name__}; this one is a {mine}. {instead}"
    if reason := method.refusal(net):
        return f"{name} {reason}"
    if method.needs is ResGAT and isinstance(net, ResGAT) and not net.answers_by_head:
        return f"{name} reads the head of one graph, and {mine} has a separate answer, which is more. {instead}"
    if method.decomposes and not net.has_contributions:
        head = type(getattr(net, "head", None)).__name__
        return f"{name} is a sum over nodes, but the head of this network, {head}, has no additive form. {instead}"
    return None


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode and off compiled code, and afterwards every part back to what it was.

    Compiled code ignores hooks that are added later, such as those that count passes, and would be compiled again for
    each number of images.
    """
    modes = {module: module.training for module in net.modules()}
    compiled = {module: call for module in modes if (call := module._compiled_call_impl) is not None}
    net.eval()
    for module in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call
        for module, mode in modes.items():
            module.training = mode


def _check(images: object, target: str) -> None:
    if not isinstance(images, Tensor):
        raise ConfigError(f"The images are a {type(images).__name__}; give a tensor (B, 3, H, W) of floats in [0, 1].")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ConfigError(f"The images are {tuple(images.shape)} {images.dtype}; give (B, 3, H, W) floats in [0, 1].")
    if not len(images):
        raise ConfigError("There is no image to explain: the batch is empty.")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # resizing may overshoot a little; NaN fails too
        raise ConfigError(f"The images' values go from {low:g} to {high:g}; give floats in [0, 1], not normalised.")
    if target not in get_args(Target):
        raise ConfigError(f"target is {target!r}; it must be {' or '.join(get_args(Target))}.")


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
        """The result at this cost; shapes as there."""
        return Attribution(nodes, logit, bias, forward=self.forward / len(logit), backward=self.backward / len(logit))


@contextmanager
def count_passes(net: DetectorNet) -> Iterator[Passes]:
    """Count what happens inside the ``with`` block.

    Hooks count at the head of a ResGAT, where every classification ends once, whether it goes through ``net`` or
    through its parts one by one, and at the whole of other networks. Counted and not computed by a formula: packages
    add evaluations of their own, and skip duplicates.
    """
    passes = Passes()

    def derived(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def classified(_: nn.Module, __: tuple[Tensor], output: Tensor | NetOutput) -> None:
        logit = output if isinstance(output, Tensor) else output.logit
        passes.forward += len(logit)
        if logit.requires_grad:
            logit.register_hook(derived)  # type: ignore[no-untyped-call]  # torch does not annotate it

    last = net.head if isinstance(net, ResGAT) else net
    handle = last.register_forward_hook(classified)
    try:
        yield passes
    finally:
        handle.remove()
