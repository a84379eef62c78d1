"""Numbers of ``make systems`` from the files that its runs leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def test_deletion_counts_genuine_clips(lab: Lab) -> None:
    folder = lab.run("attention", 0) / "timeline"
    values = {"deletion": {"mean": 0.3, "interval": [0.1, 0.5], "faces": 24}}
    write(folder / "timeline.json", {"values": values, "threshold": None})
    head = "dataset,method,compression,video,track,frame_index,time,altered,label,score"
    rows = [f"ffpp,Deepfakes,c23,{number},0,{at},0,True,1,0.5" for number in range(24) for at in (0, 1)]
    (folder / "frames.csv").write_text("\n".join([head, *rows]) + "\n")
    keys = [("ffpp", "Deepfakes", "c23", str(number)) for number in range(24)]
    lab.clip_of = lambda crops: {key: number // 2 for number, key in enumerate(keys)}
    assert lab.deletion("attention", 0) == (0.3, 0.1, 0.5, 12)
    lab.clip_of = lambda crops: {key: number // 4 for number, key in enumerate(keys)}
    assert not lab.deletion("attention", 0).known, "24 clips made of six genuine ones"
    with pytest.raises(NotMeasuredError, match="altered in part"):
        lab.when("span_iou", "attention", 0)
