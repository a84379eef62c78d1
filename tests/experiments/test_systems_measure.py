"""Numbers of ``make systems`` from the files that its runs leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from systems_measure import Lab, NotMeasuredError


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    for label in ("kinds", "attention"):
        (tmp_path / f"{label}_seed0").mkdir()
        (tmp_path / f"{label}_seed0" / "done.json").write_text("{}")
    return Lab(tmp_path, 1)


def write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))


def test_a_run_that_is_not_finished_is_not_measured(lab: Lab) -> None:
    (lab.out / "capsule_seed0").mkdir()
    with pytest.raises(NotMeasuredError, match="capsule was not trained"):
        lab.detection("auroc", "capsule", 0)


def caption(clip: int, altered: list[str], named: list[str], clauses: int = 1, false: int = 0) -> dict[str, Any]:
    return {
        "clip": clip,
        "altered": altered,
        "learned": {"named": named, "clauses": clauses, "false": false},
    }


def test_captions_are_compared_with_names_given_at_random(lab: Lab) -> None:
    faces = [
        caption(0, ["nose"], ["nose"]),
        caption(1, ["mouth", "chin"], ["nose", "chin"], clauses=2, false=1),
        caption(2, [], ["nose"], false=1),  # a genuine face
    ]
    write(lab.run("kinds", 0) / "captions" / "captions.json", {"faces_named": faces})
    found = {name: lab.caption(name, "learned", 0).values[0] for name in ("precision", "recall", "false")}
    assert found == {"precision": 2 / 4, "recall": 2 / 3, "false": 2 / 4}
    chance = (0.5 + 1.0 + 0.5) / 4  # nose and chin are altered in half of the fakes each
    assert lab.caption("precision_chance", "learned", 0).values[0] == pytest.approx(chance)
    assert lab.caption("recall_chance", "learned", 0).values[0] == pytest.approx(chance * 4 / 3)
    assert lab.caption("recall", "learned", 0).clips == 3


def test_outputs_have_their_intervals_or_none(lab: Lab) -> None:
    scores = {"kind_f1": [0.6, 0.5, 0.7, 24], "region_map": [0.3, None, None, 4]}
    write(lab.run("kinds", 0) / "test" / "outputs.json", {"scores": scores})
    assert lab.output("kind_f1", "kinds", 0) == (0.6, 0.5, 0.7, 24)
    assert not lab.output("region_map", "kinds", 0).known
    with pytest.raises(NotMeasuredError, match="no unknown_auroc"):
        lab.output("unknown_auroc", "kinds", 0)


def test_deletion_without_clips_is_undefined(lab: Lab) -> None:
    values = {"deletion": {"mean": None, "interval": [None, None], "faces": 0}}
    write(lab.run("attention", 0) / "timeline" / "timeline.json", {"values": values, "threshold": None})
    assert np.isnan(lab.deletion("attention", 0).value)
    with pytest.raises(NotMeasuredError, match="altered in part"):
        lab.when("span_iou", "attention", 0)
