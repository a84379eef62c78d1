"""Files that somebody made to do harm: none runs code, and none is read from outside its own folder."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ManifestError, ResGATError, WeightsError
from resgat_pl.data.crop_store.reader import INDEX_NAME, Shards
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.export.runtime import ExportedDetector
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.safetensors_file import from_safetensors

from ..helpers.tiny_runs import tiny, untrained
from .conftest import Ledger
from .test_resuming import differences, plain


class _Touch:
    """Unpickled, it touches a file: stands for whatever an attacker would rather do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def _legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _bare(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def _patched(content: Any, path: Path) -> None:
    """A good checkpoint whose ``data.pkl`` was put in the place of the real one."""
    good = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(2)}}, good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry, pickle.dumps(content) if entry.filename.endswith("data.pkl") else data)


WAYS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "legacy": _legacy,
    "pickle": _bare,
    "patched": _patched,
}


@pytest.fixture
def bomb(tmp_path: Path) -> tuple[_Touch, Path]:
    marker = tmp_path / "marker"
    return _Touch(marker), marker


@pytest.mark.parametrize("way", WAYS)
def test_the_bomb_is_a_real_one(bomb: tuple[_Touch, Path], tmp_path: Path, way: str) -> None:
    """Else the tests below would show nothing."""
    content, marker = bomb
    WAYS[way]({"state_dict": content}, tmp_path / "a.ckpt")
    if way in {"pickle", "patched"}:
        data = (tmp_path / "a.ckpt").read_bytes()
        if way == "patched":
            with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
                data = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
        pickle.loads(data)  # noqa: S301 - the bomb made above
    else:
        torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert marker.exists()


