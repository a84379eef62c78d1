"""Shared data: one small synthetic set in each layout, made and extracted once a session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

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
