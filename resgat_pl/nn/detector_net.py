"""The base class of detectors: any network that gives a logit for a face, and the arguments that it was made from."""

from __future__ import annotations

import inspect
from pathlib import Path, PurePath
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.core.types import NetOutput
from resgat_pl.nn.hub_folder import Written
from resgat_pl.nn.levels import Levels
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.pretrained import push_to_hub, save_pretrained

_PLAIN: Final = (str, int, float, bool, type(None))
"""Types that checkpoints hold without code."""


class DetectorNet(nn.Module):
    """Base class of detectors; trained, tested, exported and explained by every command.

    A subclass computes ``forward``. Its constructor has an argument ``image_size``, which gets ``data.image_size``, and
    otherwise takes texts, numbers, and lists and dictionaries of them: a checkpoint stores them, so that the network
    can be made again. An argument named ``weights`` is where pretrained weights come from; it is None when a
    checkpoint is read, which has all weights.

    Shapes:
        ``(B, 3, H, W)`` float in [0, 1], RGB → ``logit`` and ``probability`` ``(B,)``, see ``NetOutput``.

    Attributes:
        config: Arguments of the constructor, defaults included; recorded by this class.
        cells: Rows and columns of the even cells into which ``lattice`` divides an image.

    Example:
        >>> import torch
        >>> from resgat_pl.core.types import DetectorOutput
        >>> class MeanColour(DetectorNet):
        ...     def __init__(self, channels: int = 3, image_size: int = 224):
        ...         super().__init__()
        ...         self.layer = nn.Linear(channels, 1)
        ...     def forward(self, images):
        ...         return DetectorOutput.of(self.layer(images.mean(dim=(2, 3))).squeeze(1))
        >>> net = MeanColour(image_size=64)
        >>> net.config, net(torch.rand(2, 3, 64, 64)).logit.shape, net.lattice(64, 64).shape
        ({'channels': 3, 'image_size': 64}, torch.Size([2]), (7, 7))
    """

    config: dict[str, Any]
    _starred: str | None
    cells: ClassVar[tuple[int, int]] = (7, 7)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments."""
        net = super().__new__(cls)
        net.__dict__["config"], net.__dict__["_starred"] = _bound(cls, args, kwargs)
        return net

    def forward(self, images: Tensor) -> NetOutput:
        """Classify ``images (B, 3, H, W)`` float in [0, 1], RGB."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def lattice(self, height: int, width: int) -> Lattice:
        """Cells of an image of ``height × width`` pixels, over which maps of its pixels are averaged.

        Raises:
            ConfigError: The image has fewer pixels than cells.
        """
        if height < self.cells[0] or width < self.cells[1]:
            raise ConfigError(
                f"Images of {height}×{width} pixels cannot be divided into {self.cells[0]}×{self.cells[1]} cells: "
                "choose a larger image_size."
            )
        rows, columns = (
            tuple((i + 0.5) * side / count for i in range(count))
            for side, count in zip((height, width), self.cells, strict=True)
        )
        return Lattice(height, width, rows, columns)

    def levels(self, height: int, width: int) -> Levels:
        """Lattices of all nodes, of which ``lattice`` is the first; raises as that."""
        return Levels((self.lattice(height, width),))

    @property
    def image_size(self) -> int:
        """Side in px of the images that it is made for."""
        return int(self.config.get("image_size", 224))

    @property
    def has_contributions(self) -> bool:
        """True if ``nn.contribution`` decomposes the logit of this network into nodes."""
        return False

    @property
    def spec(self) -> dict[str, Any]:
        """Class and arguments as checkpoints store them, ``{"class_path": …, "init_args": {…}}``.

        Raises:
            ConfigError: An argument is no plain value, or has no name.
        """
        name = type(self).__name__
        if self._starred:
            raise ConfigError(
                f"{name}: its argument *{self._starred} has values, which no checkpoint holds: let it take "
                "one list instead."
            )
        return {
            "class_path": class_path(type(self)),
            "init_args": {key: _plain(value, f"{name}: its argument {key}") for key, value in self.config.items()},
        }

    def save_pretrained(
        self, folder: str | Path, checkpoint: str | Path | None = None, card: str | None = None
    ) -> Written:
        """Write the network as a folder; arguments and errors are those of ``pretrained.save_pretrained``."""
        return save_pretrained(self, folder, checkpoint, card)

    def push_to_hub(
        self,
        name: str,
        checkpoint: str | Path | None = None,
        card: str | None = None,
        private: bool = True,
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Send the network to the hub; arguments, result and errors are those of ``pretrained.push_to_hub``."""
        return push_to_hub(self, name, checkpoint, card, private, revision, token)


def _bound(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Arguments by name, defaults included, and the name of ``*args`` with values.

    A wrong call is left to the constructor to refuse.
    """
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # it is only looked at
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:  # also of copies, which get their state afterwards
        return {}, None
    bound.apply_defaults()
    found: dict[str, Any] = {}
    starred: str | None = None
    for name, value in list(bound.arguments.items())[1:]:
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        elif signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            starred = name if value else None
        else:
            found[name] = value
    return {name: _copied(value) for name, value in found.items()}, starred


def _copied(value: Any) -> Any:
    """A value as it is now, with paths as text: a constructor may change the lists and dictionaries that it gets."""
    if isinstance(value, PurePath):
        return str(value)
    if type(value) in {list, tuple}:
        return type(value)(map(_copied, value))
    return {key: _copied(each) for key, each in value.items()} if type(value) is dict else value


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(each, what) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each, what) for key, each in value.items()}
    if type(value) not in _PLAIN:
        raise ConfigError(
            f"{what} is a {type(value).__name__}, which no checkpoint holds: let the constructor take texts, numbers, "
            "lists or dictionaries, and make the object itself."
        )
    return value
