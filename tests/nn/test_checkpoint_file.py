from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from resgat_pl.core.errors import WeightsError
from resgat_pl.nn.checkpoint_file import load_strictly, read_file, read_state_dict


class Bomb:
    """A pickle that would run code when loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        read_file(tmp_path / "nowhere.pth")


def test_pickled_code_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Bomb()}, "bomb.pth")
    with pytest.raises(WeightsError, match=r"bomb\.pth.*pickled objects"):
        read_file("bomb.pth")
    assert not Path("exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not a weights file", b"PK\x03\x04broken zip", bytes(range(256))])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pth"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged\.pth"):
        read_file(file)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), {"epoch": 3}, {}])
def test_only_a_dictionary_of_tensors_is_a_state_dict(tmp_path: Path, content: object) -> None:
    file = tmp_path / "other.pth"
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
