"""Compiled, distributed and held networks are explained like the network itself, and no device is a piece of text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain import registry
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.methods.lime import lime_map
from resgat_pl.explain.methods.occlusion import Occlusion
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.unwrap import unwrap

from ..helpers.nets import IMAGES, PARTS, make_net


class Holder(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


def compiled_in_place(net: ResGAT) -> nn.Module:
    net.compile(backend="eager")
    return net


def compiled(net: nn.Module) -> nn.Module:
    wrapped: Any = torch.compile(net, backend="eager")
    return wrapped  # type: ignore[no-any-return]


@contextmanager
def one_process(folder: Path) -> Iterator[None]:
    store = torch.distributed.FileStore(str(folder / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


WRAPPERS: dict[str, Callable[[ResGAT], nn.Module]] = {
    "compiled": compiled,
    "compiled in place": compiled_in_place,
    "held": Holder,
    "data parallel": nn.DataParallel,
    "distributed": nn.parallel.DistributedDataParallel,
    "all at once": lambda net: compiled(nn.parallel.DistributedDataParallel(Holder(net))),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if name in {"compiled in place", "held", "data parallel"} else name
        for name in WRAPPERS
    ],
)
def test_a_wrapped_network_is_explained_as_it_is(name: str, tmp_path: Path) -> None:
    plain = make_net()
    expected = [method(plain).attribute(IMAGES) for method in (Contribution, Occlusion)]
    weights = lime_map(plain, IMAGES[0], 20, "squares")
    with one_process(tmp_path):
        wrapped = WRAPPERS[name](make_net()).eval()
        inner = unwrap(wrapped)
        call = inner._compiled_call_impl
        for method, known in zip((Contribution, Occlusion), expected, strict=True):
            found = method(wrapped).attribute(IMAGES)
            torch.testing.assert_close(found.node_map, known.node_map)
            assert (found.n_forward, found.lattice) == (known.n_forward, known.lattice)  # hooks count in it, too
        torch.testing.assert_close(contributions(wrapped, IMAGES).node, expected[0].node_map.flatten(1))
        torch.testing.assert_close(lime_map(wrapped, IMAGES[0], 20, "squares"), weights)
        assert inner._compiled_call_impl is call  # and afterwards it is compiled as before


@pytest.mark.parametrize(
    "model", [nn.Linear(2, 2), Holder(Holder(nn.Linear(2, 2))), torch.jit.script(nn.ReLU()), None, "resnet50"]
)
def test_what_holds_no_network_is_refused_by_name(model: Any) -> None:
    with pytest.raises(ConfigError, match=r"Contribution explains a ResGAT .* not "):
        Contribution(model)


class Devices(TorchFunctionMode):
    """Notes who of this package gives a device as text: numpy's scalars have one, and it is always ``cpu``."""

    def __init__(self) -> None:
        super().__init__()
        self.named: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*args[1:], *(kwargs or {}).values()] if func is Tensor.to else [(kwargs or {}).get("device")]
        caller = sys._getframe(1)
        if any(isinstance(value, str) for value in given) and "resgat_pl" in caller.f_code.co_filename:
            self.named.append(f"{caller.f_code.co_filename}:{caller.f_lineno}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", sorted(registry.methods().keys() - {"EnsembleContribution", "Relevancy"}))
def test_no_method_takes_a_device_from_anything_but_a_tensor(name: str) -> None:
    """A tensor sent to the device of a number from numpy stays on the CPU, and meets the network's on a GPU."""
    method: Any = registry.find(name)
    arguments: dict[str, Any] = {
        "LIME": {"samples": 10, "segments": "squares"},
        "KernelSHAP": {"samples": 50},
        "GNNExplainer": {"epochs": 1},
        "PermutationImportance": {"reference": IMAGES, "draws": 1},
        "PartialDependence": {"draws": 1, "steps": 1},
        "GradientSHAP": {"samples": 2},
        "IntegratedGradients": {"steps": 2},
    }.get(name, {})
    explainer: Explainer = method(make_net(**PARTS.get(name, {})), **arguments)
    with Devices() as devices:
        explainer.attribute(IMAGES[:1])
    assert devices.named == []
