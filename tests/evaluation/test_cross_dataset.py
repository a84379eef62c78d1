"""Every checkpoint on every data set, but not on what it was trained on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, ManifestError, WeightsError
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import IdentitySplit
from resgat_pl.evaluation.cross_dataset import _named, cross
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.scores import evaluate
from resgat_pl.evaluation.predict import score

from ..helpers.tiny_runs import untrained, variant


class Setting(NamedTuple):
    """Two checkpoints × two sets; ``second`` was trained on videos that are tested in ``first``'s set."""

    first: Path
    second: Path
    crops: Path
    c40: Path
    out: Path
    text: str

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "cross.json").read_text()))


@pytest.fixture(scope="module")
def matrix(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    base = tmp_path_factory.mktemp("cross")
    moved = {"train": None, "test": "train", "val": "test"}
    splits = [moved[split] for split in Manifest.read(ffpp_crops).column("split")]
    c40 = variant(ffpp_crops, base / "c40", splits, compression="c40")
    other = variant(ffpp_crops, base / "celebdf", dataset="celebdf")
    thresholds = {"frame": 0.4, "video": 0.6}
    first = untrained(base / "one" / "checkpoints" / "best.ckpt", other, thresholds=thresholds)
    second = untrained(base / "two" / "checkpoints" / "best.ckpt", c40, seed=1)
    text = cross(f"{first},swapped={second}", f"ffpp={ffpp_crops} , {c40}", out=base / "new" / "out")
    return Setting(first, second, ffpp_crops, c40, base / "new" / "out", text)


def test_the_matrix_has_a_cell_for_each_pair(matrix: Setting) -> None:
    lines = [line for line in matrix.text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(line) for line in cells} == {3}
    assert cells[0][1:] == ["ffpp", "c40"]
    by_row = {line[0]: line[1:] for line in cells[2:]}
    assert by_row.keys() == {"best.ckpt", "swapped"}
    assert by_row["swapped"][0] == "refused"
    shown = [*by_row["best.ckpt"], by_row["swapped"][1]]
    assert all("(n = 2)" in cell and "leaky" not in cell and cell.endswith("; 6 of 6") for cell in shown), (
        "too few clips for an interval"
    )
    assert (matrix.out / "cross.md").read_text() == matrix.text + "\n"


def test_a_refused_cell_is_named_with_its_reason(matrix: Setting) -> None:
    (note,) = [line for line in matrix.text.splitlines() if line.startswith("- ")]
    assert note.startswith("- swapped on ffpp: ")
    assert "in its training split (ffpp/" in note
    (refused,) = [cell for cell in matrix.document["cells"] if "refused" in cell]
    assert (refused["train"], refused["test"]) == ("swapped", "ffpp")
    assert "scores" not in refused


def test_cells_are_the_scores_of_the_detector(matrix: Setting) -> None:
    cells = {(cell["train"], cell["test"]): cell for cell in matrix.document["cells"]}
    assert len(cells) == 4
    for path, name, crops, tested in (
        (matrix.first, "best.ckpt", matrix.crops, "ffpp"),
        (matrix.first, "best.ckpt", matrix.c40, "c40"),
        (matrix.second, "swapped", matrix.c40, "c40"),
    ):
        detector = Detector.load(path)
        manifest = detector.manifest(crops)
        expected = [row.plain() for row in evaluate(score(detector, manifest), detector.thresholds)]
        found = cells[name, tested]
        assert (found["videos"]["scored"], found["videos"]["of"]) == (6, 6)
        assert found["splits"] == manifest.split_fingerprint()
        assert [(row["level"], row["method"], row["fake"]) for row in found["scores"]] == [
            (row["level"], row["method"], row["fake"]) for row in expected
        ]
        for row, same in zip(found["scores"], expected, strict=True):
            assert row["values"].keys() == same["values"].keys()
            assert all(row["values"][metric] == pytest.approx(same["values"][metric]) for metric in same["values"])
        video = next(row["values"]["auroc"] for row in expected if (row["level"], row["method"]) == ("video", "all"))
        assert f"{100 * video[0]:.2f} (n = 2)" in matrix.text
        assert [row["groups"] for row in found["scores"]] == [row["groups"] for row in expected]
    assert any(name.endswith("_at_val") for name in cells["best.ckpt", "ffpp"]["scores"][0]["values"])
    assert not any(name.endswith("_at_val") for name in cells["swapped", "c40"]["scores"][0]["values"])


def test_the_files_say_what_was_tested(matrix: Setting) -> None:
    document = matrix.document
    assert document["checkpoints"] == {"best.ckpt": str(matrix.first), "swapped": str(matrix.second)}
    assert document["crops"] == {"ffpp": str(matrix.crops), "c40": str(matrix.c40)}
    assert document["provenance"]["packages"]["torch"]
    with (matrix.out / "cross.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["train"], line["test"]) for line in lines} == {
        ("best.ckpt", "ffpp"), ("best.ckpt", "c40"), ("swapped", "c40")
    }  # fmt: skip
    by_place = {
        (c["train"], c["test"], r["level"], r["method"]): r for c in document["cells"] for r in c.get("scores", [])
    }
    for line in lines:
        row = by_place[line["train"], line["test"], line["level"], line["method"]]
        values = [float(line[name]) if line[name] else None for name in ("value", "low", "high")]
        assert values == pytest.approx(row["values"][line["metric"]], abs=1e-6)
    assert len(lines) == sum(len(row["values"]) for row in by_place.values())


def test_leakage_can_be_allowed_and_is_marked(matrix: Setting, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="stamped as leaky"):
        text = cross(f"a={matrix.second}", f"b={matrix.crops}", out=tmp_path, allow_leakage=True)
    assert "(leaky: video)" in text
    assert {line["leaky"] for line in csv.DictReader((tmp_path / "cross.csv").read_text().splitlines())} == {"video"}


def test_a_split_can_be_asked_for(matrix: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--ckpt_path", matrix.first, "--crops", matrix.crops, "--out", tmp_path)
    split = ("--split", "resgat_pl.data.splits.IdentitySplit", "--split.seed", 4)
    assert main(["cross", *map(str, (*words, *split))]) == 0
    (cell,) = json.loads((tmp_path / "cross.json").read_text())["cells"]
    manifest = Detector.load(matrix.first).manifest(matrix.crops, IdentitySplit(seed=4))
    assert cell["splits"] == manifest.split_fingerprint()
    assert "AUC per video" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a/b/best.ckpt", {"best.ckpt": "a/b/best.ckpt"}),
        ("a/x/best.ckpt,b/x/best.ckpt", {"a/x/best.ckpt": "a/x/best.ckpt", "b/x/best.ckpt": "b/x/best.ckpt"}),
        ("a/x/best.ckpt, a/y/best.ckpt", {"x/best.ckpt": "a/x/best.ckpt", "y/best.ckpt": "a/y/best.ckpt"}),
        ("v1=a/best.ckpt,,v2=b/best.ckpt,", {"v1": "a/best.ckpt", "v2": "b/best.ckpt"}),
        ("b/best.ckpt,v1=a/best.ckpt", {"best.ckpt": "b/best.ckpt", "v1": "a/best.ckpt"}),
        ("runs/lr=0.1/best.ckpt", {"best.ckpt": "runs/lr=0.1/best.ckpt"}),
    ],
)
def test_names(text: str, names: dict[str, str]) -> None:
    assert list(_named(text, "ckpt_path").items()) == [(name, Path(path)) for name, path in names.items()]


def test_mistakes(matrix: Setting, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--ckpt_path names nothing"):
        cross(" , ", str(matrix.crops), out=tmp_path)
    with pytest.raises(ConfigError, match="--crops names nothing"):
        cross(str(matrix.first), "", out=tmp_path)
    with pytest.raises(WeightsError, match=r"absent\.ckpt"):
        cross(str(tmp_path / "absent.ckpt"), str(matrix.crops), out=tmp_path)
    with pytest.raises(ManifestError, match="absent"):
        cross(str(matrix.first), str(tmp_path / "absent"), out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["v=a,v=b", "b=a,x/b", "a/b,a/b"])
def test_two_of_one_name(text: str) -> None:
    with pytest.raises(ConfigError, match="--crops"):
        _named(text, "crops")


def test_a_set_without_a_test_split_is_a_cell_of_its_own(matrix: Setting, tmp_path: Path) -> None:
    rows = len(Manifest.read(matrix.crops))
    untested = variant(matrix.crops, tmp_path / "untested", ["train"] * rows, dataset="dfdc")
    text = cross(f"a={matrix.first}", f"{matrix.crops},{untested}", out=tmp_path / "out")
    assert "has no test split" in text
