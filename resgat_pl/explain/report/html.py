"""The report as one HTML file that needs no network, no server and no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.report.comparison_records import RestoredFace
from resgat_pl.explain.report.document import Document, plain
from resgat_pl.explain.report.evidence import CAPTION, sentence
from resgat_pl.explain.report.first_page import NO_PROOF, SIDES, first_page

_SCRIPTS = ("build.js", "draw.js", "summary.js", "strength.js", "ledger.js", "notes.js", "page.js")
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def write_html(document: Document, path: Path) -> None:
    """Write a report that opens in a browser from the disk.

    The page's Content-Security-Policy forbids every request: only the script and the style with the hashes of those in
    the file run, and pictures are ``data:`` URLs. Text from the document is data to the script, which puts it in as
    text, so that a file named ``<script>`` is shown and not run.

    Args:
        document: What ``resgat explain`` found.
        path: HTML file; replaced if it exists. Its folder must exist.

    Raises:
        ValueError: A number is not finite, which JSON cannot hold.
    """
    write_atomic(path, to_html(document).encode())  # no other line ends: the hashes are those of these


def to_html(document: Document) -> str:
    """The text of the file, see ``write_html``."""
    style, script = _asset("page.css"), "".join(map(_asset, _SCRIPTS))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(_printable(first_page(document).title)),
        "summary": html.escape(_printable(_summary(document))),
        "style": style,
        "data": _embedded(_page_data(document)),
        "script": script,
    }
    # In one pass: what is put in is not looked through again, so a file named {{script}} stays a name.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _page_data(document: Document) -> dict[str, Any]:
    """The document with the crops, without what the page does not show; nodes to four significant digits."""
    data: dict[str, Any] = plain(document)
    del data["edge_index"]
    data["first_page"] = {**asdict(first_page(document)), "no_proof": NO_PROOF, "sides": SIDES}
    data["evidence_caption"] = CAPTION if any(track.evidence for track in document.tracks) else ""
    for part, found in zip((data["original"] or {}).get("faces", []), _compared(document), strict=True):
        part["png"] = base64.b64encode(found.png).decode("ascii")
    for track, face in zip(data["tracks"], document.tracks, strict=True):
        track["evidence_png"] = base64.b64encode(face.evidence_png).decode("ascii")
        track["evidence_words"] = [sentence(record) for record in face.evidence]
        for frame, shown in zip(track["frames"], face.frames, strict=True):
            frame["jpeg"] = base64.b64encode(shown.jpeg).decode("ascii")
        for part in (track, *track["frames"]):
            del part["numbers"], part["clauses"]
            for node_map in part["maps"].values():
                del node_map["edges"]
                node_map["nodes"] = [[float(f"{value:.4g}") for value in row] for row in node_map["nodes"]]
    return data


def _compared(document: Document) -> list[RestoredFace]:
    return [] if document.original is None else document.original.faces


def _embedded(data: dict[str, Any]) -> str:
    """JSON that no HTML parser can end: without ``<``, ``>``, ``&`` or anything beyond ASCII, U+2028 included."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def _summary(document: Document) -> str:
    return " ".join([first_page(document).paragraph, *document.notes])


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")  # a name on disk need not be Unicode


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return files("resgat_pl.explain.report").joinpath(name).read_text("utf-8")
