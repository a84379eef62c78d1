"""An untrusted checkpoint that names files elsewhere: training that resumes from it reads, copies and removes none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from resgat_pl.core.errors import WeightsError
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.training.adjust import same_wandb_run
from resgat_pl.training.checkpoints.best_checkpoints import adopt_best_checkpoints
from resgat_pl.training.checkpoints.recovery import validated

from ..helpers.tiny_runs import TABLE, Done, tiny
from .conftest import Ledger

SCORE = torch.tensor(0.9)


@pytest.fixture(scope="module")
def trained(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    assert fit(root, ffpp_crops, 1).status == 0
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of private files."""
    folder = tmp_path / "home"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "a.jpg").write_text("picture")
    (folder / "id_rsa").write_text("SECRET LINE\nstep\nSECRET\n")
    (folder / "metrics.csv").write_text("step,SECRET\n1,2\n")
    (folder / "other.ckpt").write_text("SECRET")
    return folder


def fit(root: Path, crops: Path, epochs: int, *more: object) -> Done:
    return tiny("fit", root, crops, "--trainer.max_epochs", epochs, *TABLE, *more)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def removes(entry: dict[str, Any], home: Path) -> None:
    entry.update(best_k_models={"/nonexistent": SCORE}, dirpath="/x", best_model_path=f"local://{home}")


def removes_what_it_remembers_best(entry: dict[str, Any], home: Path) -> None:
    path = f"local://{home}/photos"
    entry.update(best_k_models={path: SCORE}, kth_best_model_path=path, best_model_path=path, last_model_path=path)


def copies(entry: dict[str, Any], home: Path) -> None:
    entry.update(best_k_models={str(home / "id_rsa"): SCORE}, dirpath=str(home))


def copies_a_checkpoint(entry: dict[str, Any], home: Path) -> None:
    path = str(home / "other.ckpt")
    entry.update(best_k_models={path: SCORE}, best_model_path=path, kth_best_model_path=path, dirpath=str(home))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(removes, marks=pytest.mark.long),
        pytest.param(copies, marks=pytest.mark.long),
        pytest.param(removes_what_it_remembers_best, marks=pytest.mark.faults),
        pytest.param(copies_a_checkpoint, marks=pytest.mark.faults),
    ],
)
def test_a_checkpoint_that_names_files_elsewhere(
    change: Callable[[dict[str, Any], Path], None],
    trained: Path,
    home: Path,
    ffpp_crops: Path,
    tmp_path: Path,
    ledger: Ledger,
) -> None:
    state = read_file(trained / "checkpoints" / "last.ckpt")
    for key, entry in state["callbacks"].items():
        if key.startswith("ModelCheckpoint"):
            change(entry, home)
    places = [str(home / "id_rsa"), str(home / "metrics.csv")]
    state["recovery"].update(csv=places[change is copies], rows=10**30 if change is removes else 100)
    hostile = tmp_path / "from" / "untrusted" / "hostile.ckpt"
    hostile.parent.mkdir(parents=True)
    torch.save(state, hostile)
    before = content(home)
    done = fit(tmp_path / "run", ffpp_crops, 2, "--ckpt_path", hostile)
    assert done.status == 0, done.errors
    assert content(home) == before
    assert any("the choice of the best checkpoint starts again" in line for line in done.warned)
    written = tmp_path / "run"
    assert {path.name for path in (written / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert "SECRET" not in (written / "metrics.csv").read_text()
    ledger("checkpoint that names files elsewhere", tries=1, lost=0, recovered=1)


def remembered(folder: Path, **more: object) -> dict[str, Any]:
    best = str(folder / "best.ckpt")
    return {
        "dirpath": str(folder),
        "best_k_models": {best: SCORE},
        "best_model_path": best,
        "kth_best_model_path": best,
        "last_model_path": "",
        **more,
    }


def test_files_beside_the_checkpoint_are_taken_along(tmp_path: Path) -> None:
    """Also where the run was moved; but no link to a file elsewhere, and nothing is written over."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "best.ckpt").write_text("best")
    state = remembered(Path("/before/it/was/moved"), best_model_score=SCORE, current_score="rubbish")
    found = adopt_best_checkpoints(state, new, old / "last.ckpt")
    assert found == remembered(new, best_model_score=SCORE)
    assert (new / "best.ckpt").read_text() == "best"
    assert adopt_best_checkpoints(found, new, tmp_path / "hpc_ckpt_1.ckpt") == found  # it is there already
    with pytest.warns(UserWarning, match=r"new/best\.ckpt is there already, of another run"):
        assert adopt_best_checkpoints(state, new, old / "last.ckpt") is None
    shutil.rmtree(new)
    (old / "best.ckpt").rename(tmp_path / "elsewhere.ckpt")
    (old / "best.ckpt").symlink_to(tmp_path / "elsewhere.ckpt")
    with pytest.warns(UserWarning, match=r"old/best\.ckpt is not there"):
        assert adopt_best_checkpoints(state, new, old / "last.ckpt") is None
    assert not new.exists()


@pytest.mark.parametrize(
    "path", ["s3://bucket/a.ckpt", "file:///home/a.ckpt", "/home", "/home/a.txt", "/home/a\0.ckpt", 3, ("a",)]
)
@pytest.mark.parametrize("place", ["best_k_models", "best_model_path", "kth_best_model_path", "last_model_path"])
def test_what_is_no_local_checkpoint_is_refused(path: Any, place: str, tmp_path: Path) -> None:
    state = remembered(tmp_path)
    state[place] = {path: SCORE} if place == "best_k_models" else path
    with pytest.warns(UserWarning, match="no local .ckpt file"):
        assert adopt_best_checkpoints(state, tmp_path / "new", tmp_path / "last.ckpt") is None


@pytest.mark.parametrize("state", [None, [], {}, {"best_k_models": {"a.ckpt": "high"}}, {"best_k_models": ["a.ckpt"]}])
def test_rubbish_in_the_place_of_a_state(state: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="does not say"):
        assert adopt_best_checkpoints(state, tmp_path, tmp_path / "last.ckpt") is None


@pytest.mark.parametrize(
    "change",
    [{"random": 3}, {"metrics": []}, {"metrics": {"a": "text"}}, {"row": "text"}, {"row": ({"a": "text"}, 1)},
     {"row": ({"a": 1.0}, "b")}],
)  # fmt: skip
def test_a_state_of_another_form_is_refused(change: dict[str, Any]) -> None:
    fine = {"random": [], "metrics": {"a": SCORE}, "row": ({"a": 1.0}, 3)}
    assert validated(fine, "a.ckpt") == fine
    with pytest.raises(WeightsError, match=r"a\.ckpt holds a state of a training that resgat did not write"):
        validated({**fine, **change}, "a.ckpt")


@pytest.mark.parametrize("run", ["../../home", "a/b", "https://host/x", "", ".", 3, "x" * 200])
def test_the_id_of_a_run_is_no_path(run: Any) -> None:
    """It becomes the name of a folder."""
    logger = Namespace(class_path="x.WandbLogger", init_args=Namespace(id=None, version=None))
    config = Namespace(trainer=Namespace(logger=[logger]))
    with pytest.warns(UserWarning, match="which is no id"):
        same_wandb_run(config, run)
    assert logger.init_args.id is None
    same_wandb_run(config, "a1b2c3d4")
    assert logger.init_args.id == "a1b2c3d4"
