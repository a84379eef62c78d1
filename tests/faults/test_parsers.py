"""Rubbish for everything that reads a file: only an error that says what is wrong may come out, and no hang."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from resgat_pl.core.errors import ResGATError
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.crop_lists import CropLists
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest
from resgat_pl.data.splits.leakage import declared, manifest_leaks
from resgat_pl.data.splits.protocols import StrictSplit, divide
from resgat_pl.data.splits.registry import from_spec
from resgat_pl.evaluation.metrics.scores import evaluate, read_predictions

from .fuzzing import JSON, Fuzz

pytestmark = pytest.mark.timeout(3000)


def spoilt(text: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Sometimes cut off, sometimes with strange bytes in the middle."""
    return st.one_of(
        text,
        st.builds(lambda data, end: data[: max(0, len(data) - end)], text, st.integers(1, 20)),
        st.builds(
            lambda data, place, more: data[: place % (len(data) + 1)] + more + data[place % (len(data) + 1) :],
            text,
            st.integers(0, 200),
            st.binary(min_size=1, max_size=4),
        ),
        st.binary(max_size=40),
    )


def as_json(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return spoilt(values.map(lambda value: json.dumps(value).encode()))


NAMES = st.sampled_from(["a.mp4", "b.mp4", "c.mp4", "000.mp4"]) | st.text(max_size=6)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "label": st.sampled_from(["REAL", "FAKE", "real", "", 1]) | JSON,
        "is_fake": st.sampled_from([0, 1, "1", True, 2]) | JSON,
        "original": NAMES | JSON,
        "split": JSON,
    },
)


def test_metadata_of_dfdc(fuzz: Fuzz, tmp_path: Path) -> None:
    folder = tmp_path / "dfdc_train_part_0"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).touch()

    def check(data: bytes) -> None:
        (folder / "metadata.json").write_bytes(data)
        divide_records(DFDC().index(tmp_path).records)

    fuzz("metadata.json of DFDC", as_json(st.dictionaries(NAMES, ENTRY | JSON, max_size=4) | JSON), check, 60, 1500)


def test_labels_of_dfdc(fuzz: Fuzz, tmp_path: Path) -> None:
    folder = tmp_path / "test_videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).touch()
    cell = st.sampled_from(["a.mp4", "b.mp4", "0", "1", "label", "filename", '"', ""]) | st.text(max_size=5)
    table = st.lists(st.lists(cell, max_size=4).map(",".join), max_size=5).map("\n".join)

    def check(data: bytes) -> None:
        (folder / "labels.csv").write_bytes(data)
        DFDC().index(tmp_path)

    texts = table.map(lambda text: ("filename,label\n" + text).encode()) | table.map(str.encode)
    fuzz("labels.csv of DFDC", spoilt(texts), check, 60, 1500)


def test_split_files_of_faceforensics(fuzz: Fuzz, tmp_path: Path) -> None:
    for folder, names in (
        ("original_sequences/youtube", ("000", "001")),
        ("manipulated_sequences/Deepfakes", ("000_001",)),
    ):
        place = tmp_path / folder / "c23" / "videos"
        place.mkdir(parents=True)
        for name in names:
            (place / f"{name}.mp4").touch()
    (tmp_path / "splits").mkdir()
    ids = st.sampled_from(["000", "001", "1", "0000", "٠٠٠"]) | st.text(max_size=4) | JSON
    pairs = st.lists(st.lists(ids, max_size=3), max_size=4) | JSON

    def check(files: list[bytes]) -> None:
        for name, data in zip(("train", "val", "test"), files, strict=True):
            (tmp_path / "splits" / f"{name}.json").write_bytes(data)
        divide_records(FFPP().index(tmp_path).records)

    fuzz("split files of FaceForensics++", st.lists(as_json(pairs), min_size=3, max_size=3), check, 60, 1500)


def test_lists_of_celebdf_and_of_crops(fuzz: Fuzz, tmp_path: Path) -> None:
    celeb, lists = tmp_path / "celeb", tmp_path / "lists"
    for folder, name in (
        ("Celeb-real", "id0_0000.mp4"),
        ("Celeb-synthesis", "id0_id1_0000.mp4"),
        ("YouTube-real", "00000.mp4"),
    ):
        (celeb / folder).mkdir(parents=True)
        (celeb / folder / name).touch()
    lists.mkdir()
    (lists / "a.mp4_face_0.jpg").touch()
    good = [
        "1 Celeb-real/id0_0000.mp4",
        "0 Celeb-synthesis/id0_id1_0000.mp4",
        "1 YouTube-real/00000.mp4",
        "a.mp4_face_0.jpg",
    ]
    line = (
        st.sampled_from(good) | st.text(max_size=30) | st.sampled_from(["../x", "s3://", "http://[", "://", "~", "\0"])
    )
    text = st.lists(line, max_size=5).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))

    def check(data: bytes) -> None:
        for kind, root, name in (
            (CelebDF(), celeb, "List_of_testing_videos.txt"),
            (CropLists(), lists, "TRAIN_CLIENT.txt"),
        ):
            (root / name).write_bytes(data)
            with contextlib.suppress(ResGATError):
                divide_records(kind.index(root).records)
        CelebDF().index(celeb)

    fuzz("lists of Celeb-DF and of crops", spoilt(text), check, 60, 1500)


