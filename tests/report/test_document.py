"""The document as JSON: all of it but the pictures, and every field documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace

import pytest

from resgat_pl.report import document as module
from resgat_pl.report.document import SCHEMA, Document, to_json

RECORDS = [value for value in vars(module).values() if isinstance(value, type) and is_dataclass(value)]


def test_the_json_is_the_document_without_pictures(document: Callable[..., Document]) -> None:
    given = document()
    read = json.loads(to_json(given))
    assert list(read) == [entry.name for entry in fields(Document)]
    assert read["schema"] == SCHEMA
    assert "jpeg" not in to_json(given)
    frame = given.tracks[0].frames[0]
    assert frame.jpeg
    assert read["tracks"][0]["frames"][0]["logit"] == frame.logit
    assert read["tracks"][0]["frames"][0]["maps"]["Contribution"]["nodes"] == frame.maps["Contribution"].nodes


def test_a_number_that_json_cannot_hold_is_refused(document: Callable[..., Document]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(replace(document(), seconds=float("nan")))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_documented(record: type) -> None:
    said = (record.__doc__ or "").partition("Attributes:")[2]
    named = [line.strip().partition(":")[0] for line in said.splitlines() if line.startswith("        " + line.strip())]
    assert [name for name in named if name.isidentifier()] == [entry.name for entry in fields(record)]
