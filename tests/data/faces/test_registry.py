"""Face detectors as plain values: made again from what a manifest or checkpoint says, which may come from anybody."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.detection import MTCNN, Face, FaceDetector, WholeFrame
from resgat_pl.data.faces.registry import DETECTORS, from_record, recorded


class Corner(FaceDetector):
    """As a user writes one."""

    def __init__(self, side: int, how: str = "upper", model: Path | None = None) -> None:
        if side < 0:
            raise KeyError(side)
        self.side, self.how, self.model = side, how, model

    @property
    def spec(self) -> dict[str, Any]:
        return {"detector": "Corner", "side": self.side, "how": self.how, "size": "no argument"}

    def detect(self, image: np.ndarray) -> list[Face]:
        return []


PATH = f"{__name__}.Corner"


def test_a_detector_from_outside_is_made_again() -> None:
    record = recorded(Corner(5))["face_detector"]
    assert record == {"class_path": PATH, "init_args": {"side": 5, "how": "upper"}}
    again = from_record(record)
    assert isinstance(again, Corner)
    assert (again.side, again.how) == (5, "upper")


def test_the_manifest_has_the_class_and_the_settings_are_as_before() -> None:
    for detector in (None, MTCNN(), WholeFrame()):
        assert Extraction(detector=detector).noted == Extraction(detector=detector).spec
    settings = Extraction(detector=Corner(5))
    assert "face_detector" not in settings.spec
    assert settings.noted == {**settings.spec, **recorded(Corner(5))}


def test_names_of_our_own() -> None:
    assert isinstance(from_record({"class_path": "whole_frame"}), WholeFrame)
    assert {kind.__name__ for kind in DETECTORS.values()} == {"MTCNN", "YuNet", "WholeFrame"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"class_path": PATH, "init_args": {"side": 1, "model": "../weights.pkl"}}, "model = .* must be given again"),
        ({"class_path": PATH, "init_args": {"side": [1]}}, r"side = \[1\]"),
        ({"class_path": PATH, "init_args": {"side": -1}}, "Corner of the package .* fails .KeyError"),
        ({"class_path": PATH, "init_args": {"else": 1}}, "fails .TypeError"),
        ({"class_path": PATH, "init_args": None}, "fails .TypeError"),
        ({"class_path": "antigravity.Corner"}, "alone does not make this program import it"),
        ({"class_path": "json.JSONDecoder"}, "no class derived from"),
        ({"class_path": None}, "must be a name"),
        ("json.JSONDecoder", "must be a name"),
    ],
)
def test_what_a_file_may_not_say(record: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_record(record)
    assert "antigravity" not in sys.modules
