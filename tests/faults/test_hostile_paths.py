"""Names in metadata, split files, lists, fragments, archives, exported detectors and plans that leave their folder."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, ManifestError, ResGATError, WeightsError
from resgat_pl.data.crop_store.writer import read_tar
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.synth.generate import synthesize
from resgat_pl.export.runtime import ExportedDetector
from resgat_pl.reproduce.experiment import Experiment
from resgat_pl.reproduce.figures import figures

from ..helpers.folders import tree
from ..helpers.tiny_runs import untrained, variant
from ..reproduce.test_figures import planned
from .conftest import Ledger
from .test_hostile_files import OUTSIDE

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def dfdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in DFDC's layout, beside which lies a video that is none of its business."""
    base = tmp_path_factory.mktemp("dfdc")
    synthesize(base / "root", layout="dfdc", videos=8, fakes_per_real=1, frames=2, size=192, jobs=1)
    shutil.copy(next((base / "root").rglob("*.mp4")), base / "secret.mp4")
    return base


def hostile_names(secret: Path, folder: Path) -> list[str]:
    """Names that lead to a file which is really there, and others."""
    up = "/".join([".."] * (len(folder.relative_to(secret.parent).parts)))
    return [f"{up}/{secret.name}", str(secret), f"x/../{up}/{secret.name}", *OUTSIDE]


def test_metadata_of_dfdc(dfdc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ledger: Ledger) -> None:
    base = Path(shutil.copytree(dfdc, tmp_path / "base"))
    metadata = next((base / "root").rglob("metadata.json"))
    truth = json.loads(metadata.read_text())
    fakes = [name for name, entry in truth.items() if entry["label"] == "FAKE"]
    names = hostile_names(base / "secret.mp4", metadata.parent)
    for name in names:
        truth[name] = {"label": "REAL", "split": "train"}
        truth[fakes[0]]["original"] = name
        metadata.write_text(json.dumps(truth))
        for record in detect_layout(base / "root").index(base / "root").records:
            assert all(path.resolve().is_relative_to(base / "root") for path in record.files)
    before = tree(base)
    status = main(["extract", str(base / "root"), str(tmp_path / "crops"), "--extraction.size", "64"])
    assert status == 0, capsys.readouterr().err
    assert tree(base) == before
    manifest = Manifest.read(tmp_path / "crops")
    assert not any("secret" in str(video) for video in manifest.column("video"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "crops"]
    problems = json.loads((tmp_path / "crops" / "summary.json").read_text())["problems"]
    assert any(f"{len(names)} videos" in problem and "not on disk" in problem for problem in problems), problems
    ledger("path that leaves its folder, in metadata.json", tries=2 * len(names), lost=0, recovered=2 * len(names))


def test_split_files_of_faceforensics(ffpp_root: Path, tmp_path: Path, ledger: Ledger) -> None:
    root = Path(shutil.copytree(ffpp_root, tmp_path / "root", copy_function=lambda a, b: Path(b).symlink_to(a)))
    (path,) = root.rglob("val.json")
    pairs = json.loads(path.read_text())
    path.unlink()  # the link
    for name in OUTSIDE:
        path.write_text(json.dumps([*pairs, [name, "001"]]))
        with pytest.raises(ResGATError, match=r"val\.json names the id"):
            detect_layout(root).index(root)
    ledger("path that leaves its folder, in a split file", tries=len(OUTSIDE), lost=0, recovered=len(OUTSIDE))


def test_lists_of_crops(ffpp_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ledger: Ledger) -> None:
    root = tmp_path / "base" / "root"
    root.mkdir(parents=True)
    secret = tmp_path / "base" / "secret.mp4_face_0.png"
    shutil.copy(Manifest.read(ffpp_crops).crop(0), secret)
    shutil.copy(secret, root / "aa.mp4_face_0.png")
    names = [*hostile_names(secret, root)[:3], "../a.png", "a/../../b.png", "/etc/passwd"]
    names += [secret.as_uri(), f"http://127.0.0.1:9/{secret.name}", f"memory://{secret.name}"]
    for name in names:
        (root / "TRAIN_CLIENT.txt").write_text(f"aa.mp4_face_0.png\n{name}\n")
        status = main(["extract", str(root), str(tmp_path / "crops")])
        assert (status, "TRAIN_CLIENT.txt, line 2, names" in capsys.readouterr().err) == (2, True), name
    assert not (tmp_path / "crops").exists()
    ledger("path that leaves its folder, in a list of crops", tries=len(names), lost=0, recovered=len(names))


@pytest.mark.parametrize(
    ("store", "asked"),
    [
        pytest.param("files", "shards", marks=pytest.mark.long),
        pytest.param("files", "files", marks=pytest.mark.faults),
        pytest.param("shards", "shards", marks=pytest.mark.faults),
    ],
)
def test_fragments_of_a_folder_that_somebody_else_made(
    ffpp_root: Path,
    ffpp_crops: Path,
    shard_crops: Path,
    store: str,
    asked: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    """Packing reads what fragments name, and then removes it."""
    victim, out = tmp_path / "victim.png", tmp_path / "crops"
    victim.write_bytes(b"somebody's")
    command = ["extract", str(ffpp_root), str(out), "--extraction.frames", "3", "--extraction.size", "64",
               "--store", asked, "--shard_megabytes", "0.12"]  # fmt: skip
    refused = 0
    for name in ("../victim.png", str(victim), "crops/../../victim.png"):
        for column in ("crop_path", "mask_path"):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(ffpp_crops if store == "files" else shard_crops, out)
            path = sorted((out / "fragments").glob("*.parquet"))[0]
            table = pq.read_table(path)
            place = table.schema.get_field_index(column)
            pq.write_table(table.set_column(place, table.schema.field(place), [[name] * len(table)]), path)
            assert main(command) == 2
            assert "not below the manifest's own folder" in capsys.readouterr().err
            assert victim.read_bytes() == b"somebody's"
            refused += 1
    path.unlink()
    assert main(command) == 0  # without it, all is well
    ledger("path that leaves its folder, in a fragment", tries=refused, lost=0, recovered=refused)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info, b"evil" * (kind == tarfile.REGTYPE)


def test_members_of_archives_are_never_unpacked(tmp_path: Path, ledger: Ledger) -> None:
    wanted = "crops/a.png"
    (tmp_path / "secret").write_bytes(b"secret")
    archives: list[Sequence[tuple[tarfile.TarInfo, bytes]]] = [
        *([member(name)] for name in ("../a.png", "/tmp/resgat-evil.png", "a/../../b.png")),  # noqa: S108 - not written
        *([member(wanted, kind, str(tmp_path / "secret"))] for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)),
        *([member(wanted, kind)] for kind in (tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)),
        [member("crops", tarfile.SYMTYPE, str(tmp_path)), member("crops/b.png")],
    ]
    folder = tmp_path / "out" / "fragments"
    folder.mkdir(parents=True)
    for members in archives:
        with tarfile.open(folder / "a.tar", "w") as tar:
            for info, data in members:
                tar.addfile(info, io.BytesIO(data))
        before = tree(tmp_path)
        with pytest.raises(ManifestError, match=r"a\.tar does not hold"):
            read_tar(folder / "a.tar", [wanted])
        assert tree(tmp_path) == before
    packed = (folder / "a.tar").read_bytes()
    for cut in (gzip.compress(packed), lzma.compress(packed), b"", b"x" * 600, (folder / "a.tar").read_bytes()[:700]):
        (folder / "a.tar").write_bytes(cut)
        with pytest.raises(ManifestError, match=r"a\.tar does not hold"):
            read_tar(folder / "a.tar", [wanted])
    assert not Path("/tmp/resgat-evil.png").exists()  # noqa: S108 - the one above
    ledger("hostile member of an archive", tries=len(archives) + 5, lost=0, recovered=len(archives) + 5)


@pytest.mark.faults
def test_an_exported_detector_reads_no_other_file(ffpp_crops: Path, tmp_path: Path, ledger: Ledger) -> None:
    import onnx

    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)
    folder = tmp_path / "exported"
    folder.mkdir()
    assert main(["export", str(checkpoint), str(folder / "a.onnx")]) == 0
    model = onnx.load(folder / "a.onnx")
    large = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (tmp_path / "secret.bin").write_bytes(large.raw_data)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "beside.bin").write_bytes(large.raw_data)
    large.ClearField("raw_data")
    large.data_location = onnx.TensorProto.EXTERNAL
    places = ("../secret.bin", str(tmp_path / "secret.bin"), "a/../../secret.bin", "link.bin")
    for place in ("beside.bin", *places):
        del large.external_data[:]
        entry = large.external_data.add()
        entry.key, entry.value = "location", place
        (folder / "a.onnx").write_bytes(model.SerializeToString())
        if place == "beside.bin":
            ExportedDetector.load(folder / "a.onnx")  # so it is the place that is refused
            continue
        with pytest.raises(WeightsError, match=r"a\.onnx cannot be read.*xternal data"):
            pytest.fail(f"{place} was read: {ExportedDetector.load(folder / 'a.onnx')}")
    ledger("exported detector that names another file", tries=len(places), lost=0, recovered=len(places))


