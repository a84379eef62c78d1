from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.detector_net import DetectorNet

from ..helpers.other_nets import Blocks


class Anything(DetectorNet):
    def __init__(self, first: Any, *rest: Any, image_size: int = 224, **options: Any) -> None:
        super().__init__()


def test_the_arguments_are_recorded_however_they_are_given() -> None:
    assert Blocks(3).config == Blocks(width=3).config == {"width": 3, "image_size": 224, "weights": None}
    assert Blocks(image_size=64).image_size == 64
    assert Anything(Path("a/b"), 1, 2, depth=3).config == {"first": "a/b", "image_size": 224, "depth": 3}
    with pytest.raises(TypeError, match="depth"):
        Blocks(depth=3)  # type: ignore[call-arg]


def test_copies_have_them_too() -> None:
    net = Blocks(3, image_size=64)
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # noqa: S301 - our own bytes
        assert copied.config == net.config
        assert copied.config is not net.config
        assert torch.equal(copied.out.weight, net.out.weight)
    assert copy.deepcopy(Anything(1)).config == Anything(1).config


def test_the_spec_is_plain() -> None:
    assert Blocks(3).spec == {"class_path": class_path(Blocks), "init_args": Blocks(3).config}
    assert Anything((1, {"a": Path("b")})).spec["init_args"]["first"] == [1, {"a": "b"}]
    for value in (torch.zeros(1), object(), [len], {"a": {1}}):
        with pytest.raises(ConfigError, match=r"Anything: its argument first is a .* which no checkpoint holds"):
            _ = Anything(value).spec


def test_arguments_without_a_name_are_refused() -> None:
    """Left out, they would be others in the network that is read again."""
    with pytest.raises(ConfigError, match=r"Anything: its argument \*rest has values, which no checkpoint holds"):
        _ = Anything(1, 2).spec
    with pytest.raises(ConfigError, match="rest"):
        _ = copy.deepcopy(Anything(1, 2)).spec


def test_arguments_are_those_that_were_given() -> None:
    """Not those that the constructor has made of them."""
    given = {"widths": [1, [2]]}
    net = Anything(given, sizes=given["widths"])
    given["widths"].append(3)
    assert net.config == {"first": {"widths": [1, [2]]}, "image_size": 224, "sizes": [1, [2]]}


def test_cells_are_even() -> None:
    lattice = Blocks().lattice(56, 70)
    assert lattice.shape == (7, 7)
    assert torch.equal(lattice.cells(56, 70).flatten().bincount(), torch.full((49,), 80))
    with pytest.raises(ConfigError, match="6×70 pixels cannot be divided into 7×7 cells"):
        Blocks().lattice(6, 70)
