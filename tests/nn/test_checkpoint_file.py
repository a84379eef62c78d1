from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.types import Validation
from resgat_pl.nn.checkpoint_file import (
    CHECKPOINT_VERSION,
    Checkpoint,
    load_strictly,
    read_file,
    read_state_dict,
    take_content,
)


class Bomb:
    """A pickle that would run code when loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_pickled_code_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Bomb()}, "bomb.pth")
    with pytest.raises(WeightsError, match=r"bomb\.pth.*pickled objects"):
        read_file("bomb.pth")
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], torch.zeros(2), {"epoch": 3}, {}, None, b"", b"not weights", b"PK\x03\x04broken zip", bytes(range(256))],
)
def test_only_a_file_of_a_dictionary_of_tensors_is_a_state_dict(tmp_path: Path, content: object) -> None:
    file = tmp_path / "other.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(WeightsError, match=r"other\.pth"):
        read_state_dict(file)


def test_every_kind_of_difference_is_named() -> None:
    state = nn.Linear(3, 2).state_dict()
    state["extra"] = state.pop("bias")
    state["weight"] = torch.zeros(2, 4)
    with pytest.raises(WeightsError) as caught:
        load_strictly(nn.Linear(3, 2), state, "file.pth")
    message = str(caught.value)
    assert all(part in message for part in ("file.pth", "missing (bias)", "unexpected (extra)", "(2, 4) instead of"))


def test_files_older_than_the_batch_counters_load() -> None:
    source = nn.BatchNorm2d(3)
    source.running_mean = torch.rand(3)
    state = source.state_dict()
    del state["num_batches_tracked"]
    target = nn.Sequential(nn.BatchNorm2d(3))
    load_strictly(target, {f"0.{key}": value for key, value in state.items()}, "old.pth")
    assert torch.equal(target.state_dict()["0.running_mean"], source.running_mean)


def test_what_is_refused_is_named_without_advice_to_load_it(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": Path("b")}, path)
    with pytest.raises(WeightsError, match=r"a\.ckpt: .*plain values \(pathlib\.\w+\), which are refused") as caught:
        read_file(path)
    assert "weights_only" not in str(caught.value)
    with path.open("wb") as file:
        pickle.dump({"a": 1}, file, protocol=4)  # no warning of torch's either: warnings are errors here
    with pytest.raises(WeightsError, match="no checkpoint"):
        read_file(path)
    exported = tmp_path / "detector.onnx"
    exported.write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"was exported.* give the checkpoint"):
        read_file(exported)


def content(**entry: Any) -> dict[str, Any]:
    """The least that is a checkpoint."""
    return {
        "state_dict": {"net.a": torch.arange(3.0), "other": torch.zeros(1)},
        "resgat": {"version": CHECKPOINT_VERSION, "net": {"heads": 2}, **entry},
    }


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that torch has deserialised."""
    found: list[Path] = []
    load = torch.load

    def counted(path: Any, **options: Any) -> Any:
        found.append(Path(path))
        return load(path, **options)

    monkeypatch.setattr(torch, "load", counted)
    return found


def test_a_checkpoint_is_read_once_until_it_changes(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({**content(temperature=1.5), "wandb_run_id": "abc", "provenance": {"seed": 3}}, path)
    found = Checkpoint.read(path)
    assert Checkpoint.read(str(path)) is found
    assert len(reads) == 1
    assert (found.path, found.net_config, found.wandb_run_id) == (path, {"heads": 2}, "abc")
    assert found.provenance == {"seed": 3}
    assert found.temperatures == {"frame": 1.5, "video": None}
    assert (found.validation, found.can_resume, found.lightning) == (None, False, None)
    assert list(found.net_state) == ["a"]
    assert set(found.state) == {"net.a", "other"}
    torch.save(content(temperature=2.5), path)
    os.utime(path, ns=(1, 1))
    assert Checkpoint.read(path).temperatures["frame"] == 2.5
    assert len(reads) == 2


def test_what_was_released_is_read_again_if_it_is_wanted(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(content(), path)
    found = Checkpoint.read(path)
    found.release()
    assert found.net_config == {"heads": 2}
    assert len(reads) == 1
    assert torch.equal(found.net_state["a"], torch.arange(3.0))
    assert len(reads) == 2
    found.release()
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match=r"a\.ckpt was written again"):
        _ = found.state


def test_a_caller_that_changes_the_content_takes_it(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(content(), path)
    found = Checkpoint.read(path)
    take_content(path)["state_dict"]["net.a"].zero_()
    assert len(reads) == 1
    assert torch.equal(found.net_state["a"], torch.arange(3.0))
    torch.save({"weights": 1}, tmp_path / "b.ckpt")  # Lightning passes such files between processes
    assert take_content(tmp_path / "b.ckpt") == {"weights": 1}


def test_only_one_checkpoint_is_held(tmp_path: Path, reads: list[Path]) -> None:
    for name in ("a", "b", "a"):
        torch.save(content(), tmp_path / f"{name}.ckpt")
        Checkpoint.read(tmp_path / f"{name}.ckpt")
    assert [path.stem for path in reads] == ["a", "b", "a"]


@pytest.mark.parametrize(
    "wrong", [{}, {"resgat": None}, {"resgat": {}}, {"resgat": {"net": []}}, {**content(), "state_dict": 3}]
)
def test_what_is_no_checkpoint_is_named(wrong: dict[str, Any], tmp_path: Path) -> None:
    torch.save(wrong, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match=r"a\.ckpt is not a ResGAT checkpoint.* --net\.weights"):
        Checkpoint.read(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("thresholds", "validation", "kept"),
    [
        ({"frame": 0.5, "video": 0.5}, None, False),  # earlier versions' default
        ({"frame": 0.5, "video": 0.4}, None, True),
        ({"frame": 0.5, "video": 0.5}, Validation(3, 4).plain(), True),
        (None, None, False),
    ],
)
def test_a_default_is_no_choice(thresholds: Any, validation: Any, kept: bool) -> None:
    entry = {"thresholds": thresholds, "validation": validation}
    assert (Checkpoint.of(content(**entry), "a.ckpt").thresholds is not None) == kept


@pytest.mark.parametrize(
    "broken",
    [
        {"video_temperature": "3"},
        {"video_temperature": -1.0},
        {"video_temperature": float("nan")},
        {"validation": []},
        {"validation": {"real": 3}},
        {"validation": {**Validation(3, 4).plain(), "fake": "many"}},
        {"validation": {**Validation(3, 4).plain(), "fake": -4}},
    ],
)
def test_a_checkpoint_that_says_nonsense_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=r"a\.ckpt has (the|an|a)? ?(temperature|entry validation)"):
        Checkpoint.of(content(**broken), "a.ckpt")
