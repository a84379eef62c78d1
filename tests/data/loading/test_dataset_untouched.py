"""Faces of fakes that were not altered: no examples of a fake anywhere, but a part of their video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resgat_pl import FaceDataModule
from resgat_pl.cli.main import main
from resgat_pl.data.extraction.summary import FaceCounts, NameCounts
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.scores import read_predictions
from resgat_pl.evaluation.metrics.torch_metrics import detection_metrics
from resgat_pl.evaluation.predict import predictions
from resgat_pl.evaluation.predictions_csv import write_predictions

from ...helpers.tiny_runs import variant


def marked(crops: Path, folder: Path, rows: Sequence[int], answer: bool | None = False) -> Manifest:
    """The same crops, in some rows of which it is known whether the face was altered."""
    manifest = Manifest.read(variant(crops, folder))
    altered: list[Any] = manifest.column("altered").tolist()
    for row in rows:
        altered[row] = answer
    field = SCHEMA.field("altered")
    table = manifest.table.set_column(SCHEMA.get_field_index("altered"), field, pa.array(altered, field.type))
    Manifest(folder, table, manifest.info).write()
    return Manifest.read(folder)


@pytest.fixture
def fakes(ffpp_crops: Path) -> list[int]:
    """Every fourth crop of a fake, and all of one video."""
    labels = Manifest.read(ffpp_crops).column("label")
    rows = np.flatnonzero(labels == 1).tolist()
    return sorted({*rows[::4], *rows[:3]})


def test_they_are_left_out_of_training(ffpp_crops: Path, tmp_path: Path, fakes: list[int]) -> None:
    whole = Manifest.read(ffpp_crops)
    manifest = marked(ffpp_crops, tmp_path / "crops", fakes)
    assert np.flatnonzero(manifest.untouched).tolist() == fakes
    data = FaceDataModule(tmp_path / "crops", image_size=32, num_workers=0, batch_size=4)
    train = data.faces("train", augmented=True)
    assert not set(train.rows) & set(fakes)
    assert set(train.rows) | set(fakes) >= set(manifest.rows_of("train"))
    assert set(data.faces("test").rows) == set(whole.rows_of("test"))  # evaluation sees all faces of a video
    for split in ("train", "val", "test"):
        lost = sum(whole.column("split")[row] == split for row in fakes)
        assert manifest.counts()[split].fake == whole.counts()[split].fake - lost
        assert manifest.counts()[split].real == whole.counts()[split].real
    everything = FaceCrops(manifest, np.arange(len(manifest)), 32)
    assert not {fake for fake, _ in everything.pairs().tolist()} & set(fakes)
    for batch in data.test_dataloader():
        assert batch["untouched"].tolist() == [row in fakes for row in batch["row"].tolist()]


def test_they_count_for_their_video_and_not_as_frames(ffpp_crops: Path, tmp_path: Path, fakes: list[int]) -> None:
    manifest = marked(ffpp_crops, tmp_path / "crops", fakes)
    rows = np.arange(len(manifest))
    rng = np.random.default_rng(0)
    logit = torch.tensor(rng.normal(0, 1, len(rows)), dtype=torch.float32)
    label = torch.tensor(manifest.column("label").astype(np.float32))
    codes = {"video": torch.from_numpy(manifest.video_codes), "track": torch.from_numpy(manifest.track_codes)}
    untouched = torch.from_numpy(manifest.untouched)

    def measured(chosen: Any, **more: Any) -> dict[str, float]:
        metrics = detection_metrics()
        columns = {"logit": logit, "label": label, "row": torch.from_numpy(rows), **codes, **more}
        metrics.update(**{name: values[chosen] for name, values in columns.items()})
        return {name: float(value) for name, value in metrics.compute().items()}

    found = measured(rows, untouched=untouched)
    for level, chosen in (("frame", ~untouched), ("video", rows)):
        expected = measured(chosen)
        assert {n: v for n, v in found.items() if n.startswith(level)} == {
            n: v for n, v in expected.items() if n.startswith(level)
        }
    scored = predictions(manifest, rows, logit)
    assert len(scored["frame"].label) == len(rows) - len(fakes)
    assert len(scored["video"].label) == len(manifest.videos())
    write_predictions(manifest, torch.from_numpy(rows), logit, tmp_path)
    written = read_predictions(tmp_path)
    assert sorted(written["frame"].probability) == pytest.approx(sorted(scored["frame"].probability), abs=1e-6)
    assert len(written["video"].label) == len(manifest.videos())
    head, *lines = (tmp_path / "frames.csv").read_text().splitlines()
    assert "altered" in head
    assert len(lines) == len(rows)  # all are there, and marked


def test_older_manifests_know_nothing_and_stay_what_they_are(ffpp_crops: Path, tmp_path: Path) -> None:
    """Their column is missing; what was trained on them must find them again."""
    folder = variant(ffpp_crops, tmp_path / "crops")
    manifest = marked(ffpp_crops, tmp_path / "other", range(len(Manifest.read(ffpp_crops))), None)
    path = folder / "manifest.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["altered"]), path)
    older = Manifest.read(folder)
    assert not older.untouched.any()
    assert older.table.schema == SCHEMA
    assert older.column("altered").tolist() == [None] * len(older)
    assert older.fingerprint() == manifest.fingerprint()
    assert older.fingerprint() != Manifest.read(ffpp_crops).fingerprint()
    assert older.counts() == manifest.counts()
    assert FaceCounts.of(older) == (0, 0, int((older.column("label") == 1).sum()))


def test_check_counts_them(
    ffpp_crops: Path, tmp_path: Path, fakes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    marked(ffpp_crops, tmp_path / "crops", fakes)
    report = tmp_path / "report.json"
    assert main(["check", str(tmp_path / "crops"), "--json", str(report), "--duplicates", "false"]) == 0
    counted = json.loads(report.read_text())
    assert counted["faces_of_fakes"]["untouched"] == len(fakes)
    assert f"{len(fakes)} untouched" in capsys.readouterr().out
    total = sum(side["fake"] for side in counted["balance"].values())
    assert total == 84 - len(fakes)


def test_an_extraction_says_what_it_found(ffpp_crops: Path) -> None:
    document = json.loads((ffpp_crops / "summary.json").read_text())
    found = FaceCounts(**document["faces_of_fakes"])
    assert sum(found) == 84
    assert found.altered > 70  # the masks say so
    assert document["fakes_named_like_a_real_one"] == {"pair": 0, "doubt": 0, "unrelated": 0}
    assert "of none of the 3 crops" in str(FaceCounts(0, 0, 3))
    assert "2 untouched" in str(FaceCounts(1, 2, 3))
    names = NameCounts.of([{"relation": "pair"}, {"relation": "unrelated"}, {}, {"relation": "pair"}])
    assert names == (2, 0, 1)
    assert "3 fakes have the name of a genuine one: 2 are paired" in str(names)


def test_an_empty_mask_of_a_fake_guides_nothing(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    faces = FaceCrops(manifest, np.arange(len(manifest)), 32, masks=True)
    fake, real = (faces.request(int(np.flatnonzero(faces.labels == label)[0])) for label in (1, 0))
    picture, empty = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    assert faces.loader().sample(fake, picture, empty + 255)["mask_known"]
    assert not faces.loader().sample(fake, picture, empty)["mask_known"]
    assert faces.loader().sample(real, picture, None)["mask_known"]


def test_crops_that_were_cut_elsewhere_are_no_pair(ffpp_crops: Path, tmp_path: Path) -> None:
    """A fake that did not fit its original was cut by boxes of its own."""
    manifest = Manifest.read(variant(ffpp_crops, tmp_path / "crops"))
    everything = np.arange(len(manifest))
    pairs = FaceCrops(manifest, everything, 32).pairs()
    moved = int(pairs[0, 0])
    boxes = manifest.column("box").tolist()
    boxes[moved] = boxes[moved] + 2
    field = SCHEMA.field("box")
    table = manifest.table.set_column(SCHEMA.get_field_index("box"), field, pa.array(boxes, field.type))
    found = FaceCrops(Manifest(manifest.folder, table, {}), everything, 32).pairs()
    assert found.tolist() == pairs[1:].tolist()
