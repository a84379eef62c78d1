"""Importing asks the network for nothing and says nothing, wherever the program starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import sys
def watch(event, arguments):
    is_local = event == "socket.connect" and isinstance(arguments[1], str)  # loading processes talk to each other so
    if event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "urllib.Request"} and not is_local:
        print("CALLS", event, arguments[:2])
sys.addaudithook(watch)
"""
EVERY_MODULE = """
import importlib, pkgutil, resgat_pl
import resgat_pl.explain.report.command  # judges what is confidential, and augments nothing
assert not {"albumentations", "wandb"} & set(sys.modules)
for module in pkgutil.walk_packages(resgat_pl.__path__, "resgat_pl."):
    if module.name not in {"resgat_pl.__main__", "resgat_pl.data.loading.fork_server"}:
        importlib.import_module(module.name)
"""
WORKER = """
import torch
from torch.utils.data import DataLoader
from resgat_pl.data.loading.workers import loading
from resgat_pl.data.transforms import FlipAugmentation

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        import os, numpy
        FlipAugmentation()(numpy.zeros((8, 8, 3), numpy.uint8), index)
        return os.environ["NO_ALBUMENTATIONS_UPDATE"]

if __name__ == "__main__":
    assert [batch for batch in DataLoader(Pictures(), 4, **loading(1))] == [["1"] * 4]
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "code", [pytest.param(EVERY_MODULE, id="every module"), pytest.param(WORKER, id="loading process")]
)
def test_nothing_is_asked_for_and_nothing_said(code: str, tmp_path: Path) -> None:
    script = tmp_path / "start.py"  # loading processes import the main module again
    script.write_text(WATCH + code)
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    # the account of a service: no home, no proxy
    environment |= {"HOME": "/proc/none", "MPLCONFIGDIR": "/proc/none", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
