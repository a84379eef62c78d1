"""The best checkpoints of an earlier run, copied into the folder of the run that resumes it.

A checkpoint may be untrusted. Of the paths in it only the file names count: files are copied from the checkpoint's own
folder, or are those of this very run, and nothing else is read, copied or left for Lightning to remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from resgat_pl.core.storage import write_atomic

_PATHS: Final = ("best_model_path", "kth_best_model_path", "last_model_path")
_SCORES: Final = ("best_model_score", "current_score", "kth_value")


def is_own(path: Path) -> bool:
    """True if a path is a file of its folder, not a link to one elsewhere."""
    return path.is_file() and path.resolve().parent == path.parent.resolve()


def adopt_best_checkpoints(state: Any, folder: Path, checkpoint: Path) -> dict[str, Any] | None:
    """Copy the files listed in the state of a ``ModelCheckpoint`` into its folder.

    Args:
        state: The state, from the checkpoint.
        folder: Its folder in this run.
        checkpoint: The checkpoint that the run resumes from.

    Returns:
        Its state for this run; None for none, so that Lightning starts from scratch and has nothing to remove.
    """
    checkpoint = checkpoint.resolve()  # the user may have named a link
    problem = _problem(state)
    if problem is not None:
        rank_zero_warn(f"{checkpoint} {problem}: the choice of the best checkpoint starts again.")
        return None
    # Which files to copy: those that are not in place; a file of another run is never overwritten
    models = state["best_k_models"]
    same = Path(str(state.get("dirpath"))) == folder
    sources: dict[Path, Path] = {}
    for path in models:
        target, beside = folder / Path(path).name, checkpoint.parent / Path(path).name
        if (same and is_own(target)) or _are_one(beside, target):
            continue  # it is where it was written
        if target.exists() or not is_own(beside):
            found = f"{target} is there already, of another run" if target.exists() else f"{beside} is not there"
            rank_zero_warn(f"{found}: the choice of the best checkpoint starts again.")
            return None
        sources[target] = beside
    folder.mkdir(parents=True, exist_ok=True)
    for target, source in sources.items():
        write_atomic(target, source.read_bytes())

    def moved(path: Any) -> str:
        # of one that was not copied the name counts for nothing: Lightning would remove the file of that name
        return str(folder / Path(path).name) if path and (same or path in models) else ""

    return {
        **{name: value for name, value in state.items() if name not in {*_PATHS, *_SCORES}},  # of a subclass
        "dirpath": str(folder),
        "best_k_models": {moved(path): score for path, score in models.items()},
        **{name: moved(state.get(name)) for name in _PATHS},
        **{name: state[name] for name in _SCORES if _is_number(state.get(name))},
    }


def restore_saver(callback: ModelCheckpoint, state: Mapping[str, Any]) -> None:
    """Load the result of ``adopt_best_checkpoints`` into a ``ModelCheckpoint``."""
    callback.load_state_dict({"best_model_score": None, **state})
    callback.current_score = state.get("current_score")  # Lightning stores it and forgets to restore it


def _problem(state: Any) -> str | None:
    """Reason why a ``ModelCheckpoint`` cannot resume from a state, None if it can."""
    models = state.get("best_k_models") if isinstance(state, dict) else None
    if not isinstance(models, dict) or not all(map(_is_number, models.values())):
        return "does not say which checkpoints were best"
    for path in (*models, *filter(None, map(state.get, _PATHS))):
        if not _is_checkpoint(path):
            return f"remembers {str(path)[:200]!r}, which is no local .ckpt file"
    kth = state.get("kth_best_model_path")
    return "remembers a checkpoint without its score" if kth and kth not in models else None


def _is_checkpoint(path: object) -> bool:
    return isinstance(path, str) and "://" not in path and path.endswith(".ckpt") and path.isprintable()


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) or (isinstance(value, Tensor) and value.numel() == 1)


def _are_one(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)
