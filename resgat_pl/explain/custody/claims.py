"""Statements of a file about itself: metadata of its container, and C2PA content credentials.

Anybody can write, change or remove them, so they are shown beside a verdict and never part of it. All of it is read in
processes of which a hostile file may kill one, within limits of time and size.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import av
from PIL import ExifTags, Image

from resgat_pl.core.errors import ResGATError
from resgat_pl.core.isolated_process import IsolatedProcess

State = Literal["none", "not read", "broken", "invalid", "valid", "trusted"]
TIMEOUT: Final = 30.0
"""Seconds that reading a manifest may take."""
MOST_JSON: Final = 2**22
"""Characters of a manifest at most."""
_MOST: Final = 60
"""Statements at most."""
_LONGEST: Final = 200
"""Characters of a statement at most."""
_FORMATS: Final = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG", 0, "image/png"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"AVI ", 8, "video/avi"),
    (b"ftypavif", 4, "image/avif"),
    (b"ftyphei", 4, "image/heic"),
    (b"ftypmif1", 4, "image/heif"),
    (b"ftypqt", 4, "video/quicktime"),
    (b"ftyp", 4, "video/mp4"),
)
"""Bytes, their place, and the type of the file."""
_MARKS: Final = (b"c2pa", bytes.fromhex("d8fec3d61b0e483c92975828877ec481"))
"""The label of a manifest store, and the type of its box in MP4."""
_NEVER: Final = "It is shown for the reader; the verdict does not use it."


@dataclass(frozen=True)
class Statement:
    """One statement, as text of at most 200 characters.

    Attributes:
        name: Name of the field.
        value: The value.
    """

    name: str
    value: str


@dataclass(frozen=True)
class Credentials:
    """The C2PA manifest of a file.

    Attributes:
        state: ``none``; ``not read`` where the extra is not installed; ``broken`` where it cannot be read within the
            limits; ``invalid`` where signature or hashes do not fit; ``valid``; ``trusted`` where also the signer is on
            a list of trust.
        sentence: The same in words.
        facts: Of the active manifest: who signed, when, with what, the actions, the codes of failed checks.
    """

    state: State
    sentence: str
    facts: list[Statement]


@dataclass(frozen=True)
class Claims:
    """The statements of a file about itself.

    Attributes:
        metadata: Of the container, its streams, or EXIF.
        credentials: Of C2PA.
    """

    metadata: list[Statement]
    credentials: Credentials


def container_metadata(path: Path, kind: Literal["image", "video"]) -> list[Statement]:
    """Metadata of a video's container and streams, or of a picture; what cannot be read is one statement that says so.

    To be called where the file is decoded, since a damaged one may kill the process.
    """
    found: list[Statement] = []
    try:
        for name, value in _of_picture(path) if kind == "image" else _of_video(path):
            if value not in (None, ""):
                found.append(Statement(_plain(name), _plain(value)))
            if len(found) >= _MOST:
                found.append(Statement("more", f"only the first {_MOST} statements are listed"))
                break
    except Exception as error:  # of any parser: nothing in it may stop the judging
        found.append(Statement("error", f"the metadata cannot be read any further ({_plain(error)})"))
    return found


def read_credentials(path: Path, timeout: float = TIMEOUT) -> Credentials:
    """Read and check the C2PA manifest of a file, offline, in a separate process.

    Args:
        path: The file.
        timeout: Seconds that it may take.
    """
    if not _has_mark(path):
        return Credentials("none", "The file has no C2PA manifest, as most files; this says nothing about it.", [])
    try:
        import c2pa  # noqa: F401 - only whether it is there; it reads in a process apart
    except ImportError:
        return Credentials(
            "not read", 'The file has a C2PA manifest, which needs: pip install "resgat-pl[custody]"', []
        )
    process: IsolatedProcess[Path, str] = IsolatedProcess(_manifest)
    try:
        (text,) = process.run(path, timeout)
        content = json.loads(text)
        return _summary(content)
    except (ResGATError, ValueError, RecursionError, OSError) as error:
        return Credentials("broken", f"The C2PA manifest cannot be read ({_plain(error)}). {_NEVER}", [])
    except Exception as error:  # whatever a parser of another package raises
        return Credentials("broken", f"The C2PA manifest cannot be read ({_plain(error)}). {_NEVER}", [])
    finally:
        process.close()


def _manifest(path: Path) -> Iterator[str]:
    """The manifest store as JSON; nothing is fetched from a network."""
    from c2pa import Context, Reader

    head = path.open("rb").read(32)
    kind = next((kind for mark, place, kind in _FORMATS if head[place : place + len(mark)] == mark), None)
    if kind is None:
        raise ValueError("this type of file has none that can be read")
    offline = Context.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
    try:
        with path.open("rb") as file, Reader(kind, file, context=offline) as reader:
            text = reader.json()
    except Exception as error:
        raise ValueError(str(error)[:_LONGEST]) from None  # a class that every process has
    if len(text) > MOST_JSON:
        raise ValueError(f"it has {len(text):,} characters, more than {MOST_JSON:,}")
    yield text


def _summary(content: Mapping[str, Any]) -> Credentials:
    manifest = content["manifests"][content["active_manifest"]]
    signed = manifest.get("signature_info") or {}
    makers = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    actions = [
        action.get("action")
        for assertion in manifest.get("assertions") or []
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions") or []
    ]
    failed = [status.get("code") for status in content.get("validation_status") or []]
    pairs = [
        ("title", manifest.get("title")),
        ("made with", ", ".join(_plain(" ".join(map(str, (m.get("name"), m.get("version") or "")))) for m in makers)),
        ("signed by", signed.get("issuer") or signed.get("common_name")),
        ("signed at", signed.get("time")),
        ("actions", ", ".join(map(_plain, actions))),
        ("ingredients", len(manifest.get("ingredients") or [])),
        ("failed checks", ", ".join(map(_plain, dict.fromkeys(failed)))),
    ]
    facts = [Statement(name, _plain(value)) for name, value in pairs if value not in (None, "")]
    states: dict[str, State] = {"Trusted": "trusted", "Valid": "valid", "Invalid": "invalid"}
    # A signer that is on no list of trust is no damage; versions of the library call it differently.
    state = states.get(str(content.get("validation_state")), "invalid" if failed else "valid")
    words = {
        "trusted": "The C2PA manifest is intact, and its signer is on the list of trust.",
        "valid": "The C2PA manifest is intact; nobody here knows its signer, who can be anybody.",
        "invalid": "The C2PA manifest does not fit the file or its signature.",
    }
    return Credentials(state, f"{words[state]} {_NEVER}", facts)


def _has_mark(path: Path) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(mark) >= 0 for mark in _MARKS)
    except (OSError, ValueError):  # empty, or no regular file
        return False


def _of_video(path: Path) -> Iterator[tuple[str, object]]:
    with av.open(str(path.absolute()), metadata_errors="replace") as container:
        yield "container", container.format.long_name
        yield "length", None if container.duration is None else f"{container.duration / av.time_base:.3f} s"
        yield "bit rate", f"{container.bit_rate} bit/s" if container.bit_rate else None
        yield from container.metadata.items()
        for number, stream in enumerate(container.streams):
            context = stream.codec_context
            yield f"stream {number}", f"{stream.type}, {'unknown' if context is None else context.name}"
            for name, value in stream.metadata.items():
                yield f"stream {number}: {name}", value


def _of_picture(path: Path) -> Iterator[tuple[str, object]]:
    with Image.open(path) as picture:  # reads the header alone
        yield "format", f"{picture.format}, {picture.mode}"
        for name, value in picture.info.items():
            if isinstance(value, str | int | float):
                yield str(name), value
        exif = picture.getexif()
        for part in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
            for tag, value in part.items():
                if isinstance(value, str | int | float) and tag in ExifTags.TAGS:
                    yield ExifTags.TAGS[tag], value
        if exif.get_ifd(ExifTags.IFD.GPSInfo):
            yield "GPS position", "is in the file"


def _plain(value: object) -> str:
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+", " ", str(value)[: 2 * _LONGEST])
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
