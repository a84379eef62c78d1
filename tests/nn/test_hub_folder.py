"""A folder gives back every bit; one that is damaged, foreign or hostile is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save, save_file

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import Checkpoint, read_file, take_content
from resgat_pl.nn.encoder_source import same_bits
from resgat_pl.nn.hub_folder import CARD_NAME, CONFIG_NAME, FILES, WEIGHTS_NAME, check_folder, read_folder, write_folder
from resgat_pl.nn.resgat import ResGAT

from ..helpers.hub import HASHES, THRESHOLDS, content, small


def written(net: ResGAT, folder: Path) -> Path:
    write_folder(folder, content(net), lambda note: f"# A card\n\n{note}\n")
    return folder


@pytest.fixture
def vit_file(tmp_path: Path) -> Path:
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return path


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return written(small(), tmp_path / "shared")


@pytest.mark.parametrize("train", ["full", "norms", "frozen", "lora"])
def test_logits_are_the_same_bits(vit_file: Path, tmp_path: Path, train: str) -> None:
    net = small(weights=vit_file, train=train)
    folder = written(net, tmp_path / "shared")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    images = torch.rand(2, 3, 64, 64)
    found = Checkpoint.of(read_folder(folder, vit_file), folder)
    assert torch.equal(ResGAT.load(found)(images).logit, net(images).logit)
    assert found.net_config == {**net.config, "weights": "vit.safetensors"}  # no folder of this machine
    stored = load_file(folder / WEIGHTS_NAME)
    in_backbone = [name for name in stored if name.startswith("net.backbone.")]
    trained = [name for name, parameter in net.backbone.named_parameters() if parameter.requires_grad]
    assert len(in_backbone) == (len(net.backbone.state_dict()) if train == "full" else len(trained))


def test_everything_but_the_training_state_comes_back(shared: Path) -> None:
    found = read_folder(shared)
    assert found["resgat"]["thresholds"] == THRESHOLDS
    assert found["provenance"]["data"]["crops"] == "crops"
    assert torch.equal(found["provenance"]["train_videos"], HASHES)
    assert (found["pytorch-lightning_version"], found["epoch"], found["global_step"]) == ("2.6.0", 4, 9)
    assert set(found) == {
        "resgat", "provenance", "pytorch-lightning_version", "epoch", "global_step", "state_dict",
    }  # fmt: skip
    text = (shared / CONFIG_NAME).read_text()
    assert "secret" not in text
    assert "/home" not in text
    assert json.loads(text)["schema"] == 1
    assert (shared / CARD_NAME).read_text().startswith("# A card\n\nAll weights are stored, since the whole encoder")


def test_a_checkpoint_may_be_a_folder(shared: Path) -> None:
    found = Checkpoint.read(shared)
    assert Checkpoint.read(str(shared)) is found
    assert (found.path, found.thresholds, found.can_resume) == (shared, THRESHOLDS, False)
    assert found.temperatures == {"frame": 1.5, "video": None}
    found.release()
    expected = read_file(shared)["state_dict"]
    assert all(same_bits(found.state[name], value) for name, value in expected.items())
    fingerprint = found.fingerprint
    assert take_content(shared)["epoch"] == 4
    other = written(small(heads=1), shared)  # over the same folder
    assert Checkpoint.read(other) is not found
    assert Checkpoint.read(other).fingerprint != fingerprint
    with pytest.raises(WeightsError, match="written again"):
        _ = found.state


def test_the_card_may_be_edited_and_hidden_files_may_be_there(shared: Path) -> None:
    (shared / CARD_NAME).unlink()
    (shared / ".gitattributes").write_text("*.safetensors filter=lfs")
    (shared / "LICENSE").write_text("MIT")
    check_folder(shared)
    read_folder(shared)


def edit(name: str, value: Any) -> Callable[[Path], None]:
    """Set a dotted entry of ``config.json``."""

    def change(folder: Path) -> None:
        document = json.loads((folder / CONFIG_NAME).read_text())
        *parents, last = name.split(".")
        inner = document
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
        (folder / CONFIG_NAME).write_text(json.dumps(document))

    return change


def put(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def flip(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_NAME).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS_NAME).write_bytes(data)


def cut(folder: Path) -> None:
    data = (folder / WEIGHTS_NAME).read_bytes()
    (folder / WEIGHTS_NAME).write_bytes(data[: len(data) // 2])


def of_another(folder: Path) -> None:
    (written(small(heads=1), folder.parent / "other") / WEIGHTS_NAME).replace(folder / WEIGHTS_NAME)


def add_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS_NAME)
    save_file({**tensors, "@resgat.net.heads.deeper": torch.zeros(1)}, folder / WEIGHTS_NAME)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "are not as they were written together"),
        (cut, r"Cannot read .*model\.safetensors"),
        (of_another, "are not as they were written together"),
        (add_tensor, "are not as they were written together"),
        (put(WEIGHTS_NAME, b""), r"Cannot read .*model\.safetensors"),
        (put(WEIGHTS_NAME, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1"), "Cannot read"),
        (put(WEIGHTS_NAME, save({"a": torch.zeros(1)})), "are not as they were written together"),
        (put(CONFIG_NAME, b""), r"Cannot read .*config\.json"),
        (put(CONFIG_NAME, b"[1]"), "it is no object"),
        (put(CONFIG_NAME, b"[" * 100_000), r"Cannot read .*config\.json"),
        (put(CONFIG_NAME, b'"' + b"a" * 2**24 + b'"'), "too large"),
        (put(CONFIG_NAME, b'{"model_type": "bert", "hidden_size": 768}'), "no format number.*--format hub"),
        (edit("schema", 2), "format 2.*reads 1"),
        (edit("resgat", None), "resgat or sha256 is missing"),
        (edit("sha256", "abc"), "resgat or sha256 is missing"),
        (edit("sha256.complete", "0"), "not those that were shared"),
        (edit("resgat.thresholds.video", 0.1), "are not as they were written together"),
        (edit("resgat.net.encoder", "os.path"), "are not as they were written together"),
        (edit("encoder", {"name": "os.path"}), "names no encoder of torchvision or timm"),
        (lambda folder: (folder / WEIGHTS_NAME).unlink(), r"it has no model\.safetensors"),
        (lambda folder: (folder / CONFIG_NAME).unlink(), r"it has no config\.json"),
        (
            put("modeling_resgat.py", b"import pathlib; pathlib.Path('exploded').touch()"),
            r"holds code.*modeling_resgat\.py",
        ),
        (put("pytorch_model.bin", pickle.dumps(Bomb())), r"holds code.*pytorch_model\.bin"),
        (put("optimizer.PKL", pickle.dumps(Bomb())), r"optimizer\.PKL"),
    ],
)
def test_what_is_not_as_it_was_shared_is_refused(
    shared: Path, damage: Callable[[Path], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared.parent)
    damage(shared)
    with pytest.raises(WeightsError, match=f"shared.*{message}|{message}") as caught:
        read_folder(shared)
    assert str(shared) in str(caught.value)
    assert not Path("exploded").exists()


def test_a_config_with_right_hashes_imports_nothing_either(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_encoders.py").write_text("import pathlib; pathlib.Path('exploded').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    net = small()
    net.config["encoder"] = "evil_encoders.Encoder"
    written(net, shared)  # whoever makes a folder makes its hashes
    for load in (ResGAT.load, ResGAT.from_pretrained):
        with pytest.raises(WeightsError, match=r"evil_encoders\.Encoder is .* a file alone does not make"):
            load(shared)
    assert not (tmp_path / "exploded").exists()


def test_another_encoder_than_it_was_trained_on_is_refused(vit_file: Path, tmp_path: Path) -> None:
    folder = written(small(weights=vit_file, train="frozen"), tmp_path / "shared")
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), other)
    with pytest.raises(WeightsError, match=r"other\.safetensors gives another .* right file is vit\.safetensors"):
        read_folder(folder, other)
    check_folder(folder)
    with pytest.raises(WeightsError, match=rf"{folder}: the encoder's weights are not stored.*vit\.safetensors \(SHA"):
        read_folder(folder)


def test_nothing_of_others_is_overwritten(shared: Path, tmp_path: Path) -> None:
    (shared / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(notes\.txt\)"):
        written(small(), shared)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        written(small(), tmp_path / "file")
    with pytest.raises(WeightsError, match=r"resgat\.net is missing"):
        write_folder(tmp_path / "new", {"state_dict": {}}, str)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_does_not_hold_what_was_written_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safetensors.torch.save", lambda tensors, metadata: save({"a": torch.zeros(1)}, metadata))
    with pytest.raises(ConfigError, match="does not hold what was written"):
        written(small(), tmp_path / "shared")
    assert not (tmp_path / "shared" / CONFIG_NAME).exists()