def test_folders_of_any_name(fuzz: Fuzz, tmp_path: Path) -> None:
    known = ["real", "fake", "train", "Celeb-real", "original_sequences", "manipulated_sequences", "youtube", "c23",
             "videos", "masks", "dfdc_train_part_1", "a.mp4", "000_001.mp4", "x.png", "metadata.json",
             "TRAIN_CLIENT.txt", "train.json", "images", "frames"]  # fmt: skip
    odd = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
    part = st.sampled_from(known) | odd.filter(lambda name: name not in {".", ".."})
    trees = st.lists(st.lists(part, min_size=1, max_size=4).map("/".join), max_size=6)

    def check(paths: list[str]) -> None:
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for path in paths:
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(IsADirectoryError, NotADirectoryError):
                (root / path).touch()
        divide_records(detect_layout(root).index(root).records)

    fuzz("folders of any name", trees, check, 60, 1500)


def divide_records(records: Any) -> None:
    StrictSplit().assign(records)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.none() | st.text(max_size=5) | st.sampled_from(["original", "train", "val", "test"]),
    "number": st.none() | st.integers(-3, 300),
    "float": st.none() | st.floats(width=32),
}


@st.composite
def tables(draw: Any, good: pa.Table) -> pa.Table:
    """A manifest in which some columns are gone, of another type, or hold anything."""
    table = good.slice(0, draw(st.integers(0, 12)))
    for name in draw(st.lists(st.sampled_from(SCHEMA.names), max_size=3, unique=True)):
        place = table.column_names.index(name)
        if draw(st.integers(0, 4)) == 0:
            table = table.remove_column(place)
            continue
        kind = draw(
            st.sampled_from(
                [pa.string(), pa.int64(), pa.int8(), pa.float64(), pa.list_(pa.string()), pa.null(), pa.bool_()]
            )
        )
        if draw(st.booleans()):
            kind = SCHEMA.field(name).type
        if pa.types.is_null(kind):
            values: list[Any] = [None] * len(table)
        elif pa.types.is_string(kind):
            values = [draw(VALUES["string"]) for _ in range(len(table))]
        elif pa.types.is_integer(kind):
            values = [draw(st.none() | st.integers(-100, 100)) for _ in range(len(table))]
        elif pa.types.is_floating(kind):
            values = [draw(VALUES["float"]) for _ in range(len(table))]
        elif pa.types.is_boolean(kind):
            values = [draw(st.booleans()) for _ in range(len(table))]
        else:
            values = [None] * len(table)
        field = pa.field(name, kind)
        table = table.set_column(place, field, pa.array(values, kind))
    version = st.sampled_from([1, 1, 1, 0, 2, None, "1", 1.0]) | JSON
    info = as_json(st.fixed_dictionaries({"version": version}, optional={"protocol": JSON}) | JSON)
    return table.replace_schema_metadata({b"resgat": draw(st.just(b'{"version": 1}') | info)})


def test_manifests(fuzz: Fuzz, tmp_path: Path, ffpp_crops: Path) -> None:
    good = Manifest.read(ffpp_crops).table

    def check(table: pa.Table) -> None:
        pq.write_table(table, tmp_path / MANIFEST_NAME)
        manifest = Manifest.read(tmp_path)
        manifest.counts()
        manifest.fingerprint()
        manifest.split_fingerprint()
        declared(manifest)
        for split in ("train", "val", "test"):
            manifest.split_videos(split)
        manifest_leaks(manifest)
        divided = divide(manifest, StrictSplit())
        divided.counts()

    fuzz("a manifest's columns and metadata", tables(good), check, 60, 1000)


def test_manifests_of_any_bytes(fuzz: Fuzz, tmp_path: Path, ffpp_crops: Path) -> None:
    whole = (ffpp_crops / MANIFEST_NAME).read_bytes()
    flips = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=6)

    def flipped(changes: list[tuple[int, int]]) -> bytes:
        data = bytearray(whole)
        for place, value in changes:
            data[place] = value
        return bytes(data)

    def check(data: bytes) -> None:
        (tmp_path / MANIFEST_NAME).write_bytes(data)
        manifest = Manifest.read(tmp_path)
        manifest.counts()
        manifest.split_videos("train")

    cut = st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
    fuzz("a manifest's bytes", flips.map(flipped) | cut | st.binary(max_size=50), check, 60, 1500)


def test_predictions(fuzz: Fuzz, tmp_path: Path) -> None:
    header = "dataset,method,compression,video,split,label,probability\n"
    cell = st.sampled_from(["ffpp", "original", "c23", "000", "test", "0", "1", "0.5", "nan", "inf", "-1", "", '"'])
    text = st.lists(st.lists(cell | st.text(max_size=4), min_size=5, max_size=8).map(",".join), max_size=6).map(
        "\n".join
    )

    def check(data: bytes) -> None:
        for name in ("frames", "videos"):
            (tmp_path / f"{name}.csv").write_bytes(data)
        evaluate(read_predictions(tmp_path), resamples=5)

    fuzz("predictions as CSV", spoilt(text.map(lambda rows: (header + rows).encode())), check, 60, 1000)


def test_split_protocols(fuzz: Fuzz, tmp_path: Path) -> None:
    names = st.sampled_from(["paper", "official", "strict", "part", "identity", "leave_out"])
    specs = st.fixed_dictionaries(
        {"name": names | JSON},
        optional={"val": JSON, "test": JSON, "seed": JSON, "methods": JSON, "declares": JSON, "x": JSON},
    )
    fuzz("a split protocol's own words", specs, from_spec, 60, 1500)
