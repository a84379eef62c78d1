"""How often a command reads its checkpoint: a large one on a slow disk takes minutes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.evaluation.detector import Detector
from resgat_pl.nn.checkpoint_file import Checkpoint

from ..helpers.tiny_runs import tiny, untrained


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that torch has deserialised."""
    found: list[str] = []
    load = torch.load

    def counted(path: Any, *args: Any, **options: Any) -> Any:
        found.append(Path(path).name)
        return load(path, *args, **options)

    monkeypatch.setattr(torch, "load", counted)
    return found


@pytest.mark.long
def test_a_command_reads_its_checkpoint_once(ffpp_crops: Path, tmp_path: Path, reads: list[str]) -> None:
    path = untrained(tmp_path / "a.ckpt", ffpp_crops)
    for command in ("test", "validate"):
        reads.clear()
        assert tiny(command, tmp_path, ffpp_crops, "--ckpt_path", path).status == 0
        assert reads == ["a.ckpt"]
    reads.clear()
    assert "raw" not in vars(Checkpoint.read(path))  # Lightning took the weights, nothing holds them
    assert "raw" not in vars(Detector.load(path).checkpoint)
    assert reads == ["a.ckpt"]
