"""Shared data: one small synthetic set in each layout, made and extracted once a session."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

os.environ["WANDB_MODE"] = "offline"  # before anything imports wandb; the command line sets the same default
os.environ["WANDB_SILENT"] = "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=("few", "all"), default="few", help="how much to break on purpose")
    parser.addoption("--faults-table", metavar="FILE", help="document whose table of faults is written again")


@pytest.fixture(scope="session")
def ffpp_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set in the FF++ layout: 14 genuine clips, 28 fakes."""
    from resgat_pl.data.synth.generate import synthesize

    root = tmp_path_factory.mktemp("ffpp")
    synthesize(root, layout="ffpp", videos=14, frames=5, size=192)
    return root


@pytest.fixture(scope="session")
def ffpp_crops(ffpp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crops of ``ffpp_root``, 3 frames a video, 64 px."""
    from resgat_pl.data.extraction.command import extract
    from resgat_pl.data.extraction.settings import Extraction

    out = tmp_path_factory.mktemp("ffpp_crops")
    extract(ffpp_root, out, extraction=Extraction(frames=3, size=64), jobs=2)
    return out


@pytest.fixture(scope="session")
def shard_crops(ffpp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same crops in ten small shards."""
    from resgat_pl.data.extraction.command import extract
    from resgat_pl.data.extraction.settings import Extraction

    out = tmp_path_factory.mktemp("shard_crops")
    extract(ffpp_root, out, extraction=Extraction(frames=3, size=64), jobs=2, store="shards", shard_megabytes=0.12)
    return out


@pytest.fixture(scope="session", autouse=True)
def _heed_interrupts() -> None:
    """Scripts start what goes on in the background with Ctrl-C ignored, and tests of it would wait in vain."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _keep_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the data sets of the machine it runs on."""
    for name in ("FFPP_ROOT", "DFDC_ROOT", "RESGAT_CROPS", "RESGAT_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture(scope="session", autouse=True)
def _encoders_are_copied() -> Iterator[None]:
    """Initialise a random encoder once for each state of the generator: a fifth of the time of all tests was that.

    Numbers and the generator's later states are those of an initialisation.
    """
    if "torch" not in sys.modules:  # nothing that was collected has a network
        yield
        return
    import torch

    from resgat_pl.nn.encoders import registry
    from resgat_pl.nn.encoders.timm_models import TimmEncoder

    made: dict[tuple[Any, ...], tuple[Any, torch.Tensor]] = {}
    build = registry._built

    def copy(name: str, weights: Any, stage: Any, image_size: int) -> Any:
        kept = isinstance(name, str) and (name.startswith("timm/") or name in {"resnet18", "mobilenet_v2"})
        if weights is not None or not kept or torch.get_default_device().type != "cpu":
            return build(name, weights, stage, image_size)
        maker = getattr(sys.modules.get("timm"), "create_model", None)  # tests replace it
        key = (name, stage, maker, torch.get_default_dtype(), hash(torch.get_rng_state().numpy().tobytes()))
        if key not in made:
            encoder = build(name, weights, stage, image_size)
            made[key] = encoder, torch.get_rng_state()
            if len(made) > 24:
                del made[next(iter(made))]
        encoder, state = made[key]
        torch.set_rng_state(state)
        copied = deepcopy(encoder)
        if isinstance(encoder, TimmEncoder):
            copied._shapes = encoder._shapes  # finding the shape of a feature map takes as long as making it
        return copied

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_built", copy)
        yield


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """What a test draws does not depend on the tests before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
