"""The examiner's notes on the page: a file of their own, and nothing of the machine's is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from resgat_pl.explain.custody.record import Custody, FileHash
from resgat_pl.explain.report.document import Document
from resgat_pl.explain.report.html import to_html

if TYPE_CHECKING:
    from playwright.sync_api import Page


def with_custody(made: Document) -> Document:
    began = "2026-01-01T00:00:00.000+00:00"
    record = Custody(FileHash(made.file, 3, "ab" * 32), {}, "", "resgat explain", {}, "", began, began, [])
    return replace(made, custody=record)


def test_notes_are_saved_apart(document: Callable[..., Document], visit: Callable[..., Page], tmp_path: Path) -> None:
    made = with_custody(document(file="odd <name>.mp4"))
    page = visit(made)
    page.fill("#examiner-name", "A. Nobody")
    page.select_option("#examiner-decision", "inconclusive")
    page.fill("#examiner-notes", 'Seen "twice"; 100 % & <b>é</b>\nsecond line #?')
    before = page.locator("#data").text_content()
    with page.expect_download() as caught:
        page.click("#examiner-save")
    caught.value.save_as(tmp_path / "notes.json")
    assert caught.value.suggested_filename == "odd_name_.mp4.examiner.json"
    found = json.loads((tmp_path / "notes.json").read_text(encoding="utf-8"))
    assert found["notes"] == 'Seen "twice"; 100 % & <b>é</b>\nsecond line #?'
    assert (found["examiner"], found["decision"]) == ("A. Nobody", "inconclusive")
    assert (found["file"], found["file_sha256"]) == ("odd <name>.mp4", "ab" * 32)
    assert page.locator("#data").text_content() == before
    assert "apart from the report" in (page.locator("#examiner-said").text_content() or "")


def test_a_report_without_a_face_has_the_fields_too(document: Callable[..., Document]) -> None:
    page = to_html(document(faces=0))
    assert 'id="examiner-save"' in page
