"""Names of the hub, its cache without network, and what is sent."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch

from resgat_pl.core.errors import ConfigError, StorageError, WeightsError
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.hub import HubName, find_folder, hub_name, local_copy, push_folder
from resgat_pl.nn.hub_folder import FILES
from resgat_pl.nn.resgat import ResGAT

from ..helpers.hub import COMMIT, put, without_network


@pytest.fixture(scope="module")
def net() -> ResGAT:
    return ResGAT(encoder="timm/test_vit", heads=1, hidden=4, image_size=64).eval()


@pytest.fixture
def folder(net: ResGAT, tmp_path: Path) -> Path:
    return net.save_pretrained(tmp_path / "shared").folder


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one model, and no network."""
    cache = without_network(monkeypatch, tmp_path / "hub")
    put(cache, "ann/resgat", {name: (folder / name).read_bytes() for name in FILES})
    return cache


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hf://ann/resgat", HubName("ann/resgat")),
        (Path("hf://ann/resgat"), HubName("ann/resgat")),  # as a Path writes it
        ("hf://ann/resgat@refs/pr/1", HubName("ann/resgat", "refs/pr/1")),
        ("ann/resgat", None),
        ("hf://ann", None),
        ("hf://ann/resgat/deeper", None),
        ("runs/a@b/best.ckpt", None),
    ],
)
def test_names(path: str | Path, name: HubName | None) -> None:
    assert hub_name(path) == name


def test_a_model_in_the_cache_needs_no_network(cache: Path, net: ResGAT) -> None:
    images = torch.rand(2, 3, 64, 64)
    expected = net(images).logit
    for place, revision in (("ann/resgat", None), ("hf://ann/resgat", "main"), (f"hf://ann/resgat@{COMMIT}", None)):
        assert torch.equal(ResGAT.from_pretrained(place, revision)(images).logit, expected)
    found = Checkpoint.read("hf://ann/resgat")
    assert found.path == cache / "models--ann--resgat" / "snapshots" / COMMIT
    assert Checkpoint.read(Path("hf://ann/resgat")) is found


def test_what_is_not_in_the_cache_is_named(cache: Path) -> None:
    with pytest.raises(WeightsError, match=rf"hf://bob/other .*config\.json, model\..*cache to {cache}"):
        Checkpoint.read("hf://bob/other")
    with pytest.raises(WeightsError, match="hf://ann/resgat@v9"):
        Checkpoint.read("hf://ann/resgat@v9")
    put(cache, "ann/empty", {"README.md": b"nothing"})
    with pytest.raises(WeightsError, match=r"it has no config\.json and no model\.safetensors"):
        Checkpoint.read("hf://ann/empty")
    put(cache, "ann/evil", {"modeling.py": b"raise SystemExit", "config.json": b"{}"})
    with pytest.raises(WeightsError, match=r"holds code.*modeling\.py"):
        ResGAT.from_pretrained("ann/evil")


def test_only_three_files_are_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_network(monkeypatch, tmp_path / "hub")
    asked: list[Any] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options["revision"], options["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    for _ in range(2):
        assert local_copy("hf://ann/resgat@v1") == folder
    assert asked == [("ann/resgat", "v1", ["config.json", "model.safetensors", "README.md"])]  # once a process


def test_a_plain_name_is_no_path(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"no weights file ann/resgat.*given as hf://ann/resgat"):
        Checkpoint.read("ann/resgat")
    with pytest.raises(WeightsError, match=r"runs/best\.ckpt: check the path\.$"):
        Checkpoint.read("runs/best.ckpt")
    (tmp_path / "ann" / "resgat").mkdir(parents=True)
    assert find_folder("ann/resgat") == Path("ann/resgat")  # a local folder comes first
    for place in ("ann/resgat", "hf://ann/resgat@v1", "some/longer/path"):
        with pytest.raises(ConfigError, match="revision is 'v2'"):
            find_folder(place, "v2")


class FakeApi:
    """Records what is asked of the hub."""

    asked: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self.asked.append(("api", options))

    def create_repo(self, name: str, **options: Any) -> None:
        self.asked.append((name, options))

    def upload_folder(self, **options: Any) -> Any:
        files = sorted(path.name for path in Path(options["folder_path"]).iterdir())
        self.asked.append(("upload", {**options, "files": files}))
        return SimpleNamespace(commit_url="https://hub/commit/1")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    FakeApi.asked.clear()
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    return FakeApi


def test_a_network_is_sent(net: ResGAT, api: type[FakeApi]) -> None:
    assert net.push_to_hub("ann/resgat", token="secret", revision="dev") == "https://hub/commit/1"  # noqa: S106
    (_, made), created, (_, sent) = api.asked
    assert made["token"] == "secret"  # noqa: S105
    assert created == ("ann/resgat", {"private": True, "exist_ok": True})
    assert (sent["repo_id"], sent["revision"]) == ("ann/resgat", "dev")
    assert sorted(sent["allow_patterns"]) == sent["files"] == sorted(FILES)
    assert not Path(sent["folder_path"]).exists()


def test_a_folder_is_checked_before_it_is_sent(folder: Path, api: type[FakeApi]) -> None:
    (folder / "notes.txt").write_text("mine")
    assert push_folder(folder, "hf://ann/resgat", private=False)
    assert api.asked[1] == ("ann/resgat", {"private": False, "exist_ok": True})
    api.asked.clear()
    for name in ("ann", "ann/resgat/more", "https://hub/ann/resgat", "hf://ann/resgat@v1", "../resgat"):
        with pytest.raises(ConfigError, match="no name on the hub"):
            push_folder(folder, name)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"gatv2"', '"gatv1"'))
    with pytest.raises(WeightsError, match="damaged or was changed"):
        push_folder(folder, "ann/resgat")
    (folder / "run.py").write_text("")
    with pytest.raises(WeightsError, match=r"holds code.*run\.py"):
        push_folder(folder, "ann/resgat")
    assert api.asked == []


def test_a_refusal_of_the_hub_is_one_message(folder: Path, api: type[FakeApi], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401 Unauthorized\nmore\nlines")

    monkeypatch.setattr(api, "create_repo", refuse)
    with pytest.raises(StorageError, match=r"shared was not sent to ann/resgat \(OSError: 401 Un.*auth login"):
        push_folder(folder, "ann/resgat")


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_network(monkeypatch, tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: Checkpoint.read("hf://ann/resgat"), lambda: push_folder(folder, "ann/resgat")):
        with pytest.raises(ConfigError, match=r'pip install "resgat-pl\[hub\]"'):
            use()
    assert ResGAT.load(folder)  # a folder needs none of it
