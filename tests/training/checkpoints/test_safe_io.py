"""Reading, writing and removing checkpoint files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from resgat_pl.core.storage import temporary_name
from resgat_pl.training.checkpoints.safe_io import SafeCheckpoints


def test_only_own_leftovers_are_removed(tmp_path: Path) -> None:
    """Neither other programs' files and folders, nor those of a training that is alive in another folder."""
    folder = tmp_path / "checkpoints"
    (folder / ".x.tmp").mkdir(parents=True)
    (folder / f".{'0' * 16}.tmp").mkdir()
    (folder / ".other-program.tmp").write_text("mine")
    (folder / "elsewhere").write_text("mine")
    (folder / f".{'1' * 16}.tmp").symlink_to(folder / "elsewhere")
    unfinished = temporary_name(folder / "last.ckpt")
    unfinished.write_text("half")
    saver = ModelCheckpoint(dirpath=tmp_path / "another")
    resumed: Any = SimpleNamespace(is_global_zero=True, ckpt_path=folder / "last.ckpt", checkpoint_callbacks=[saver])
    names = {path.name for path in folder.iterdir()}
    SafeCheckpoints().on_fit_start(resumed, BoringModel())
    assert {path.name for path in folder.iterdir()} == names
    saver.dirpath = str(folder)  # the run goes on in its own folder
    SafeCheckpoints().on_fit_start(resumed, BoringModel())
    assert {path.name for path in folder.iterdir()} == names - {unfinished.name}
