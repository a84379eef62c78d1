"""Words of reports on clips."""

from __future__ import annotations

import math

import numpy as np
import torch

from resgat_pl.explain.clauses import verify
from resgat_pl.explain.report.clip_words import clip_notes, span_of, strongest_frames
from resgat_pl.explain.report.media import Shot
from resgat_pl.explain.sentences import Finding
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

SMALL = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 32}


def made(temporal: str) -> VideoResGAT:
    return VideoResGAT(temporal, clip_frames=4, **SMALL)  # type: ignore[arg-type]


def test_notes_say_how_clips_are_judged() -> None:
    assert clip_notes(ResGAT(**SMALL), [9]) == []
    whole, short = clip_notes(made("mean"), [8]), clip_notes(made("mean"), [8, 2])
    assert len(whole) == 1 and whole[0].startswith("Judged in clips of 4 frames (mean)")
    assert short[1].startswith("1 of 2 faces has fewer than 4 frames")
    assert clip_notes(made("mean"), [8, 9])[1].startswith("The frames of 1 of 2 faces do not fill clips of 4 evenly")


def test_the_frames_that_add_most_are_named() -> None:
    blank = (np.zeros(4, np.int32), np.zeros((5, 2), np.float32), np.zeros((2, 2, 3), np.uint8))
    shots = [Shot(3 * number, number / 10 if number else None, *blank) for number in range(5)]
    said = strongest_frames(made("mean"), shots, torch.tensor([2.0, -1.0, 0.5, 3.0, 0.0]))
    assert (
        said == " Of its frames most is added by frame 9 at 0.30 s (+3.00), frame 0 (+2.00), frame 6 at 0.20 s (+0.50)."
    )
    assert strongest_frames(made("mean"), shots[:1], torch.zeros(1)) == ""
    assert strongest_frames(ResGAT(**SMALL), shots, torch.zeros(5)) == ""  # type: ignore[arg-type]


def test_the_span_of_frames_above_the_limit_is_numbers_of_a_clause() -> None:
    blank = (np.zeros(4, np.int32), np.zeros((5, 2), np.float32), np.zeros((2, 2, 3), np.uint8))
    shots = [Shot(3 * number, number / 10, *blank) for number in range(5)]
    logits = [-2.0, 1.5, 0.5, 3.0, -1.0]
    found = span_of(made("mean"), shots, logits, 1.0)
    assert found == {"first": 3.0, "last": 9.0, "start": 0.1, "end": 0.3, "mean": 5 / 3, "rest": -1.5}
    face = Finding(0.4, 0.3, {"nose": 0.1}, span=found)
    assert "The span from frame 3 to 9 (0.10 to 0.30 s) adds most: its mean is +1.67, that of" in face.sentence
    assert [one.fault for one in verify(face.clauses, face.numbers) if one.fault] == []
    assert "start" not in span_of(made("mean"), [shot._replace(time=None) for shot in shots], logits, 1.0)
    assert span_of(made("mean"), shots, logits, 4.0) == {}, "no frame is above"
    assert span_of(made("mean"), shots, logits, -3.0) == {}, "all frames are"
    assert span_of(made("mean"), shots, logits, math.inf) == {}
    assert span_of(ResGAT(**SMALL), shots, logits, 1.0) == {}  # type: ignore[arg-type]  # no clips
