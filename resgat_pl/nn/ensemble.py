"""Several detectors as one: a weighted sum of their logits, of which every part stays exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.parts import find_part, names_from_a_file
from resgat_pl.core.text import shorten
from resgat_pl.core.types import DetectorOutput
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.levels import divided
from resgat_pl.nn.logit_net import LogitNet
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

MEMBERS: Final[dict[str, type[DetectorNet]]] = {kind.__name__: kind for kind in (ResGAT, PooledClassifier, LogitNet)}
"""This package's detectors that can be members, by name."""
_MOST: Final = 64
"""Members at most: a file of a few bytes shall not build thousands of networks."""


class EnsembleParts(NamedTuple):
    """A prediction of an ensemble, taken apart; everything is in logits of the ensemble, positive towards fake.

    ``share.sum(0)`` is the logit, and for each member ``node[e].sum((1, 2)) + bias[e]`` is its share.

    Attributes:
        logit: ``(B,)`` float.
        share: ``(E, B)`` float, w_e z_e / T_e of each member.
        node: ``(E, B, h, w)`` float, the contributions of each member's nodes, on the common grid.
        bias: ``(E, B)`` float, the share of each member without any node.
    """

    logit: Tensor
    share: Tensor
    node: Tensor
    bias: Tensor


class Ensemble(DetectorNet):
    """Weighted ensemble: logit = Σ w_e z_e / T_e.

    A sum of exact sums is exact: where every member's logit is a sum over its nodes, so is the ensemble's, over the
    cells of a common grid (that of the member with the most nodes), into which each node's contribution is divided by
    area. ``resgat ensemble`` makes one of checkpoints; what it writes is a checkpoint itself.

    A member that was made for smaller images gets the image resized (bilinear, antialiased).

    Args:
        members: ``DetectorNet.spec`` of each.
        factors: w_e of each, 0 or more, with one above 0.
        temperatures: T_e of each, above 0; null for 1.
        names: Of the members, for reports; null for their numbers.
        image_size: Side in px of the images: that of the member with the largest.

    Attributes:
        members: The networks.
        scale: w_e / T_e, one number each; not in a state dict, since it follows from the arguments.

    Raises:
        ConfigError: There is no member, one cannot be made or is an ensemble itself, or the numbers do not fit.

    Example:
        >>> spec = PooledClassifier("resnet18", image_size=64).spec
        >>> net = Ensemble([spec, spec], [0.25, 0.75], [2.0, 1.0], image_size=64).eval()
        >>> image = torch.rand(1, 3, 64, 64)
        >>> one, other = (member(image).logit for member in net.members)
        >>> torch.allclose(net(image).logit, one / 8 + 0.75 * other)
        True
    """

    def __init__(
        self,
        members: list[dict[str, Any]],
        factors: list[float],
        temperatures: list[float] | None = None,
        names: list[str] | None = None,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        temperatures = [1.0] * len(members) if temperatures is None else temperatures
        names = [str(place + 1) for place in range(len(members))] if names is None else names
        _check(members, factors, temperatures, names)
        self.names = [str(name) for name in names]
        self.factors, self.temperatures = [float(f) for f in factors], [float(t) for t in temperatures]
        self.members = nn.ModuleList(_member(spec, place) for place, spec in enumerate(members))
        largest = max(member.image_size for member in self.nets)
        if image_size != largest:
            raise ConfigError(
                f"image_size is {image_size}, but the member with the largest images takes {largest} px: set that."
            )

    @property
    def nets(self) -> list[DetectorNet]:
        """The members, typed."""
        return [cast("DetectorNet", member) for member in self.members]

    @property
    def scale(self) -> list[float]:
        """w_e / T_e of each member."""
        return [factor / temperature for factor, temperature in zip(self.factors, self.temperatures, strict=True)]

    @property
    def adds_up(self) -> bool:
        """True if the logit of every member is a sum over its nodes."""
        return all(member.has_contributions for member in self.nets)

    def forward(self, images: Tensor) -> DetectorOutput:
        """Classify ``images (B, 3, H, W)`` float in [0, 1], RGB."""
        return DetectorOutput.of(self.shares(images).sum(dim=0))

    def shares(self, images: Tensor) -> Tensor:
        """Share of each member in the logits of ``images (B, 3, H, W)``: ``(E, B)`` float."""
        pairs = zip(self.nets, self.scale, strict=True)
        return torch.stack([scale * member(self._resized(images, member)).logit for member, scale in pairs])

    def lattice(self, height: int, width: int) -> Lattice:
        """Lattice of the member with the most nodes, as shares of an image of ``height × width`` pixels.

        Raises:
            ConfigError: The image is too small for a member.
        """
        lattices = [member.lattice(*self._side(height, width, member)) for member in self.nets]
        finest = max(lattices, key=lambda lattice: math.prod(lattice.shape))
        down, across = finest.centres
        return Lattice(height, width, tuple(y * height for y in down), tuple(x * width for x in across))

    def parts(self, images: Tensor) -> EnsembleParts:
        """Take the logits of ``images (B, 3, H, W)`` float in [0, 1], RGB, apart.

        Raises:
            ConfigError: The logit of a member is no sum over nodes, or the images are too small.
        """
        common = self.lattice(*images.shape[2:])
        shares, maps, biases = [], [], []
        for name, member, scale in zip(self.names, self.nets, self.scale, strict=True):
            if not member.has_contributions:
                raise ConfigError(
                    f"The member {name} is a {type(member).__name__}, whose logit is no sum over nodes, so that of the "
                    "ensemble is none: explain it with a method of pixels, such as InputXGradient."
                )
            given = self._resized(images, member)
            found = contributions(member, given)
            levels = member.levels(*given.shape[2:])
            shares.append(scale * found.output.logit)
            maps.append(scale * divided(levels.summed(found.node), levels.lattices[0], common))
            biases.append(scale * found.bias)
        share = torch.stack(shares)
        return EnsembleParts(share.sum(dim=0), share, torch.stack(maps), torch.stack(biases))

    def _side(self, height: int, width: int, member: DetectorNet) -> tuple[int, int]:
        return (
            round(height * member.image_size / self.image_size),
            round(width * member.image_size / self.image_size),
        )

    def _resized(self, images: Tensor, member: DetectorNet) -> Tensor:
        height, width = images.shape[2:]
        size = self._side(height, width, member)
        if size == (height, width):
            return images
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def parse_spec(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class path, or ``ResGAT``, and arguments of a detector as checkpoints and configurations hold it.

    Raises:
        WeightsError: It is no such entry.

    Example:
        >>> parse_spec({"heads": 2}), parse_spec({"class_path": "my_package.Net", "init_args": {"width": 3}})
        (('ResGAT', {'heads': 2}), ('my_package.Net', {'width': 3}))
    """
    if "class_path" not in spec:
        return "ResGAT", dict(spec)
    name, arguments = spec["class_path"], spec.get("init_args") or {}
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise WeightsError(f"net is {shorten(spec)}, which is no class_path with init_args.")
    return name, dict(arguments)


def _member(spec: Mapping[str, Any], place: int) -> DetectorNet:
    """One network, without pretrained weights. The specification comes from a checkpoint, whoever typed it."""
    try:
        name, arguments = parse_spec(spec)
    except WeightsError as error:
        raise ConfigError(f"Member {place + 1} of the ensemble cannot be made: {error}") from error
    with names_from_a_file():
        kind = find_part("detector", name, DetectorNet, MEMBERS)
        if issubclass(kind, Ensemble):
            raise ConfigError(f"Member {place + 1} is an ensemble itself: name its members instead.")
        if issubclass(kind, VideoResGAT):
            raise ConfigError(f"Member {place + 1} is a VideoResGAT, which judges clips: members judge single crops.")
        try:
            return kind(**{key: None if key == "weights" else value for key, value in arguments.items()})
        except TypeError as error:
            raise ConfigError(f"Member {place + 1} of the ensemble cannot be made: {error}") from error


def _check(members: object, factors: object, temperatures: object, names: object) -> None:
    lists = (members, factors, temperatures, names)
    counts = {len(each) if isinstance(each, list | tuple) else -1 for each in lists}
    if len(counts) > 1 or not 1 <= counts.pop() <= _MOST:
        raise ConfigError(f"An ensemble has 1 to {_MOST} members, with a factor, a temperature and a name each.")
    numbers = [*cast("list[object]", factors), *cast("list[object]", temperatures)]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < math.inf for x in numbers):
        raise ConfigError(f"The factors {factors!s:.80} and temperatures {temperatures!s:.80} must be finite and ≥ 0.")
    if not any(cast("list[float]", factors)) or not all(cast("list[float]", temperatures)):
        raise ConfigError("One factor at least must be above 0, and all temperatures.")
    if not all(isinstance(spec, Mapping) for spec in cast("list[object]", members)):
        raise ConfigError("members are the specifications of detectors, as checkpoints hold them.")
