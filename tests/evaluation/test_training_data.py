"""What a detector was trained on, from the crops' folder to the words beside a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resgat_pl.core.errors import WeightsError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.synth.record import made_by_synth
from resgat_pl.evaluation.provenance import of_data, stored_provenance
from resgat_pl.evaluation.training_data import faces_known, faces_of, sets_of, trained_on

from ..helpers.tiny_runs import variant

SETS = [
    {"dataset": "ffpp", "method": "original", "compression": "c23", "label": 0, "videos": 720},
    {"dataset": "ffpp", "method": "Deepfakes", "compression": "c23", "label": 1, "videos": 720},
    {"dataset": "ffpp", "method": "FaceSwap", "compression": "c40", "label": 1, "videos": 1},
    {"dataset": "dfdc", "method": "fake", "compression": "", "label": 1, "videos": 4000},
]


def words(made: str | None = "no", **more: Any) -> str:
    data = {"sets": SETS, "counts": {}, **({} if made is None else {"synthetic": made})}
    return trained_on({"data": data, **more}).statement


def test_the_words() -> None:
    counts = "ffpp (c23, c40): 720 genuine videos and 721 fakes (Deepfakes 720, FaceSwap 1)"
    assert f"Trained on {counts}; dfdc: 0 genuine videos and 4,000 fakes (fake 4,000). Of other methods" in words()
    assert "Trained on drawn faces only" in words("drawn")
    assert f"on photographs means nothing: {counts}" in words("drawn")
    assert "portraits altered by resgat synth only" in words("portraits")
    assert "made by resgat synth is unknown" in words(None)
    assert "Its splits leak (identity)" in words(leaky=["identity"])
    crowd = trained_on({"data": {"sets": SETS, "people_unknown": {"dfdc": "an identity is a clip"}}}).statement
    assert crowd.endswith(
        "Who is in the videos of dfdc is unknown: it may have been trained on the people of this file."
    )
    blended = trained_on({"data": {"sets": SETS, "self_blend": "a.SelfBlend"}}).statement
    assert "and on self-blends of the genuine ones, others at every step" in blended
    known = [
        trained_on({"data": {"sets": SETS, "synthetic": made}}).recordings for made in ("no", "drawn", "portraits")
    ]
    assert known == [True, False, False]


@pytest.mark.parametrize("stored", [None, {}, {"data": None}, {"data": {"counts": {}}}, {"data": {"sets": [3]}}])
def test_what_is_unknown_is_said_to_be(stored: dict[str, Any] | None) -> None:
    found = trained_on(stored)
    assert found.statement.startswith("Trained on: unknown.")
    assert found.recordings is None
    assert faces_known(stored) == {}


def test_a_checkpoint_may_be_untrusted() -> None:
    sets = [{"dataset": "x" * 999, "method": ["\n"], "videos": "many", "label": 1}, {}]
    assert len(trained_on({"data": {"sets": sets}}).statement) < 400
    assert faces_known({"data": {"faces": {"side": "9", "roll": float("nan"), "turn": True, "sharpness": 3}}}) == {
        "sharpness": 3.0
    }
    for name, wrong in (("sets", {}), ("faces", []), ("synthetic", 3)):
        with pytest.raises(WeightsError, match=name):
            stored_provenance({"data": {name: wrong}}, "a.ckpt")


def test_it_is_counted_where_crops_are_read(ffpp_crops: Path, tmp_path: Path) -> None:
    data = of_data(FaceDataModule(ffpp_crops))
    manifest = Manifest.read(ffpp_crops)
    assert sum(entry["videos"] for entry in data["sets"]) == len(manifest.split_videos("train"))
    assert {entry["method"] for entry in data["sets"] if entry["label"] == 0} == {"original"}
    assert data["synthetic"] == manifest.info["synthetic"] == "drawn"
    assert "drawn faces only" in trained_on({"data": data}).statement
    rows = manifest.rows_of("train")
    boxes = np.stack(manifest.column("box")[rows].tolist())
    assert data["faces"]["side"] == pytest.approx(np.quantile((boxes[:, 2] - boxes[:, 0]) / 1.3, 0.01), abs=0.1)
    assert 0 < data["faces"]["roll"] < 45
    assert 0 < data["faces"]["turn"] < 1
    stored_provenance(json.loads(json.dumps({"data": data})), "a.ckpt")
    nobody = Manifest.read(variant(ffpp_crops, tmp_path / "none", splits=[None] * len(manifest)))
    assert (sets_of(nobody), faces_of(nobody)) == ([], {})


def test_made_videos_are_known_by_their_record(tmp_path: Path) -> None:
    assert made_by_synth(tmp_path) == "no"
    (tmp_path / "synth.json").write_text('{"request": {"faces": null}}')
    assert made_by_synth(tmp_path / "dfdc_train_part_0") == "drawn"
    (tmp_path / "synth.json").write_text('{"request": {"faces": "a hash"}}')
    assert made_by_synth(tmp_path) == "portraits"
    for other in ("[]", "{", '{"request": 3}', '{"request": {}}'):
        (tmp_path / "synth.json").write_text(other)
        assert made_by_synth(tmp_path) == "no"