def test_names_in_plans_become_no_folders_elsewhere(tmp_path: Path, ledger: Ledger) -> None:
    table = yaml.safe_load((ROOT / "experiments" / "table1.yaml").read_text())
    (tmp_path / "experiments").mkdir()
    path = tmp_path / "experiments" / "table.yaml"
    changed: list[dict[str, Any]] = []
    for name in ("../evil", "/evil", "..", "a/b", ""):
        changed.append({**table, "rows": [{**table["rows"][0], "name": name}, *table["rows"][1:]]})
        changed.append({**table, "presets": {**table["presets"], name: next(iter(table["presets"].values()))}})
        changed.append({**table, "protocols": {**table["protocols"], name: "x"}})
    for content in changed:
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError, match="is no name for a file or folder"):
            Experiment.read(path)
    for name in ("../evil", "/evil", "a/b", "..", ""):
        with pytest.raises(ConfigError, match="is no name for a file or folder"):
            figures(planned(tmp_path / "plan.yaml", {"name": name}), out=tmp_path / "figures")
    ledger("path that leaves its folder, in a plan", tries=len(changed) + 5, lost=0, recovered=len(changed) + 5)


def test_a_link_out_of_the_folder_is_not_followed(ffpp_crops: Path, tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    crops = variant(ffpp_crops, tmp_path / "crops")
    manifest = Manifest.read(crops)
    crop, mask = manifest.crop(0), next(m for row in range(len(manifest)) if (m := manifest.mask(row)))
    for path in (crop, mask):
        path.unlink()
        secret = tmp_path / "secret.png"
        path.symlink_to(os.path.relpath(secret, path.parent) if path == crop else secret)
    row = next(row for row, name in enumerate(manifest.column("mask_path")) if name and crops / name == mask)
    with pytest.raises(ManifestError, match="leads out of"):
        manifest.crop(0)
    with pytest.raises(ManifestError, match="leads out of"):
        manifest.mask(row)
    (tmp_path / "linked").symlink_to(crops)  # the whole folder may be a link
    assert Manifest.read(tmp_path / "linked").crop(1).is_file()
    ledger("link that leaves its folder", tries=2, lost=0, recovered=2)
