"""The page of the app, in Gradio: one file with its report, and many files as a table."""

from __future__ import annotations

import base64
import html
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.output_tables import csv_table
from resgat_pl.core.text import printable
from resgat_pl.explain.app.desk import COLUMNS, Desk, Judged
from resgat_pl.explain.report.first_page import NO_PROOF, first_page

STYLE: Final = """
.verdict h2 { margin: .2rem 0; }
.verdict iframe { width: 100%; height: 85vh; border: 1px solid #bbb; border-radius: 8px; background: #fff; }
.verdict .downloads a { display: inline-block; margin-right: 1.5rem; text-decoration: underline; }
.fault { border-left: 5px solid #a5182a; padding: .4rem .9rem; }
"""
_FORGET: Final = (300, 3600)
"""Every so many seconds uploads that nobody had judged for so many are removed, too."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet would take for a formula."""


def build_page(desk: Desk) -> Any:
    """The page as ``gradio.Blocks``; one file is judged at a time.

    Args:
        desk: What judges.
    """
    import gradio as gr

    def judge(path: str | None, progress: gr.Progress = gr.Progress()) -> tuple[str, None]:  # noqa: B008 - Gradio's way
        return _answer(desk, path, progress), None

    def report(path: str | None) -> Any:
        found = _judged(desk, path, lambda *_: None)
        return {"error": found} if isinstance(found, str) else found.json

    def batch(paths: list[str] | None) -> Iterator[tuple[list[list[str]], str, None]]:
        yield from _batch(desk, paths or [])

    limits, trained = desk.limits, desk.examiner.trained_on.statement
    with gr.Blocks(title="ResGAT", analytics_enabled=False, delete_cache=_FORGET) as page:
        gr.HTML(
            f"<h1>Was this face manipulated?</h1><p><b>{html.escape(trained)}</b></p><p>{html.escape(NO_PROOF)} Files "
            "are judged on the machine that runs this page, and removed as soon as they are judged.</p>"
        )
        with gr.Tab("One file"):
            upload = gr.File(
                label=f"Picture or video: up to {limits.megabytes:g} MB, videos up to {limits.seconds:g} s",
                type="filepath",
                elem_id="upload",
            )
            start = gr.Button("Judge", variant="primary", elem_id="judge")
            answer = gr.HTML(elem_id="answer")
            hidden, data = gr.Button(visible=False), gr.JSON(visible=False)
        with gr.Tab("Many files"):
            uploads = gr.File(
                label=f"Up to {limits.files} pictures and videos",
                file_count="multiple",
                type="filepath",
                elem_id="uploads",
            )
            all_of_them = gr.Button("Judge all", variant="primary", elem_id="judge-all")
            table = gr.Dataframe(headers=list(COLUMNS), interactive=False, wrap=True, elem_id="table")
            link = gr.HTML(elem_id="link")
        one_at_a_time: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "judge"}
        start.click(judge, upload, [answer, upload], api_name="judge", show_progress_on=answer, **one_at_a_time)
        hidden.click(report, upload, data, api_name="report", **one_at_a_time)
        shown = [table, link, uploads]
        all_of_them.click(batch, uploads, shown, api_name="batch", **one_at_a_time, show_progress_on=table)
    return page


def _answer(desk: Desk, path: str | None, progress: Any) -> str:
    """HTML of the verdict and the report, or of what went wrong."""
    found = _judged(desk, path, lambda share, words: progress(share, desc=words))
    return _fault(found) if isinstance(found, str) else _shown(found)


def _judged(desk: Desk, path: str | None, step: Any) -> Judged | str:
    """The judgement of an upload, or a message."""
    if path is None:
        return "Choose a picture or a video first."
    try:
        return desk.judge(Path(path), step)
    except ResGATError as error:
        return str(error)
    except Exception as error:  # the page stays, whatever one file does
        print(printable(traceback.format_exc()), file=sys.stderr)  # noqa: T201 - the console of the command
        return f"This file could not be judged, because of an error in the program: {type(error).__name__}."


def _batch(desk: Desk, paths: list[str]) -> Iterator[tuple[list[list[str]], str, None]]:
    """The table as it grows, and at the end a link to it as CSV."""
    rows: list[list[str]] = []
    if not paths:
        yield rows, _fault("Choose pictures or videos first."), None
        return
    try:
        for row in desk.rows([Path(path) for path in paths]):
            rows.append(row)
            yield rows, f"<p role='status'>{len(rows)} of {len(paths)} files judged</p>", None
    except ResGATError as error:
        yield rows, _fault(str(error)), None
        return
    cells = [[f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows]
    link = _link("scores.csv", "text/csv", csv_table(COLUMNS, cells), "Download the table (CSV)")
    yield rows, f"<p role='status'>{len(rows)} files judged. {link}</p><p>{html.escape(NO_PROOF)}</p>", None


def _shown(judged: Judged) -> str:
    """The verdict, links to the report, and the report itself in a frame that can reach nothing outside it."""
    page = first_page(judged.document)
    links = _link("report.html", "text/html", judged.html, "Download the report (HTML)")
    links += _link("report.json", "application/json", judged.json, "Download the data (JSON)")
    return (
        f"<div class='verdict'><h2>{html.escape(page.headline)}</h2>"
        f"<p>{html.escape(page.what)} {html.escape(NO_PROOF)}</p><p class='downloads'>{links}</p>"
        "<iframe title='Report' sandbox='allow-scripts' "
        f'srcdoc="{html.escape(judged.html)}"></iframe></div>'
    )


def _fault(message: str) -> str:
    return f"<p class='fault' role='alert'>{html.escape(message)}</p>"


def _link(name: str, kind: str, text: str, words: str) -> str:
    """A link that holds its file, so that there is none on the disk."""
    data = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return f'<a download="{name}" href="data:{kind};charset=utf-8;base64,{data}">{html.escape(words)}</a>'
