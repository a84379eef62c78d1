"""Face detectors by name, and one as plain values, from which it is made again to find faces as in training."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, Final

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path, errors_of, find_part, is_ours
from resgat_pl.data.faces.detection import MTCNN, FaceDetector, WholeFrame, YuNet

DETECTORS: Final[Mapping[str, type[FaceDetector]]] = {"mtcnn": MTCNN, "yunet": YuNet, "whole_frame": WholeFrame}
"""The face detectors of this package by name."""


def recorded(detector: FaceDetector) -> dict[str, Any]:
    """A detector of another package as plain values for the manifest; nothing for one of this package.

    Returns:
        Under ``face_detector`` its class path, and its arguments as far as its ``spec`` has them.

    Example:
        >>> recorded(MTCNN())
        {}
    """
    kind = type(detector)
    if is_ours(kind):
        return {}
    taken = signature(kind).parameters
    arguments = {name: value for name, value in detector.spec.items() if name in taken}
    return {"face_detector": {"class_path": class_path(kind), "init_args": arguments}}


def from_record(record: object) -> FaceDetector:
    """Make a detector from what ``recorded`` gave, which may come from an untrusted file.

    Raises:
        ConfigError: It is of no installed package, names a class that nobody has imported, or has arguments that are no
            numbers, switches or words: a file does not choose which file a detector opens.

    Example:
        >>> type(from_record({"class_path": "whole_frame", "init_args": {}})).__name__
        'WholeFrame'
    """
    name, given = (record.get("class_path"), record.get("init_args")) if isinstance(record, dict) else (None, None)
    kind = find_part("face_detector", name, FaceDetector, DETECTORS)
    arguments: dict[str, Any] = given if isinstance(given, dict) else {}
    for key, value in arguments.items():
        if not (
            value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and value.isidentifier())
        ):
            raise ConfigError(
                f"The face detector {name} was used with {key} = {value!r:.60}, which must be given again."
            )
    with errors_of("face_detector", kind):
        return kind(**arguments)