@pytest.mark.long
def test_no_command_runs_code_of_a_checkpoint(
    bomb: tuple[_Touch, Path],
    ffpp_crops: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    content, marker = bomb
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # which Lightning's own loading would obey
    refused = tried = 0
    for way, write in WAYS.items():
        path = tmp_path / f"{way}.ckpt"
        write({"state_dict": content, "resgat": content, "provenance": content}, path)
        for command in ("fit", "validate", "test", "predict"):
            done = tiny(command, tmp_path, ffpp_crops, "--ckpt_path", path)
            tried += 1
            refused += done.status == 2 and "can run code" in done.errors and not marker.exists()
        tools = (
            ("explain", path, ffpp_crops, "--out", tmp_path / "explained"),
            ("export", path, tmp_path / "a.onnx"),
            ("export", path, tmp_path / "a.safetensors", "--format", "safetensors"),
            ("cross", f"a={path}", f"b={ffpp_crops}", "--out", tmp_path / "cross"),
            ("robustness", path, "--out", tmp_path / "robustness"),
            ("benchmark-explainers", "--ckpt", path, "--manifest", ffpp_crops, "--out", tmp_path / "board"),
        )
        for tool in tools:
            capsys.readouterr()
            try:
                status = main([*map(str, tool)])
            except SystemExit as exit_:
                status = int(str(exit_.code))
            tried += 1
            reported = capsys.readouterr().err
            assert status == 2 and "can run code" in reported, (tool, reported)
            refused += not marker.exists()
        for read in (ResGAT.load, ResGAT.from_published, read_file):
            tried += 1
            with pytest.raises(WeightsError, match="can run code"):
                read(path)
            refused += not marker.exists()
        tried += 1
        with pytest.raises(WeightsError, match="can run code"):
            ResGAT(encoder="resnet18", weights=path, heads=1, hidden=2)
        refused += not marker.exists()
    assert refused == tried
    assert not marker.exists()
    ledger("checkpoint whose pickle runs code", tries=tried, lost=tried - refused, recovered=refused)


@pytest.mark.long
def test_lightning_itself_loads_without_code(
    bomb: tuple[_Touch, Path], ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--ckpt_path last`` is looked up by Lightning, so the command line has not seen the file before."""
    content, marker = bomb
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert tiny("fit", tmp_path, ffpp_crops, "--checkpoint.dirpath", tmp_path / "kept").status == 0
    (last,) = tmp_path.rglob("last.ckpt")
    torch.save({**read_file(last), "extra": content}, last)
    again = tiny(
        "fit", tmp_path, ffpp_crops, "--ckpt_path", "last", "--trainer.max_epochs", 2,
        "--checkpoint.dirpath", tmp_path / "kept",
    )  # fmt: skip
    assert not marker.exists()
    assert again.status == 2, again.errors
    assert "can run code" in again.errors


def test_a_pt2_file_is_not_opened_unless_trusted(bomb: tuple[_Touch, Path], tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(b"whatever")
    with pytest.raises(WeightsError, match="trusted=True"):
        ExportedDetector.load(tmp_path / "a.pt2")


# --- safetensors ---------------------------------------------------------------------------------------------------


def _framed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _header(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


def hostile_safetensors(good: bytes) -> dict[str, bytes]:
    (length,) = struct.unpack("<Q", good[:8])
    header, data = json.loads(good[8 : 8 + length]), good[8 + length :]

    def with_metadata(**changes: Any) -> bytes:
        metadata = {name: v for name, v in {**header["__metadata__"], **changes}.items() if v is not None}
        return _framed(json.dumps({**header, "__metadata__": metadata}).encode(), data)

    content = json.loads(header["__metadata__"]["content"])
    net = content["resgat"]["net"]
    name = next(n for n in header if n.startswith("net.gat"))
    return {
        "empty": b"",
        "short": b"\x01\x02",
        "huge header": struct.pack("<Q", 2**62) + good[8:],
        "header beyond the end": struct.pack("<Q", len(good) * 2) + good[8:],
        "no JSON": _framed(b"\xff\xfe not json"),
        "nested": _framed(b"[" * 100_000 + b"]" * 100_000),
        "offsets outside": _framed(_header(a={"dtype": "F32", "shape": [4], "data_offsets": [0, 2**50]}), b"1234"),
        "offsets overlap": _framed(
            _header(
                a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                b={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            ),
            b"1234",
        ),
        "shape too large": _framed(
            _header(a={"dtype": "F32", "shape": [2**31, 2**31, 8], "data_offsets": [0, 4]}), b"1234"
        ),
        "unknown type": _framed(_header(a={"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}), b"1234"),
        "no metadata": _framed(json.dumps({k: v for k, v in header.items() if k != "__metadata__"}).encode(), data),
        "cut off": good[:-100],
        "newer": with_metadata(version="99", resgat_pl="9.1.0"),
        "version is words": with_metadata(version="many"),
        "version is endless": with_metadata(version="9" * 5000),
        "no version": with_metadata(version=None),
        "no content": with_metadata(content=None),
        "content is no JSON": with_metadata(content="{"),
        "content is a list": with_metadata(content="[]"),
        "content nests": with_metadata(content="[" * 100_000 + "]" * 100_000),
        "no network": with_metadata(content=json.dumps({"resgat": {"version": 1}})),
        "unknown argument": with_metadata(
            content=json.dumps({**content, "resgat": {**content["resgat"], "net": {**net, "evil": 1}}})
        ),
        "enormous network": with_metadata(
            content=json.dumps({**content, "resgat": {**content["resgat"], "net": {**net, "hidden": 2**40}}})
        ),
        "words for numbers": with_metadata(
            content=json.dumps({**content, "resgat": {**content["resgat"], "net": {**net, "hidden": "8"}}})
        ),
        "other shape": with_metadata(
            content=json.dumps({**content, "resgat": {**content["resgat"], "net": {**net, "hidden": 4}}})
        ),
        "missing tensor": _framed(
            json.dumps({(f"x{k}" if k == name else k): v for k, v in header.items()}).encode(), data
        ),
    }


def test_hostile_safetensors_are_refused(ffpp_crops: Path, tmp_path: Path, ledger: Ledger) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)
    assert main(["export", str(checkpoint), str(tmp_path / "a.safetensors"), "--format", "safetensors"]) == 0
    files = hostile_safetensors((tmp_path / "a.safetensors").read_bytes())
    refused = 0
    for name, data in files.items():
        path = tmp_path / "hostile.safetensors"
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=r"hostile\.safetensors"):
            pytest.fail(f"{name} was loaded: {ResGAT.load(path)}")
        refused += 1
    with pytest.raises(WeightsError, match=r'pip install "resgat-pl>=9.1.0"'):
        path.write_bytes(files["newer"])
        from_safetensors(path)
    ledger("hostile safetensors file", tries=len(files), lost=len(files) - refused, recovered=refused)


# --- names that leave their folder -----------------------------------------------------------------------------------

OUTSIDE = (
    "../a.png",
    "a/../../b.png",
    "/etc/passwd",
    "..",
    "a\\..\\..\\b.png",
    "C:\\a.png",
    "\\\\host\\a",
    "a\x00.png",
)
INSIDE = ("a/b.png", "a..b/c.png", ".hidden/..a.png", "a/...png", "ünï/'\"<>$.png", "a b/c:d.png")


def _manifest(folder: Path, crops: Path, column: str, name: str, row: int = 5) -> Path:
    """A manifest with one row's name changed."""
    manifest = Manifest.read(crops)
    names = manifest.column(column).tolist()
    names[row] = name
    field = SCHEMA.field(column)
    table = manifest.table.set_column(SCHEMA.get_field_index(column), field, pa.array(names, field.type))
    folder.mkdir(exist_ok=True)
    Manifest(folder, table, manifest.info).write()
    return folder


def test_names_in_a_manifest_stay_in_its_folder(ffpp_crops: Path, tmp_path: Path, ledger: Ledger) -> None:
    refused = 0
    for column in ("crop_path", "mask_path"):
        for name in OUTSIDE:
            with pytest.raises(ManifestError, match=rf"{column}: row 5 of \d+ names "):
                Manifest.read(_manifest(tmp_path / "m", ffpp_crops, column, name))
            refused += 1
        for name in INSIDE:
            assert Manifest.read(_manifest(tmp_path / "m", ffpp_crops, column, name)).column(column)[5] == name
    tries = 2 * len(OUTSIDE)
    ledger("path that leaves its folder, in a manifest", tries=tries, lost=tries - refused, recovered=refused)


def test_an_index_of_shards_stays_in_its_folder(shard_crops: Path, tmp_path: Path, ledger: Ledger) -> None:
    good = pa.ipc.open_file(pa.memory_map(str(shard_crops / INDEX_NAME))).read_all()
    info = json.loads(good.schema.metadata[b"resgat"])
    (tmp_path / "manifest.parquet").write_bytes((shard_crops / "manifest.parquet").read_bytes())
    (tmp_path / "shards").mkdir()
    manifest = Manifest.read(tmp_path)

    def write(info: Any, table: pa.Table = good) -> None:
        table = table.replace_schema_metadata({"resgat": json.dumps(info)})
        with pa.OSFile(str(tmp_path / INDEX_NAME), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)

    def column(name: str, value: int | None) -> pa.Table:
        place = good.schema.get_field_index(name)
        values = [value] * len(good)
        return good.set_column(place, good.schema.field(name), pa.array(values, good.schema.field(name).type))

    names: list[Any] = ["../a.tar", "/etc/passwd", "..", ".", "", "a/b.tar", "a\\b.tar", None, 3, ["a"], "C:a.tar"]
    hostile = [({**info, "shards": [[name, 1], *info["shards"][1:]]}, good) for name in names]
    hostile += [({**info, "shards": value}, good) for value in (None, 3, {}, [["a.tar"]], [["a.tar", "1"]], [1])]
    hostile += [(info, column(*bad)) for bad in (("shard", 99), ("shard", -1), ("offset", -1), ("size", -5))]
    hostile += [(info, column("offset", value)) for value in (2**61, 2**63 - 1)]  # with the size they are too large
    hostile += [(info, column("size", 2**31 - 1)), (info, column("mask_size", -5)), (info, column("mask_size", 2**30))]
    hostile += [(info, column("mask_offset", value)) for value in (-2, 0, 2**61, 2**63 - 1)]
    hostile += [(info, column(name, None)) for name in ("shard", "offset", "size", "mask_offset", "crop_path")]
    hostile += [({**info, "shards": [[name, size] for name, _ in info["shards"]]}, good) for size in (-1, 5, 2**70)]
    hostile += [(info, good.drop_columns(["offset"])), ([], good), ("x", good)]
    hostile += [({**info, "version": version}, good) for version in (0, 99, "1", None, 1.5, True)]
    for wrong, table in hostile:
        write(wrong, table)
        with pytest.raises(ManifestError, match=r"shards\.arrow"):
            pytest.fail(f"was read: {Shards(manifest).shards} {wrong}")
    (tmp_path / "shards" / info["shards"][0][0]).symlink_to("/etc/hostname")
    write(info)
    data = (tmp_path / INDEX_NAME).read_bytes()
    ends = good.column("crop_path").combine_chunks().buffers()[1].to_pybytes()[: 4 * 4]  # where the first names end
    assert data.count(ends) == 1
    texts = [(0, 2**31 - 1, 2**31 - 1, 2**31 - 1), (-(2**30), 0, 1, 2), (2**30, 2**30 + 9, 2**30 + 10, 2**30 + 20)]
    for text in texts:  # reading such a name would end this process
        (tmp_path / INDEX_NAME).write_bytes(data.replace(ends, struct.pack("<4i", *text)))
        with pytest.raises(ManifestError, match=r"shards\.arrow is not a readable index"):
            Shards(manifest)
    write(info)
    with pytest.raises(ManifestError, match="leads out of"):
        Shards(manifest)
    tries = len(hostile) + len(texts) + 1
    ledger("hostile index of shards", tries=tries, lost=0, recovered=tries)


@pytest.mark.parametrize("version", [0, -1, 2, 10**30, "1", None, 1.0, True, [], {}])
def test_a_manifest_of_another_format_is_refused(ffpp_crops: Path, tmp_path: Path, version: Any) -> None:
    table = Manifest.read(ffpp_crops).table
    meta = {"version": version, "resgat_pl": "7.0.0"}
    pq.write_table(table.replace_schema_metadata({"resgat": json.dumps(meta)}), tmp_path / "manifest.parquet")
    newer = type(version) is int and version > 1
    with pytest.raises(ResGATError, match=r"resgat-pl>=7\.0\.0" if newer else "Extract again"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_flipped_bits_in_weights_are_noticed(
    suffix: str, ffpp_crops: Path, tmp_path: Path, tries: Callable[[int, int], int], ledger: Ledger
) -> None:
    """A network of other weights judges as surely as the right one."""
    good = untrained(tmp_path / "a.ckpt", ffpp_crops)
    if suffix == ".safetensors":
        assert main(["export", str(good), str(tmp_path / "a.safetensors"), "--format", "safetensors"]) == 0
        good = tmp_path / "a.safetensors"
    data, expected = good.read_bytes(), read_file(good)
    chance = np.random.default_rng(0)
    path = tmp_path / f"flipped{suffix}"
    refused = harmless = 0
    count = tries(10, 100)
    for place in chance.integers(0, len(data), count).tolist():
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(flipped)
        try:
            found = read_file(path)
        except WeightsError as error:
            assert f"flipped{suffix}" in str(error)
            refused += 1
        else:  # a byte that fills up, or a date
            assert differences(plain(found), plain(expected)) == []
            harmless += 1
    assert refused > 0.9 * count
    ledger(f"bit flipped in a {suffix} file", tries=count, lost=0, recovered=refused + harmless)
