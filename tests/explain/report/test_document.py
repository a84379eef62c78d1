"""The document as JSON: all of it but the pictures, and every field documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.report import document as module
from resgat_pl.explain.report.document import SCHEMA, Document, plain, read_report, to_json
from resgat_pl.explain.report.html import to_html

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


@pytest.mark.parametrize("write", [to_json, to_html])
def test_a_number_that_json_cannot_hold_is_refused(
    write: Callable[[Document], str], document: Callable[..., Document]
) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(replace(document(), seconds=float("nan")))


def test_a_report_is_read_back(document: Callable[..., Document], tmp_path: Path) -> None:
    given = document()
    (tmp_path / "report.json").write_text(to_json(given), encoding="utf-8")
    assert read_report(tmp_path / "report.json") == plain(given)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (SCHEMA + 1, r'has format 4; .* pip install "resgat-pl>=7\.1\.0"'),
        (0, "has format 0; .* Explain the file again"),
        (None, "has no format number"),
        ("1", "has .* for a format number"),
        (True, "has .* for a format number"),
    ],
)
def test_a_report_of_another_version_is_refused(
    schema: Any, message: str, document: Callable[..., Document], tmp_path: Path
) -> None:
    content = {**plain(document()), "schema": schema, "versions": {"resgat_pl": "7.1.0"}}
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"report\.json {message}"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"schema": {}, "versions": 3}', b'{"schema": 1}'],
)
def test_what_is_no_report_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(data)
    with pytest.raises(ConfigError, match=r"report\.json.*Explain the file again"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_documented(record: type) -> None:
    said = (record.__doc__ or "").partition("Attributes:")[2]
    named = [line.strip().partition(":")[0] for line in said.splitlines() if line.startswith("        " + line.strip())]
    assert [name for name in named if name.isidentifier()] == [entry.name for entry in fields(record)]
